"""Measures Crosskey against plain PostgreSQL, both in the same run, on the same servers, in turn: `make bench`."""
