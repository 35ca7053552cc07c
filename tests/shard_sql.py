"""What happens on a shard below its node: connections for tests, and who waits for whom."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from crosskey.local_cluster.cluster import LocalCluster
from tests.eventually import eventually

_WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'crosskey' AND wait_event_type = 'Lock'
"""
_OPEN = """
SELECT state, query FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'crosskey' AND state <> 'idle'
"""
_PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database() ORDER BY gid"


def as_superuser(cluster: LocalCluster, shard: int) -> psycopg.Connection:
    """A connection in autocommit mode to a shard's database, past every rule for the node's role."""
    return psycopg.connect(cluster.databases[shard].superuser_dsn, autocommit=True)


def as_node(cluster: LocalCluster, shard: int) -> psycopg.Connection:
    """A connection in autocommit mode to a shard's database with the rights that its node has."""
    return psycopg.connect(cluster.databases[shard].dsn, autocommit=True)


def query(cluster: LocalCluster, shard: int, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Runs a statement on a shard as a superuser and answers its rows, none if it has none."""
    with as_superuser(cluster, shard) as connection:
        cursor = connection.execute(sql.SQL(statement), parameters)
        return cursor.fetchall() if cursor.description else []


def query_all(cluster: LocalCluster, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """The rows of a query on every shard, sorted."""
    shards = range(len(cluster.databases))
    return sorted(row for shard in shards for row in query(cluster, shard, statement, *parameters))


def prepared(cluster: LocalCluster) -> list[str]:
    """The gids of what is prepared on any shard."""
    return [gid for (gid,) in query_all(cluster, _PREPARED)]


def wait_for_waiters(cluster: LocalCluster, shard: int, count: int = 1) -> None:
    """Returns once as many statements of the node wait for a lock on the shard."""
    with as_superuser(cluster, shard) as connection:

        def waiters() -> int:
            [(found,)] = connection.execute(_WAITING).fetchall()
            return int(found)

        eventually(lambda: waiters() >= count, f"{count} statements wait on shard {shard}")


def wait_until_quiet(cluster: LocalCluster, shard: int, seconds: float = 5.0) -> None:
    """Returns once the node has no transaction open on the shard."""
    eventually(lambda: not query(cluster, shard, _OPEN), f"shard {shard} is quiet", seconds)


@contextmanager
def row_locked(cluster: LocalCluster, shard: int, table: str, number: int) -> Iterator[None]:
    """Somebody else has the row of a table with that id locked."""
    lock = sql.SQL("SELECT FROM {} WHERE id = %s FOR UPDATE").format(sql.Identifier(table))
    with as_superuser(cluster, shard) as connection, connection.transaction():
        connection.execute(lock, (number,))
        yield
