"""Many clients insert children of, delete and move the same few parents: no orphan, no loss, no trace of a refusal.

`make soak-races` runs this for as long as it is told.
"""

import asyncio
from time import monotonic

import pytest

from crosskey import AsyncClient
from crosskey.local_cluster.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.hot_keys.accounts import complaints
from tests.hot_keys.clients import run_clients
from tests.hot_keys.families import FAMILIES, Family, schema_of
from tests.hot_keys.moving import MOVING_SCHEMA, NAMES, run_moving_clients
from tests.hot_keys.settings import run_seconds, run_seed, say
from tests.hot_keys.stored_rows import stored_rows
from tests.shard_sql import prepared, query_all

pytestmark = pytest.mark.searches

SECONDS = 2.5
ADMIN_SECONDS = 60.0
PAUSE_SECONDS = 0.1

ENVIRONMENT = {"CROSSKEY_LOCK_TIMEOUT_MS": "400"}


@pytest.fixture(scope="module")
def raced(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster with two routers, which know nothing of each other."""
    return fresh_cluster(schema_of(FAMILIES) + MOVING_SCHEMA, routers=2, node_environment=ENVIRONMENT)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
async def test_clients_race_for_the_same_parents(raced: LocalCluster, family: Family) -> None:
    seed, seconds = run_seed(), run_seconds(SECONDS)
    addresses = [router.address for router in raced.routers]
    async with AsyncClient(raced.address, timeout=ADMIN_SECONDS) as client:
        history, dropped = await asyncio.gather(
            run_clients(addresses, family, seconds=seconds, seed=seed), _drop_shadows(client, seconds)
        )
        say(f"{history.summary()}\n{dropped:6} unused shadows dropped")
        assert await client.audit() == []
        assert not (await client.list_in_doubt()).transactions
    assert prepared(raced) == []
    assert list(complaints(family, history.attempts, stored_rows(raced, family))) == []


async def test_clients_race_while_rows_move(raced: LocalCluster) -> None:
    seed, seconds = run_seed(), run_seconds(SECONDS)
    addresses = [router.address for router in raced.routers]
    async with AsyncClient(raced.address, timeout=ADMIN_SECONDS) as client:
        moving, _ = await asyncio.gather(
            run_moving_clients(addresses, seconds=seconds, seed=seed), _drop_shadows(client, seconds)
        )
        say(moving.summary())
        assert await client.audit() == []
    assert prepared(raced) == []
    parents = dict(query_all(raced, "SELECT name, id FROM moving_parents"))
    assert sorted(parents) == list(NAMES)
    children = query_all(raced, "SELECT id, parent FROM moving_children")
    assert [child for child, _ in children] == sorted(moving.children)
    assert {parent for _, parent in children} <= set(parents.values())


async def _drop_shadows(client: AsyncClient, seconds: float) -> int:
    """Drops unused shadows all the time, under the feet of those who want to use them again; answers how many."""
    deadline = monotonic() + seconds
    dropped = 0
    while monotonic() < deadline:
        dropped += await client.drop_unused_shadows()
        await asyncio.sleep(PAUSE_SECONDS)
    return dropped
