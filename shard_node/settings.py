"""What a shard node is told when it starts."""

from dataclasses import dataclass, field

from crosskey.serving.exposure import Exposure


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one shard node."""

    shard: int
    """The number of this node's shard, from 0."""
    shards: int
    """How many shards the cluster has."""
    cluster: str
    """The cluster's name, part of the id of every distributed transaction."""
    dsn: str
    """The connection string of the shard's database."""
    listen: str
    """HOST:PORT to serve on."""
    exposure: Exposure = field(default_factory=Exposure)
    """Who reaches it there."""
    router_names: tuple[str, ...] = ()
    """The names in the certificates of routers that it obeys; all of its client CA if there are none."""
    pool_size: int = 20
    """How many connections to PostgreSQL at most, of each of the workers."""
    pool_queue: int = 200
    """How many requests may wait for a connection; more are refused."""
    lock_timeout_ms: int = 1000
    """How long a statement waits for a lock."""
    drain_seconds: float = 10.0
    """How long requests in flight may go on after SIGTERM."""
    workers: int = 1
    """How many processes share the address and the database."""
    worker: int | None = None
    """Which of them it is; None if it has the address to itself."""
    events_retention_seconds: float = 86_400.0
    """How long events are kept."""
    events_max_mib: int = 1024
    """How much room events may take on the shard's disk before the first are deleted, however young."""
    events_trim_seconds: float = 10.0
    """How often events that need not be kept are deleted."""
    answers_retention_seconds: float = 86_400.0
    """How long the answers of requests with an id are kept."""
    answers_forget_seconds: float = 10.0
    """How often those that need not be kept any more are deleted."""
    cleanup_batch_rows: int = 1000
    """How many rows one transaction cleans up of a foreign key with @enforce eventual."""
    cleanup_pause_ms: int = 20
    """How long the next such transaction waits."""
    cleanup_late_seconds: float = 300.0
    """How old a clean-up is when the audit finds fault with it."""
