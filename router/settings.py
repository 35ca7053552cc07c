"""What a router is told when it starts."""

from dataclasses import dataclass, field
from pathlib import Path

from crosskey.serving.exposure import Exposure
from crosskey.tls import Tls


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one router."""

    nodes: tuple[str, ...]
    """HOST:PORT of each shard's node, in the order of the shards' numbers."""
    listen: str
    """HOST:PORT to serve on."""
    exposure: Exposure = field(default_factory=Exposure)
    """Who reaches it there."""
    access: Path | None = None
    """The file of rights; without one everybody may do everything."""
    nodes_tls: Tls | None = None
    """How nodes are known, and who the router is to them; None without TLS."""
    retries: int = 8
    """How often a request that lost a race is tried again."""
    drain_seconds: float = 10.0
    """How long requests in flight may go on after SIGTERM."""
    resolver_interval_ms: int = 1000
    """How often the resolver looks for transactions in doubt."""
    resolver_min_age_ms: int = 10_000
    """How old a prepared transaction is before the resolver takes it up."""
    sweep_interval_seconds: float = 300.0
    """How often to look for shadows that no child references any more; 0 for never."""
    max_in_flight: int = 1000
    """How many requests may be in flight; more are refused."""
    max_distributed: int = 12
    """How many transactions over several shards may be at work on a shard; others wait for their turn. Each holds a
    connection there, so that fewer than a node has leave some for other requests and other routers."""
    max_transactions: int = 8
    """How many transactions may be open on sessions; more are refused. Each holds a connection on every shard that it
    has touched."""
    transaction_idle_seconds: float = 10.0
    """How long such a transaction may be idle."""
    transaction_seconds: float = 60.0
    """How long it may last until its commit."""
    worker: int | None = None
    """Which of the processes that share the address it is; None if it has the address to itself."""
