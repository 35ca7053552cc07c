"""The connections to the shard's PostgreSQL, what must be true of it, and what its errors mean."""
