"""A cluster whose routers and nodes are several processes each: one cluster to its users, also when one is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest

from crosskey import AsyncClient, Client, errors
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.local_cluster.server_process import ServerProcess
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters

pytestmark = pytest.mark.processes

SCHEMA = """
CREATE TABLE parents (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), drawn bigint GENERATED ALWAYS AS IDENTITY);
COMMENT ON TABLE parents IS '@shard_by id';
CREATE TABLE children (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    parent uuid NOT NULL REFERENCES parents ON DELETE CASCADE
);
COMMENT ON TABLE children IS '@shard_by id';
"""
CLIENTS = 8
ROUNDS = 15
WORKERS = {"CROSSKEY_WORKERS": "2"}


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(
        SCHEMA,
        shards=2,
        node_environment=WORKERS,
        router_environment={**WORKERS, "CROSSKEY_RESOLVER_INTERVAL_MS": "100", "CROSSKEY_RESOLVER_MIN_AGE_MS": "1000"},
    )


@asynccontextmanager
async def clients_of(cluster: LocalCluster) -> AsyncIterator[list[AsyncClient]]:
    """Clients on connections of their own."""
    clients = [AsyncClient(cluster.address) for _ in range(CLIENTS)]
    try:
        yield clients
    finally:
        await asyncio.gather(*(client.close() for client in clients))


async def write(client: AsyncClient, *, must_succeed: bool) -> list[int]:
    """Parents with a child each; answers the numbers that they drew."""
    drawn = []
    for _ in range(ROUNDS):
        try:
            [parent] = await client.insert("parents", {})
            await client.insert("children", {"parent": parent["id"]})
            drawn.append(int(parent["drawn"]))
        except (errors.ShardUnavailable, errors.OutcomeUnknown, errors.Conflict):
            if must_succeed:
                raise
    return drawn


async def test_workers_are_one_server_to_those_who_write(cluster: LocalCluster) -> None:
    async with clients_of(cluster) as clients:
        drawn = await asyncio.gather(*(write(client, must_succeed=True) for client in clients))
        numbers = [number for each in drawn for number in each]
        assert len(set(numbers)) == CLIENTS * ROUNDS
        assert await clients[0].count("children") == CLIENTS * ROUNDS


@pytest.mark.parametrize("kind", ["routers", "nodes"])
async def test_a_killed_worker_leaves_no_orphan_and_is_replaced(cluster: LocalCluster, kind: str) -> None:
    process: ServerProcess = getattr(cluster, kind)[0]
    workers = psutil.Process(process.pid).children()
    async with clients_of(cluster) as clients:
        writing = [asyncio.create_task(write(client, must_succeed=False)) for client in clients]
        await asyncio.wait(writing, timeout=0.2)
        workers[0].kill()
        written = await asyncio.gather(*writing)
    eventually(lambda: len(psutil.Process(process.pid).children()) == len(workers), "the worker is replaced")
    with Client(cluster.address) as client:
        assert client.count("children") >= sum(map(len, written))
        eventually(lambda: list(client.audit()) == [], "the cluster is whole")
