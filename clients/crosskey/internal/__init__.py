"""What routers and shard nodes say to each other: no part of the public contract."""
