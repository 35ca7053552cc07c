"""Clients that repeat what they lost: each write is carried out once, whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from itertools import chain, islice

import pytest

import crosskey
from crosskey import AsyncClient
from crosskey.local_cluster.cluster import LocalCluster
from tests.crashes.chaos import Kill, kill_node, kill_router, wait_until_quiet
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.hot_keys.settings import run_seed
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import prepared

pytestmark = pytest.mark.processes

SCHEMA = """
CREATE TABLE counters (id bigint PRIMARY KEY, value int NOT NULL DEFAULT 0);
COMMENT ON TABLE counters IS '@shard_by id';
CREATE TABLE marks (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), number int NOT NULL);
COMMENT ON TABLE marks IS '@shard_by id';
CREATE TABLE numbered (id bigserial PRIMARY KEY, number int NOT NULL);
COMMENT ON TABLE numbered IS '@shard_by id';
"""

RESOLVING_SOON = {"CROSSKEY_RESOLVER_INTERVAL_MS": "100", "CROSSKEY_RESOLVER_MIN_AGE_MS": "1000"}
IN_FLIGHT = 200
PATIENCE_SECONDS = 120.0

COUNTERS = [list(islice(numbers_on(shard), 8)) for shard in range(3)]


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, router_environment=RESOLVING_SOON)


@pytest.fixture
async def client(cluster: LocalCluster) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(cluster.address, timeout=PATIENCE_SECONDS, retries=True) as client:
        await client.wait_until_connected()
        yield client


@pytest.fixture
async def fresh_rows(client: AsyncClient) -> None:
    for table, column in (("counters", "value"), ("marks", "number"), ("numbered", "number")):
        await client.delete(table, where=crosskey.ge(column, 0))
    await client.insert("counters", [{"id": number} for number in chain.from_iterable(COUNTERS)])


@pytest.mark.usefixtures("fresh_rows")
@pytest.mark.parametrize("kill", [kill_router, kill_node])
async def test_each_write_in_flight_is_carried_out_once(cluster: LocalCluster, client: AsyncClient, kill: Kill) -> None:
    choices = random.Random(run_seed())
    answered = asyncio.Event()

    async def write(number: int) -> None:
        one = {"value": crosskey.column("value") + 1}
        kind = number % 4
        if kind == 0:
            [mark] = await client.insert("marks", {"number": number})
            assert mark["number"] == number
        elif kind == 1:
            await client.insert("numbered", {"number": number})
        elif kind == 2:
            assert len(await client.update("counters", one, key={"id": choices.choice(choices.choice(COUNTERS))})) == 1
        else:
            some = [choices.choice(counters) for counters in COUNTERS]
            await client.transact([crosskey.update("counters", one, where=crosskey.in_("id", some))])
        answered.set()

    writing = [asyncio.create_task(write(number)) for number in range(IN_FLIGHT)]
    await answered.wait()
    await asyncio.to_thread(kill, cluster, choices)
    await asyncio.gather(*writing)
    eventually(lambda: not prepared(cluster), "every transaction in doubt is resolved")
    wait_until_quiet(cluster)
    for table, kind in (("marks", 0), ("numbered", 1)):
        found = sorted([row["number"] async for row in client.list(table)])
        assert found == list(range(kind, IN_FLIGHT, 4))
    values = [row["value"] async for row in client.list("counters")]
    assert sum(values) == IN_FLIGHT // 4 + 3 * (IN_FLIGHT // 4)
    assert client.repeated
    assert await client.audit() == []
