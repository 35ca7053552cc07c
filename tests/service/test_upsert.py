"""Upserts of many clients at once: one inserts, all others update or skip; and what they cost."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

import crosskey
from crosskey import AsyncClient, Client, Conflict
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.router.router_service import CALLS_KEY
from crosskey.v1.rows_pb2 import OnConflict
from tests.fresh_cluster import FreshClusters
from tests.hot_keys.settings import run_seed
from tests.numbers_on_shards import SHARDS, numbers_on
from tests.refusals import RawCalls
from tests.shard_sql import prepared, query_all

pytestmark = pytest.mark.searches

SCHEMA = """
CREATE TABLE teams (id bigint PRIMARY KEY);
COMMENT ON TABLE teams IS '@shard_by id';
CREATE TABLE accounts (
    id bigint PRIMARY KEY,
    username text NOT NULL UNIQUE,
    writer integer,
    team bigint REFERENCES teams
);
COMMENT ON TABLE accounts IS '@shard_by id';
"""

CLIENTS = 16
NAMES = 4
ROUNDS = 2

# They deadlock, as on one PostgreSQL, since each has its own order; nobody is to wait for that for long.
ENVIRONMENT = {"CROSSKEY_LOCK_TIMEOUT_MS": "300"}

_numbers = [numbers_on(shard) for shard in range(SHARDS)]
_names = count(1)


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster with two routers, which know nothing of each other."""
    return fresh_cluster(SCHEMA, routers=2, node_environment=ENVIRONMENT)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address, timeout=60.0) as client:
        yield client


async def _upsert(cluster: LocalCluster, writer: int, names: list[str], on_conflict: OnConflict) -> list[str]:
    """What became of each name; nothing if the client lost too many races, and then has left no trace."""
    rows = [{"id": next(_numbers[writer % SHARDS]), "username": name, "writer": writer} for name in names]
    async with AsyncClient(cluster.routers[writer % 2].address, timeout=60.0) as client:
        try:
            return list((await client.insert("accounts", rows, on_conflict=on_conflict)).outcomes)
        except Conflict:
            return []


@pytest.mark.parametrize("loser", ["UPDATED", "SKIPPED"])
async def test_one_client_inserts_a_value(cluster: LocalCluster, loser: str) -> None:
    """Of 16 clients with equal values, each value is inserted by one, and all others find it."""
    generator = random.Random(run_seed())
    on_username = crosskey.do_update("writer", on="username")
    on_conflict = on_username if loser == "UPDATED" else crosskey.do_nothing()
    for _ in range(ROUNDS):
        names = [f"name{next(_names)}" for _ in range(NAMES)]
        orders = [generator.sample(names, NAMES) for _ in range(CLIENTS)]
        answers = await asyncio.gather(
            *(_upsert(cluster, writer, order, on_conflict) for writer, order in enumerate(orders))
        )
        found = Counter(
            (name, outcome)
            for order, outcomes in zip(orders, answers, strict=True)
            for name, outcome in zip(order, outcomes, strict=bool(outcomes))
        )
        done = sum(map(bool, answers))
        assert done >= 1
        assert found == {(name, "INSERTED"): 1 for name in names} | (
            {(name, loser): done - 1 for name in names} if done > 1 else {}
        )
        stored = query_all(cluster, "SELECT username FROM accounts WHERE username = ANY(%s)", names)
        assert sorted(name for (name,) in stored) == sorted(names)


async def test_one_client_inserts_a_key_of_one_shard(cluster: LocalCluster) -> None:
    """The same where the shard key is the target.

    The other unique key has other values: PostgreSQL itself may refuse one that another client takes at that moment.
    """
    number = next(_numbers[1])
    on_id = crosskey.do_update("writer", on="id")

    async def upsert(writer: int) -> str:
        row = {"id": number, "username": f"the {number} of {writer}", "writer": writer}
        async with AsyncClient(cluster.routers[writer % 2].address, timeout=60.0) as client:
            [outcome] = (await client.insert("accounts", row, on_conflict=on_id)).outcomes
            return outcome

    outcomes = await asyncio.gather(*map(upsert, range(CLIENTS)))
    assert Counter(outcomes) == {"INSERTED": 1, "UPDATED": CLIENTS - 1}


async def test_upserts_deletes_and_moves(cluster: LocalCluster) -> None:
    """Whatever the order, no value is there twice, no claim is left over, and no upsert fails for its own target."""
    generator = random.Random(run_seed())
    names = [f"name{next(_names)}" for _ in range(3)]

    async def work(writer: int, choices: list[tuple[str, str]]) -> None:
        async with AsyncClient(cluster.routers[writer % 2].address, timeout=60.0) as client:
            for name, what in choices:
                try:
                    if what == "delete":
                        await client.delete("accounts", where={"username": name})
                    else:
                        columns = ["id", "writer"] if what == "move" else ["writer"]
                        row = {"id": next(_numbers[writer % SHARDS]), "username": name, "writer": writer}
                        on_conflict = crosskey.do_update(*columns, on="username")
                        await client.insert("accounts", row, on_conflict=on_conflict)
                except Conflict:
                    pass

    kinds = ["upsert", "upsert", "move", "delete"]
    await asyncio.gather(
        *(
            work(writer, [(generator.choice(names), generator.choice(kinds)) for _ in range(8)])
            for writer in range(CLIENTS)
        )
    )
    stored = [name for (name,) in query_all(cluster, "SELECT username FROM accounts WHERE username = ANY(%s)", names)]
    assert len(set(stored)) == len(stored)


def test_the_calls_do_not_grow_with_the_rows(cluster: LocalCluster) -> None:
    calls = RawCalls(cluster.address)
    try:
        assert _calls(calls, 60) == _calls(calls, 600)
    finally:
        calls.channel.close()


def _calls(calls: RawCalls, rows: int) -> Counter[str]:
    """The calls to nodes for inserts and updates of as many rows, all shards among them."""
    given = [{"id": next(_numbers[n % SHARDS]), "username": f"name{next(_names)}"} for n in range(rows)]
    on_conflict = crosskey.do_update("writer", on="username")
    made: Counter[str] = Counter()
    for chosen in (given[::2], given):
        request = crosskey.insert("accounts", chosen, on_conflict=on_conflict)
        response, call = calls.router.Insert.with_call(request)
        assert len(response.outcomes) == len(chosen)
        made.update(str(dict(call.trailing_metadata())[CALLS_KEY]).split(", "))
    return made


def test_threads_race_with_the_blocking_client(client: Client) -> None:
    name = f"name{next(_names)}"
    rows = [{"id": next(_numbers[n % SHARDS]), "username": name} for n in range(CLIENTS)]
    on_username = crosskey.do_nothing("username")
    with ThreadPoolExecutor(CLIENTS) as pool:
        outcomes = list(pool.map(lambda row: client.insert("accounts", row, on_conflict=on_username).outcomes, rows))
    assert sorted(map(tuple, outcomes)) == [("INSERTED",), *[("SKIPPED",)] * (CLIENTS - 1)]


def test_all_is_in_order(cluster: LocalCluster, client: Client) -> None:
    """Runs last: after the races nothing is prepared, and the audit finds nothing."""
    assert client.audit() == []
    assert prepared(cluster) == []
