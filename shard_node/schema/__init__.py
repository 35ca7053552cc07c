"""The schema of the shard: read, installed, and looked up."""
