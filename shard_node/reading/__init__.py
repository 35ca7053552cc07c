"""Pages of rows."""
