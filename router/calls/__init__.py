"""Calls to the nodes, and what the router knows of its cluster."""
