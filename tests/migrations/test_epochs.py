"""Who has an older schema is told, catches up within the request, and never writes by it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress

import psycopg
import pytest

from crosskey import Client, InvalidRequest, MigrationUnderWay, SchemaChanged, SchemaRefused, UnknownColumn, errors
from crosskey.local_cluster.cluster import LocalCluster
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.migrations.schema import END, SCHEMA, fill, with_changes
from tests.shard_sql import as_superuser, query, query_all

pytestmark = pytest.mark.processes

WITH_EMAIL = with_changes((("age integer", "email text NOT NULL DEFAULT 'none', age integer"),))


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """Two processes serve each shard."""
    return fresh_cluster(
        SCHEMA,
        shards=2,
        routers=2,
        node_environment={"CROSSKEY_WORKERS": "2", "CROSSKEY_POOL_SIZE": "8"},
        router_environment={"CROSSKEY_RESOLVER_INTERVAL_MS": "100", "CROSSKEY_RESOLVER_MIN_AGE_MS": "1000"},
    )


@pytest.fixture(scope="module")
def clients(cluster: LocalCluster) -> Iterator[list[Client]]:
    """One of each router."""
    with Client(cluster.routers[0].address, timeout=60) as one, Client(cluster.routers[1].address, timeout=60) as other:
        fill(one)
        yield [one, other]


@pytest.fixture
def migrated(clients: list[Client]) -> Iterator[list[Client]]:
    """Users have an e-mail address, for the length of a test."""
    clients[0].apply_migration(WITH_EMAIL)
    yield clients
    clients[0].apply_migration(SCHEMA, allow_destructive=True)


def test_both_processes_of_a_node_serve_the_new_schema_at_once(migrated: list[Client]) -> None:
    for number in range(100, 120):
        for client in migrated:
            client.update("users", {"email": f"{number}@x.org"}, key={"id": number % 40})
            assert client.get("users", {"id": number % 40})["email"] == f"{number}@x.org"


@pytest.mark.usefixtures("migrated")
def test_a_session_of_an_older_epoch_cannot_write_a_table_that_has_changed(
    cluster: LocalCluster,
) -> None:
    [(epoch,)] = query(cluster, 0, "SELECT max(epoch) FROM crosskey.epoch")
    with as_superuser(cluster, 0) as connection:
        connection.execute("SELECT set_config('crosskey.epoch', %s, false)", (str(epoch - 1),))
        with pytest.raises(psycopg.Error, match='relation "users" has changed since') as refused:
            connection.execute("UPDATE users SET name = 'old'")
        assert refused.value.sqlstate == "XK009"
        connection.execute("UPDATE notes SET text = text")
        connection.execute("SELECT set_config('crosskey.epoch', %s, false)", (str(epoch),))
        connection.execute("UPDATE users SET name = name")


def test_a_router_that_slept_through_the_flip_writes_by_the_new_schema(
    cluster: LocalCluster, clients: list[Client]
) -> None:
    awake, asleep = clients
    asleep.insert("users", {"id": 1000, "name": "before", "nick": "n"})
    os.kill(cluster.routers[1].pid, signal.SIGSTOP)
    outcomes: list[object] = []

    def insert(number: int, row: dict[str, object]) -> None:
        try:
            outcomes.append(asleep.insert("users", {"id": number, "name": "asleep", **row}))
        except errors.CrosskeyError as error:
            outcomes.append(error)

    threads = [
        threading.Thread(target=insert, args=one) for one in ((1001, {"nick": "old"}), (1002, {"handle": "new"}))
    ]
    try:
        for thread in threads:
            thread.start()
        awake.apply_migration(with_changes((("nick ", "handle "),)), renames={"users.nick": "handle"})
    finally:
        os.kill(cluster.routers[1].pid, signal.SIGCONT)
    for thread in threads:
        thread.join()
    assert [type(one) for one in outcomes if isinstance(one, Exception)] == [UnknownColumn]
    assert awake.get("users", {"id": 1002})["handle"] == "new"
    awake.delete("users", where={"name": "asleep"})
    awake.apply_migration(SCHEMA, renames={"users.handle": "nick"})
    assert awake.audit() == []


def test_an_open_transaction_goes_on_unless_it_meets_what_has_changed(clients: list[Client]) -> None:
    client = clients[1]
    with client.transaction(idle_timeout=60) as tx:
        tx.update("notes", {"text": "by an open transaction"}, key={"user_id": 1, "id": 1})
        clients[0].apply_migration(WITH_EMAIL)
        tx.update("notes", {"text": "and again"}, key={"user_id": 1, "id": 1})
    assert client.get("notes", {"user_id": 1, "id": 1})["text"] == "and again"
    tx = client.transaction(idle_timeout=60)
    with suppress(SchemaChanged), tx:
        tx.update("notes", {"text": "begun"}, key={"user_id": 1, "id": 1})
        clients[0].apply_migration(SCHEMA, allow_destructive=True)
        with pytest.raises(SchemaChanged) as told:
            tx.update("users", {"name": "x"}, key={"id": 1})
        assert told.value.retryable
        raise told.value
    assert client.get("notes", {"user_id": 1, "id": 1})["text"] == "and again"


def test_a_list_goes_on_over_a_flip(clients: list[Client]) -> None:
    rows = iter(clients[1].list("notes", page_size=50))
    first = [next(rows) for _ in range(60)]
    clients[0].apply_migration(with_changes((("text text", "text text, more text"),)))
    others = list(rows)
    clients[0].apply_migration(SCHEMA, allow_destructive=True)
    ids = [(row["user_id"], row["id"]) for row in (*first, *others)]
    assert len(ids) == len(set(ids)) == 400


def test_ddl_may_come_on_top_of_the_schema_in_force(clients: list[Client]) -> None:
    client = clients[0]
    client.apply_migration("ALTER TABLE users ADD COLUMN email text;\nCREATE INDEX ON users (email);", on_top=True)
    client.update("users", {"email": "a@x.org"}, key={"id": 1})
    assert client.audit() == []
    with pytest.raises(SchemaRefused, match='line 2: column "nothing" of relation "users" does not exist'):
        client.apply_migration("\nALTER TABLE users DROP COLUMN nothing;", on_top=True)
    client.apply_migration("ALTER TABLE users DROP COLUMN email;", on_top=True, allow_destructive=True)
    assert client.audit() == []
    client.apply_migration(SCHEMA)


def test_one_migration_at_a_time_is_under_way(cluster: LocalCluster, clients: list[Client]) -> None:
    """One waits for a lock, is refused to another, and is given up."""
    slow = with_changes((("home text", "home text CHECK (home <> '')"),))
    with as_superuser(cluster, 1) as blocking:
        blocking.execute("BEGIN")
        blocking.execute("LOCK TABLE users IN ACCESS SHARE MODE")
        told: list[BaseException] = []

        def migrate() -> None:
            try:
                clients[0].apply_migration(slow)
            except errors.CrosskeyError as error:
                told.append(error)

        migrating = threading.Thread(target=migrate)
        migrating.start()
        eventually(lambda: [one.state for one in clients[1].list_migrations(1)] == [1], "it is under way")
        with pytest.raises(MigrationUnderWay):
            clients[1].apply_migration(WITH_EMAIL)
        # Whoever carries it out is gone.
        cluster.routers[0].kill()
        migrating.join()
        cluster.routers[0].start_serving()
        blocking.execute("ROLLBACK")
    [under_way] = clients[1].list_migrations(1)
    assert under_way.state == under_way.STATE_PREPARING
    clients[1].abort_migration()
    assert query_all(cluster, "SELECT count(*) FROM pg_constraint WHERE conname = 'users_home_check'") == [(0,), (0,)]
    assert clients[1].audit() == []
    with pytest.raises(InvalidRequest, match="no migration is under way"):
        clients[1].abort_migration()


def test_what_was_interrupted_is_resumed(cluster: LocalCluster, clients: list[Client]) -> None:
    slow = with_changes((("home text", "home text CHECK (home <> '')"), (END, "CREATE INDEX homes ON users (home);")))
    with as_superuser(cluster, 1) as blocking:
        blocking.execute("BEGIN")
        blocking.execute("UPDATE users SET name = name WHERE id = (SELECT min(id) FROM users)")
        migrating = threading.Thread(target=_ignoring_errors, args=(clients[0], slow))
        migrating.start()
        eventually(
            lambda: (
                query(cluster, 0, "SELECT 1 FROM pg_constraint WHERE conname = 'users_home_check'")
                or query(cluster, 0, "SELECT 1 FROM pg_class WHERE relname = 'homes'")
            ),
            "a step is taken on one shard",
        )
        cluster.routers[0].kill()
        migrating.join()
        cluster.routers[0].start_serving()
        blocking.execute("ROLLBACK")
    clients[1].apply_migration(resume=True)
    assert clients[1].audit() == []
    assert clients[1].plan_migration(slow).steps == []
    clients[1].apply_migration(SCHEMA)
    assert clients[1].audit() == []


def _ignoring_errors(client: Client, sql: str) -> None:
    with suppress(errors.CrosskeyError):
        client.apply_migration(sql)
