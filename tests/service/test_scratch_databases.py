"""Scratch databases that a killed node left: dropped once nobody can be using them, and no others."""

import time
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from crosskey import Client, ShardUnavailable
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.shard_node.schema.scratch import LEFT_OVER_AGE_SECONDS, PREFIX
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters

SCHEMA = "CREATE TABLE things (id bigint PRIMARY KEY); COMMENT ON TABLE things IS '@shard_by id'"


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, shards=1)


class LeftBehind:
    """Databases as a killed node leaves them on the server of the cluster."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._database = cluster.databases[0]

    def make(self, name: str, *, age_seconds: int, superuser: bool = False) -> str:
        """A scratch database, made so long ago; with a transaction that is prepared in it."""
        name = f"{PREFIX}{int(time.time()) - age_seconds}_{name}"
        dsn = self._database.superuser_dsn if superuser else self._database.dsn
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        with psycopg.connect(dsn, dbname=name, autocommit=True) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT pg_current_xact_id()")
            connection.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(name)))
        # The server ends a session a moment after its client has closed it; until then the database is in use.
        eventually(lambda: not self._in_use(name), "the session that prepared has ended")
        return name

    def _in_use(self, name: str) -> bool:
        with psycopg.connect(self._database.superuser_dsn, autocommit=True) as connection:
            return connection.execute("SELECT FROM pg_stat_activity WHERE datname = %s", (name,)).rowcount > 0

    def connect(self, name: str) -> psycopg.Connection:
        """A session that uses it."""
        return psycopg.connect(self._database.dsn, dbname=name, autocommit=True)

    def names(self) -> set[str]:
        """Those that are there, and the transactions that are prepared in any."""
        with psycopg.connect(self._database.superuser_dsn, autocommit=True) as connection:
            found = connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %(prefix)s)"
                " UNION SELECT gid FROM pg_prepared_xacts WHERE starts_with(database, %(prefix)s)",
                {"prefix": PREFIX},
            )
            return {name for (name,) in found}

    def drop(self, name: str) -> None:
        """Takes away what was to be kept."""
        with psycopg.connect(self._database.superuser_dsn, dbname=name, autocommit=True) as connection:
            connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(name)))
        with psycopg.connect(self._database.superuser_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


@pytest.fixture
def left_behind(cluster: LocalCluster) -> Iterator[LeftBehind]:
    """Drops at the end what is there still."""
    left_behind = LeftBehind(cluster)
    yield left_behind
    for name in left_behind.names():
        left_behind.drop(name)


def test_a_node_that_starts_drops_what_a_killed_one_left(cluster: LocalCluster, left_behind: LeftBehind) -> None:
    old = left_behind.make("old", age_seconds=LEFT_OVER_AGE_SECONDS + 1)
    assert old in left_behind.names()
    cluster.nodes[0].kill()
    cluster.nodes[0].start_serving()
    assert left_behind.names() == set()


def test_planning_drops_what_a_killed_node_left(cluster: LocalCluster, left_behind: LeftBehind) -> None:
    left_behind.make("old", age_seconds=LEFT_OVER_AGE_SECONDS + 1)
    with Client(cluster.address) as client:
        eventually(lambda: _planned(client), "the router reaches the node that was started again")
    assert left_behind.names() == set()


def _planned(client: Client) -> bool:
    try:
        client.apply_schema(SCHEMA, dry_run=True)
    except ShardUnavailable:
        return False
    return True


def test_what_may_be_in_use_is_kept(cluster: LocalCluster, left_behind: LeftBehind) -> None:
    new = left_behind.make("new", age_seconds=60)
    of_another_role = left_behind.make("alien", age_seconds=LEFT_OVER_AGE_SECONDS + 1, superuser=True)
    in_use = left_behind.make("in_use", age_seconds=LEFT_OVER_AGE_SECONDS + 1)
    with left_behind.connect(in_use), Client(cluster.address) as client:
        client.apply_schema(SCHEMA, dry_run=True)
        assert left_behind.names() == {new, of_another_role, in_use}
