"""Clusters for tests: new databases, nodes and routers on PostgreSQL servers that run already."""

import itertools
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from crosskey import Client, Tls
from crosskey.local_cluster.cluster import ROLE, ClusterOptions, LocalCluster, ShardDatabase
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.shard_node.commands.provision import ensure_database, ensure_role

APPLY_SECONDS = 60.0

_numbers = itertools.count()


class FreshClusters:
    """A factory of running clusters, all on the same PostgreSQL servers; they live as long as `lifetime`."""

    def __init__(self, servers: Sequence[PostgresServer], folder: Path, lifetime: ExitStack) -> None:
        """Take the servers, a folder for logs, and the stack that ends the clusters."""
        self._servers = servers
        self._folder = folder
        self._lifetime = lifetime

    def __call__(
        self,
        schema_sql: str | None = None,
        *,
        shards: int = 3,
        routers: int = 1,
        node_environment: Mapping[str, str] | None = None,
        router_environment: Mapping[str, str] | None = None,
        tls: Tls | None = None,
    ) -> LocalCluster:
        """Start a cluster and apply a schema, if one is given; CrosskeyError if it is refused.

        The environments hold settings, such as {"CROSSKEY_LOCK_TIMEOUT_MS": "100"}. More shards than PostgreSQL
        servers share them. `tls` is how it is reached if the environments have it speak TLS.
        """
        name = f"test_{next(_numbers)}"
        options = ClusterOptions(
            name=name,
            routers=routers,
            node_environment=node_environment or {},
            router_environment=router_environment or {},
            tls=tls,
        )
        servers = list(itertools.islice(itertools.cycle(self._servers), shards))
        cluster = self._lifetime.enter_context(_throwaway_cluster(servers, self._folder / name, options))
        if schema_sql is not None:
            with Client(cluster.address, timeout=APPLY_SECONDS, tls=tls) as client:
                client.apply_schema(schema_sql)
        return cluster


@contextmanager
def _throwaway_cluster(
    servers: Sequence[PostgresServer], folder: Path, options: ClusterOptions
) -> Iterator[LocalCluster]:
    """Run a cluster, and drop its databases after it.

    Its shards are provisioned here, as the command does in a process for each: starting those takes longer.
    """
    cluster = LocalCluster(servers, folder, options)
    for database in cluster.databases:
        _provision(database)
    cluster.start_provisioned()
    try:
        yield cluster
    finally:
        cluster.stop()
    for database in cluster.databases:
        _drop(database)


def _provision(database: ShardDatabase) -> None:
    with psycopg.connect(database.server.dsn(), autocommit=True) as connection:
        ensure_role(connection, ROLE, secrets.token_hex())
        ensure_database(connection, ROLE, database.name)


def _drop(database: ShardDatabase) -> None:
    """Drop a shard's database, rolling back what a killed process left prepared in it."""
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        rows = connection.execute("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()").fetchall()
        for (gid,) in rows:
            connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
    with psycopg.connect(database.server.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(database.name)))
