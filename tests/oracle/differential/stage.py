"""Both sides for programs outside pytest: PostgreSQL servers, a cluster and a plain database, for as long as asked."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from crosskey import Client
from crosskey.local_cluster.postgres import PostgresServer, postgres_servers
from tests.fresh_cluster import FreshClusters
from tests.memory_folder import folder_in_memory
from tests.oracle.differential.judge import Judge
from tests.oracle.pair import SHARDS
from tests.oracle.plain import plain_postgres

# A line for each call takes time, and nobody reads it.
_QUIET = {"CROSSKEY_LOG_LEVEL": "warning"}
# One at its own time may be halfway through when shadows and pins are compared.
_NO_SWEEPS = {"CROSSKEY_SWEEP_INTERVAL_SECONDS": "0"}


class Stage:
    """PostgreSQL servers on which one pair after the other can be set up."""

    def __init__(self, servers: list[PostgresServer], folder: Path) -> None:
        self._servers = servers
        self._folder = folder
        self._numbers = itertools.count()

    @contextmanager
    def judge(self, schema_sql: str) -> Iterator[Judge]:
        """A new cluster and a new plain database with the schema. Raises SchemaRefused."""
        name = f"pair_{next(self._numbers)}"
        with ExitStack() as lifetime:
            clusters = FreshClusters(self._servers, self._folder / name, lifetime)
            cluster = clusters(
                schema_sql, shards=SHARDS, node_environment=_QUIET, router_environment=_QUIET | _NO_SWEEPS
            )
            plain = lifetime.enter_context(plain_postgres(self._servers[0].dsn(), name, schema_sql))
            client = lifetime.enter_context(Client(cluster.address))
            yield Judge(cluster, client, plain, lifetime)


@contextmanager
def stage() -> Iterator[Stage]:
    """Servers for the length of the context, fast and forgetful."""
    with (
        tempfile.TemporaryDirectory(prefix="crosskey-differential-", dir=folder_in_memory()) as folder,
        postgres_servers(Path(folder), SHARDS, fast=True) as servers,
    ):
        yield Stage(servers, Path(folder))
