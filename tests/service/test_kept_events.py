"""How long events are kept, what is told to whoever comes too late, and what operators see."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from click.testing import CliRunner

import crosskey
from crosskey.cli.commands import crosskey as commands
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.shard_node.events.trimming import Retention, trim
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import as_node, query

SHARDS = 2
SCHEMA = """
CREATE TABLE notes (id bigint PRIMARY KEY, text text);
COMMENT ON TABLE notes IS E'@shard_by id\\n@events';
"""
NOTHING_IS_TOO_MUCH = 1 << 40
A_DAY = 86_400.0
NUMBERS = numbers_on(0, SHARDS)


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, shards=SHARDS)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[crosskey.Client]:
    with crosskey.Client(cluster.address) as client:
        yield client


@pytest_asyncio.fixture
async def connection(cluster: LocalCluster) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(cluster.databases[0].dsn, autocommit=True) as connection:
        yield connection


def kept(cluster: LocalCluster) -> list[str]:
    """The keys of the events that shard 0 keeps, in order."""
    return [key for (key,) in query(cluster, 0, "SELECT aggregateid FROM crosskey.event ORDER BY position")]


def insert_notes(client: crosskey.Client, count: int, size: int = 0) -> list[str]:
    """Inserts notes on shard 0, and answers their keys."""
    numbers = [next(NUMBERS) for _ in range(count)]
    client.insert("notes", [{"id": number, "text": "x" * size} for number in numbers])
    return [str(number) for number in numbers]


async def test_old_events_go_and_whoever_needs_them_is_told(
    cluster: LocalCluster, client: crosskey.Client, connection: psycopg.AsyncConnection[Any]
) -> None:
    with client.watch("notes") as watch:
        old = watch.token
    keys = insert_notes(client, 3)
    assert await trim(connection, Retention(A_DAY, NOTHING_IS_TOO_MUCH)) == 0
    assert kept(cluster)[-3:] == keys
    with client.watch("notes", after=old) as watch:
        assert [event.key for event in itertools.islice(watch, 3)] == keys
        last = watch.token
    assert await trim(connection, Retention(0, NOTHING_IS_TOO_MUCH)) >= 3
    assert kept(cluster) == []
    # What the node still has in memory it goes on to give out.
    forget_what_is_in_memory(cluster)
    eventually(lambda: is_refused(client, old), "the token is too old")
    with client.watch("notes", after=last) as watch:
        later = insert_notes(client, 1)
        assert [event.key for event in itertools.islice(watch, 1)] == later


def is_refused(client: crosskey.Client, token: str) -> bool:
    """Whether events behind a token are gone."""
    try:
        client.watch("notes", after=token).close()
    except crosskey.EventsGone:
        return True
    return False


def forget_what_is_in_memory(cluster: LocalCluster) -> None:
    """Ends the connection on which the node follows the outbox, and with it what it has in memory."""
    followers = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query ~ %s"
    )
    query(cluster, 0, followers, "crosskey.event_position_seq")


async def test_of_too_many_events_the_first_go(
    cluster: LocalCluster, client: crosskey.Client, connection: psycopg.AsyncConnection[Any]
) -> None:
    insert_notes(client, 20, size=1000)
    last = insert_notes(client, 5, size=1000)
    # Text of one letter is compressed; only what comes with each event counts here.
    await trim(connection, Retention(A_DAY, 5 * 450))
    left = kept(cluster)
    assert left
    assert left == last[-len(left) :]
    assert await trim(connection, Retention(A_DAY, 5 * 450)) == 0


async def test_nothing_is_deleted_behind_what_is_not_settled(
    cluster: LocalCluster, client: crosskey.Client, connection: psycopg.AsyncConnection[Any]
) -> None:
    number = next(NUMBERS)
    with client.watch("notes") as watch:
        token = watch.token
    with as_node(cluster, 0) as other:
        other.execute("BEGIN")
        other.execute("INSERT INTO notes (id) VALUES (%s)", (number,))
        other.execute("PREPARE TRANSACTION 'test of trimming'")
        [later] = insert_notes(client, 1)
        assert await trim(connection, Retention(0, NOTHING_IS_TOO_MUCH)) == 0
        held_back = client.describe_events().outboxes[0]
        assert held_back.held_back_by == "test of trimming"
        other.execute("COMMIT PREPARED 'test of trimming'")
    with client.watch("notes", after=token) as watch:
        assert [event.key for event in itertools.islice(watch, 2)] == [str(number), later]


def test_what_operators_see(client: crosskey.Client) -> None:
    before = client.describe_events()
    insert_notes(client, 2)
    after = client.describe_events()
    assert [outbox.shard for outbox in after.outboxes] == [0, 1]
    assert not after.unreachable_shards
    first, second = after.outboxes
    assert first.events == before.outboxes[0].events + 2
    assert first.drawn == before.outboxes[0].drawn + 2
    assert first.bytes > 0
    assert first.HasField("oldest")
    assert second.events == 0
    assert not second.HasField("oldest")


def test_the_commands(cluster: LocalCluster, client: crosskey.Client) -> None:
    with client.watch("notes") as watch:
        token = watch.token
    [key] = insert_notes(client, 1)
    router = ["--router", cluster.address]
    told = CliRunner().invoke(commands, ["watch", "notes", "--after", token, "--count", "1", *router])
    assert told.exit_code == 0, told.output
    event = json.loads(told.stdout)
    assert (event["type"], event["key"], event["after"]) == ("insert", key, {"id": key, "text": ""})
    kept_events = CliRunner().invoke(commands, ["events", *router])
    assert kept_events.exit_code == 0, kept_events.output
    assert '"events"' in kept_events.stdout
    refused = CliRunner().invoke(commands, ["watch", "nothing", *router])
    assert refused.exit_code == 1
    assert 'relation "nothing" does not exist' in refused.output


def test_a_node_deletes_events_by_itself(fresh_cluster: FreshClusters) -> None:
    settings = {"CROSSKEY_EVENTS_RETENTION_SECONDS": "0", "CROSSKEY_EVENTS_TRIM_SECONDS": "0.05"}
    cluster = fresh_cluster(SCHEMA, shards=1, node_environment=settings)
    with crosskey.Client(cluster.address) as client:
        client.insert("notes", {"id": 1})
        eventually(lambda: not kept(cluster), "the event is deleted")
        [outbox] = client.describe_events().outboxes
        assert outbox.trimmed == outbox.drawn == 1
