"""The command `crosskey`: a cluster on this machine, and everything one does to it from a terminal."""
