"""Servers are killed while clients write and one watches: what it is told makes up exactly the rows that are stored."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic
from typing import Any

import pytest

import crosskey
from crosskey import AsyncClient
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.local_cluster.postgres import PostgresServer, postgres_servers
from crosskey.requests import Statement
from tests.crashes.chaos import Kill, kill_node, kill_part_of_postgres, kill_postgres, kill_router, wait_until_quiet
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.hot_keys.settings import run_seconds, run_seed, say
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import prepared, query_all

pytestmark = [pytest.mark.processes, pytest.mark.restarts_postgres]

SHARDS = 2
SECONDS = 2.5
CALM_SECONDS = 0.5
"""Before each kill, and after the last."""
WRITERS = 6
ROWS = 30
"""Few, so that writers meet at each."""
KEEP_PERSON = crosskey.do_update("name", on="id")
KEEP_POST = crosskey.do_update("person", "text", on="id")

SCHEMA = """
CREATE TABLE people (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE people IS E'@shard_by id\\n@events';
CREATE TABLE posts (
    id bigint PRIMARY KEY, person bigint CONSTRAINT posts_person REFERENCES people ON DELETE CASCADE, text text
);
COMMENT ON TABLE posts IS E'@shard_by id\\n@events';
CREATE TABLE ends (id bigint PRIMARY KEY);
COMMENT ON TABLE ends IS E'@shard_by id\\n@events';
"""
TABLES = ("people", "posts", "ends")
ENDS = [numbers_on(shard, SHARDS) for shard in range(SHARDS)]

Key = tuple[str, str]
"""A table and the key of a row."""


@pytest.fixture(scope="module")
def fragile(postgres: list[PostgresServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster on PostgreSQL servers of its own, so that nobody else misses them."""
    folder = tmp_path_factory.mktemp("fragile")
    with (
        postgres_servers(folder, SHARDS, binaries=postgres[0].binaries, fast=True) as servers,
        ExitStack() as lifetime,
    ):
        yield FreshClusters(servers, folder, lifetime)(
            SCHEMA,
            shards=SHARDS,
            routers=2,
            node_environment={"CROSSKEY_LOCK_TIMEOUT_MS": "300"},
            router_environment={"CROSSKEY_RESOLVER_INTERVAL_MS": "100", "CROSSKEY_RESOLVER_MIN_AGE_MS": "1000"},
        )


@pytest.mark.parametrize("kill", [kill_node, kill_router, kill_part_of_postgres, kill_postgres])
async def test_every_committed_change_is_told_and_no_other(fragile: LocalCluster, kill: Kill) -> None:
    seed, seconds = run_seed(), run_seconds(SECONDS)
    choices = random.Random(seed)
    told = dict(stored(fragile))
    async with AsyncClient(fragile.address) as client:
        await client.wait_until_connected()
        watch = client.watch(TABLES)
        await watch.begin()
        token = watch.token
        watch.close()
    ends = {str(next(numbers)) for numbers in ENDS}
    watching = asyncio.create_task(watch_until(fragile, token, ends))
    stop = asyncio.Event()
    *_, kills = await asyncio.gather(
        *(write(fragile, writer, stop, random.Random(f"{seed} {writer}")) for writer in range(WRITERS)),
        kill_again_and_again(fragile, kill, monotonic() + seconds, choices, stop),
    )
    eventually(lambda: not prepared(fragile), "every transaction in doubt is resolved")
    wait_until_quiet(fragile)
    async with AsyncClient(fragile.address) as client:
        await client.wait_until_connected()
        await client.insert("ends", [{"id": int(end)} for end in ends])
    events = await watching
    say(f"{kills} times {kill.__name__}: {len(events)} events, {len({event.id for event in events})} different ones")
    assert replayed(told, events) == stored(fragile)


def stored(cluster: LocalCluster) -> dict[Key, Any]:
    """All rows, in the form in which events have them."""
    rows = {}
    for table in TABLES:
        for (row,) in query_all(cluster, f"SELECT row_to_json(t)::text FROM {table} t"):
            told = {name: str(value) if isinstance(value, int) else value for name, value in json.loads(row).items()}
            rows[table, told["id"]] = told
    return rows


def replayed(rows: dict[Key, Any], events: list[crosskey.Event]) -> dict[Key, Any]:
    """What the rows have become by the events, of which each counts once, and follows the one before of its row."""
    seen = set()
    for event in events:
        if event.id in seen:
            continue
        seen.add(event.id)
        key = event.table, event.key
        assert rows.get(key) == event.before, f"{key} was {rows.get(key)}, and is told to have been {event.before}"
        if event.after is None:
            del rows[key]
        else:
            rows[key] = event.after
    return rows


async def watch_until(cluster: LocalCluster, token: str, ends: set[str]) -> list[crosskey.Event]:
    """Everything that is told until the rows of `ends` are, which come last on their shards, whoever breaks off."""
    events: list[crosskey.Event] = []
    missing = set(ends)
    for turn in range(10_000):
        router = cluster.routers[turn % len(cluster.routers)]
        async with AsyncClient(router.address) as client:
            watch = client.watch(TABLES, after=token)
            try:
                async for event in watch:
                    events.append(event)
                    token = watch.token
                    if event.table == "ends":
                        missing.discard(event.key)
                    if not missing:
                        watch.close()
                        return events
            except (crosskey.ShardUnavailable, crosskey.Cancelled, crosskey.Overloaded, crosskey.DeadlineExceeded):
                await asyncio.sleep(0.05)
    raise AssertionError(f"the stream broke too often; {missing} did not come")


async def write(cluster: LocalCluster, writer: int, stop: asyncio.Event, choices: random.Random) -> None:
    """Inserts, changes and deletes rows, whatever becomes of it."""
    router = cluster.routers[writer % len(cluster.routers)]
    async with AsyncClient(router.address, timeout=5) as client:
        while not stop.is_set():
            person, post = choices.randrange(ROWS), choices.randrange(ROWS)
            name = f"{writer} {choices.random()}"
            requests: list[list[Statement]] = [
                [crosskey.insert("people", {"id": person, "name": name}, on_conflict=KEEP_PERSON)],
                [crosskey.insert("posts", {"id": post, "person": person, "text": name}, on_conflict=KEEP_POST)],
                [crosskey.update("people", {"name": name}, key={"id": person})],
                [
                    crosskey.update("people", {"name": name}, key={"id": person}),
                    crosskey.update("posts", {"text": name}, key={"id": post}),
                ],
                [crosskey.delete("people", key={"id": person})],
                [crosskey.delete("posts", key={"id": post})],
            ]
            try:
                await client.transact(choices.choice(requests))
            except crosskey.ShardUnavailable:
                await asyncio.sleep(0.05)
            except crosskey.InternalError:
                raise
            except crosskey.CrosskeyError:
                continue


async def kill_again_and_again(
    cluster: LocalCluster, kill: Kill, deadline: float, choices: random.Random, stop: asyncio.Event
) -> int:
    """Kills at odd moments, once at least, and has the writers stop a while after the last; answers how often."""
    kills = 0
    while not kills or monotonic() < deadline:
        await asyncio.sleep(choices.uniform(CALM_SECONDS, 2 * CALM_SECONDS))
        await asyncio.to_thread(kill, cluster, choices)
        kills += 1
    await asyncio.sleep(CALM_SECONDS)
    stop.set()
    return kills
