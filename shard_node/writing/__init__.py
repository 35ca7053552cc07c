"""Statements, and the transactions that they run in."""
