"""The commands beside `serve`: each is run by itself, and ends."""
