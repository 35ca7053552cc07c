"""`crosskey demo`: a cluster with real data, and a story told on it."""
