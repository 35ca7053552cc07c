"""Distributed transactions: their branches, two-phase commit, and what is left of those that a crash ended."""
