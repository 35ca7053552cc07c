"""What must be true of a PostgreSQL before a node serves it: each refusal says what to do."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg import sql
from structlog.testing import capture_logs

from crosskey import errors
from crosskey.local_cluster import postgres as embedded
from crosskey.local_cluster.cluster import ShardDatabase
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.shard_node.commands.accept import accept
from crosskey.shard_node.postgres import startup
from crosskey.shard_node.postgres.connection_limits import check_connections
from crosskey.shard_node.postgres.database import Connection, Database
from crosskey.shard_node.postgres.postgres_errors import translated
from crosskey.shard_node.postgres.startup import ShardIdentity, UnfitDatabase, check_version, prepare_database
from crosskey.shard_node.schema.introspection import inspect_schema
from crosskey.shard_node.server import open_patiently
from crosskey.shard_node.settings import Settings
from tests.cut_connections import Way
from tests.eventually import eventually
from tests.rules.setting import Setting
from tests.shard_sql import query

# Waits until they are gone: a connection that has yet to learn of its end would say so first.
_DISCONNECT = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'crosskey'"

CLUSTER = "started"
CANARY = "crosskey-canary:started_0"

_STARTING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'crosskey' AND wait_event = 'advisory'
"""

Answer = TypeVar("Answer")


@pytest.fixture(scope="module")
def database(postgres: list[PostgresServer]) -> Iterator[ShardDatabase]:
    """A shard's database, provisioned and prepared once."""
    database = ShardDatabase(postgres[0], "started_0")
    database.provision()
    start(database)
    yield database
    with psycopg.connect(postgres[0].dsn(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {database.name} WITH (FORCE)")


def connected(dsn: str, work: Callable[[Connection], Awaitable[Answer]]) -> Answer:
    """Does work on a connection."""

    async def do() -> Answer:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            return await work(connection)

    return asyncio.run(do())


def start(database: ShardDatabase, *, shard: int = 0, shards: int = 1, dsn: str = "") -> ShardIdentity:
    """Does what a node does first."""
    return connected(dsn or database.dsn, lambda connection: prepare_database(connection, CLUSTER, shard, shards))


def run(database: ShardDatabase, statement: str) -> None:
    """Runs a statement as a superuser."""
    with psycopg.connect(database.superuser_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL(statement))


@pytest.mark.parametrize("version", [140020, 170000, 170009, 180000, 180003])
def test_a_version_that_is_too_old_or_loses_prepared_locks_is_refused(version: int) -> None:
    with pytest.raises(UnfitDatabase, match=r"use 15"):
        check_version(version)


@pytest.mark.parametrize("version", [150000, 160009, 170010, 180004, 190000])
def test_a_version_that_keeps_prepared_locks_is_taken(version: int) -> None:
    check_version(version)


@pytest.fixture
def database_of_its_own(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    postgres: list[PostgresServer],
) -> Iterator[ShardDatabase]:
    """A provisioned database on a server with max_prepared_transactions as the parameter says."""
    monkeypatch.setitem(embedded.SETTINGS, "max_prepared_transactions", request.param)
    server = PostgresServer(tmp_path, postgres[0].binaries, fast=True)
    server.start()
    try:
        database = ShardDatabase(server, "of_its_own")
        database.provision()
        yield database
    finally:
        server.stop()


@pytest.mark.parametrize("database_of_its_own", ["0"], indirect=True)
def test_a_node_does_not_start_where_nothing_can_be_prepared(database_of_its_own: ShardDatabase) -> None:
    command = [sys.executable, "-m", "crosskey.shard_node", "serve", "--listen", "127.0.0.1:0"]
    command += ["--shard", "0", "--shards", "1", "--cluster", CLUSTER, "--dsn", database_of_its_own.dsn]
    node = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert node.returncode == 1
    assert node.stderr == (
        "Error: max_prepared_transactions is 0: set it to 64 or more in postgresql.conf and restart PostgreSQL\n"
    )


@pytest.mark.parametrize("database_of_its_own", ["1"], indirect=True)
def test_a_node_starts_where_nothing_more_can_be_prepared(database_of_its_own: ShardDatabase) -> None:
    """Nobody else can finish what takes the room."""
    start(database_of_its_own)
    run(database_of_its_own, "BEGIN; CREATE TABLE kept (id int); PREPARE TRANSACTION 'takes the room'")
    with capture_logs() as logs:
        start(database_of_its_own)
    assert [(line["log_level"], line["error"]) for line in logs] == [
        ("warning", "maximum number of prepared transactions reached")
    ]


def test_a_superuser_is_refused(database: ShardDatabase) -> None:
    with pytest.raises(UnfitDatabase, match="superuser, which can bypass foreign keys"):
        start(database, dsn=database.superuser_dsn)


@pytest.mark.parametrize(("shard", "shards"), [(1, 2), (0, 2)])
def test_another_shards_database_is_refused(database: ShardDatabase, shard: int, shards: int) -> None:
    with pytest.raises(UnfitDatabase, match="this database is shard 0 of 1 of cluster 'started'"):
        start(database, shard=shard, shards=shards)


def test_starting_again_changes_nothing(database: ShardDatabase) -> None:
    assert start(database) == start(database)


def test_a_canary_that_a_killed_node_left_is_released(database: ShardDatabase) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT FROM crosskey.canary FOR KEY SHARE")
        connection.execute(f"PREPARE TRANSACTION '{CANARY}'")
    start(database)
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        assert connection.execute("SELECT FROM pg_prepared_xacts WHERE gid = %s", (CANARY,)).rowcount == 0


def test_nodes_of_one_database_may_start_at_once(database: ShardDatabase) -> None:
    async def start_together() -> list[ShardIdentity]:
        return await asyncio.gather(*(start_once() for _ in range(4)))

    async def start_once() -> ShardIdentity:
        # As a node connects: a start may take longer than the lock time-out.
        options = "-c lock_timeout=10"
        async with await psycopg.AsyncConnection.connect(database.dsn, autocommit=True, options=options) as connection:
            return await prepare_database(connection, CLUSTER, 0, 1)

    for _ in range(5):
        assert len(set(asyncio.run(start_together()))) == 1


def test_a_canary_that_somebody_else_released_is_no_fault(database: ShardDatabase) -> None:
    connected(database.dsn, lambda connection: startup._release_canary(connection, sql.Literal("crosskey-canary:gone")))


def test_a_canary_of_another_database_is_left_alone(database: ShardDatabase) -> None:
    with psycopg.connect(database.server.dsn(), autocommit=True) as elsewhere:
        elsewhere.execute(
            "BEGIN; LOCK TABLE pg_description IN ACCESS SHARE MODE; PREPARE TRANSACTION 'crosskey-canary:postgres'"
        )
        try:
            start(database)
        finally:
            elsewhere.execute("ROLLBACK PREPARED 'crosskey-canary:postgres'")


def test_a_canary_without_its_lock_is_noticed(database: ShardDatabase) -> None:
    """No PostgreSQL that loses locks is at hand: a canary that is not there is not locked either."""
    run(database, "DELETE FROM crosskey.canary")
    with pytest.raises(UnfitDatabase, match="loses the row locks of prepared transactions"):
        connected(database.dsn, startup._check_prepared_locks)
    start(database)


@pytest.mark.parametrize("change", ["timeline = 'FFFFFFFF'", "system_identifier = '1'"])
def test_a_replaced_server_is_refused_until_it_is_accepted(database: ShardDatabase, change: str) -> None:
    before = start(database)
    run(database, f"UPDATE crosskey.shard SET {change}")
    with pytest.raises(UnfitDatabase, match="may lack transactions"):
        start(database)
    accepted = accept_through_the_command(database.dsn)
    after = start(database)
    assert accepted.output == f"accepted as incarnation {after.incarnation}\n"
    assert after.incarnation != before.incarnation


def test_only_a_shard_can_be_accepted(postgres: list[PostgresServer]) -> None:
    refused = accept_through_the_command(postgres[0].dsn())
    assert (refused.exit_code, refused.output) == (1, "Error: cannot accept the database: this database is no shard\n")


def accept_through_the_command(dsn: str) -> Result:
    """Runs `python -m crosskey.shard_node accept`."""
    return CliRunner().invoke(accept, ["--dsn", dsn])


def test_a_node_does_not_go_on_with_a_server_that_was_replaced_under_it(setting: Setting) -> None:
    """The same DSN leads to a promoted standby all of a sudden."""
    counter = setting.number_on(2)
    timeline = query(setting.cluster, 2, "SELECT timeline FROM crosskey.shard")[0][0]
    query(setting.cluster, 2, "UPDATE crosskey.shard SET timeline = 'FFFFFFFF'")
    query(setting.cluster, 2, _DISCONNECT)
    with pytest.raises(errors.ShardUnavailable, match="restored, or replaced by a standby"):
        setting.client.insert("counters", {"id": counter})
    accept_through_the_command(setting.cluster.databases[2].dsn)
    eventually(lambda: _inserted(setting, counter), "the node takes the server as it is")
    assert query(setting.cluster, 2, "SELECT timeline FROM crosskey.shard") == [(timeline,)]


def _inserted(setting: Setting, counter: int) -> bool:
    try:
        setting.client.insert("counters", {"id": counter})
    except errors.ShardUnavailable:
        return False
    return True


def settings_of(dsn: str) -> Settings:
    """Those of the only node."""
    return Settings(shard=0, shards=1, cluster=CLUSTER, dsn=dsn, listen="")


def pools(dsn: str) -> Database:
    """Not open yet."""
    return Database(dsn, pool_size=1, pool_queue=1, lock_timeout_ms=1000)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_postgresql_that_goes_away_while_its_node_starts_is_waited_for(
    database: ShardDatabase, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async with Way(database.dsn, tmp_path_factory.mktemp("w")).laid() as way:
        with psycopg.connect(database.superuser_dsn, autocommit=True) as other:
            other.execute("SELECT pg_advisory_lock(%s)", (startup._STARTING_LOCK,))
            opened = pools(way.dsn)
            opening = asyncio.create_task(open_patiently(opened, settings_of(way.dsn)))
            await asyncio.to_thread(eventually, lambda: other.execute(_STARTING).fetchone() == (1,), "it starts")
            way.cut()
        identity = await opening
        await opened.close()
    assert (identity.cluster, identity.shard) == (CLUSTER, 0)


@pytest.fixture
def crowded(database: ShardDatabase) -> Iterator[ShardDatabase]:
    """The database takes one connection, and has it. No limit is one for a superuser, but he counts."""
    limit = f"ALTER DATABASE {database.name} CONNECTION LIMIT {{}}"
    with psycopg.connect(database.superuser_dsn, autocommit=True) as server:
        server.execute(sql.SQL(limit).format(1))
        yield database
        server.execute(sql.SQL(limit).format(-1))


def test_fewer_connections_than_a_node_may_need_are_refused(database: ShardDatabase, crowded: ShardDatabase) -> None:
    async def check() -> None:
        async with await psycopg.AsyncConnection.connect(crowded.superuser_dsn, autocommit=True) as connection:
            await check_connections(connection, 3)

    with pytest.raises(UnfitDatabase) as refused:
        asyncio.run(check())
    assert str(refused.value) == (
        f'the connection limit of the database "{database.name}" is 1, and a node with --pool-size 3 needs up to 10'
        " connections: raise it by what is missing, for each node of this server, or give the node a smaller"
        " --pool-size"
    )


def test_a_server_that_takes_no_more_connections_is_not_called_unreachable(crowded: ShardDatabase) -> None:
    async def inspect() -> None:
        with translated():
            await inspect_schema(crowded.dsn, "")

    for attempt in (pools(crowded.dsn).connect, inspect):
        with pytest.raises(errors.Overloaded, match="takes no more connections: raise its max_connections"):
            asyncio.run(attempt())
