"""Get, List and Count."""
