"""Watch: the events of all shards, as one stream for each client."""
