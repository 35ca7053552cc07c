"""Distributed transactions: their participants, two-phase commit, and what is left of those that a crash ended."""
