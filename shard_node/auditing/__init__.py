"""What is damaged on this shard, and what a router compares between two."""
