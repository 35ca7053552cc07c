"""A cluster on this machine: PostgreSQL servers, shard nodes and routers as processes of ours."""
