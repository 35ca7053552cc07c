"""Nested writes and associations: rows of relations that are written along with the row that has them: pure."""
