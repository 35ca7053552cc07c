"""Clients write while servers are killed: what was acknowledged is there, and everything else is whole.

`make soak-crashes` runs this for as long as it is told.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from time import monotonic

import pytest

from crosskey import AsyncClient
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.local_cluster.postgres import PostgresServer, postgres_servers
from tests.crashes.chaos import Kill, kill_node, kill_part_of_postgres, kill_postgres, kill_router, wait_until_quiet
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.hot_keys.accounts import complaints
from tests.hot_keys.anchored_rows import ANCHORED_SCHEMA, lost_rows, rows_apart, run_anchored_clients
from tests.hot_keys.clients import run_clients
from tests.hot_keys.families import FAMILIES, Family, schema_of
from tests.hot_keys.settings import run_seconds, run_seed, say
from tests.hot_keys.stored_rows import stored_rows
from tests.shard_sql import prepared

pytestmark = [pytest.mark.processes, pytest.mark.restarts_postgres]

SECONDS = 2.0
CALM_SECONDS = 0.5
"""Between two kills, and before the first and after the last."""
AUDIT_SECONDS = 60.0

NODE_ENVIRONMENT = {"CROSSKEY_LOCK_TIMEOUT_MS": "500"}
ROUTER_ENVIRONMENT = {"CROSSKEY_RESOLVER_INTERVAL_MS": "100", "CROSSKEY_RESOLVER_MIN_AGE_MS": "1000"}

_media = count(1)

CASCADE, RESTRICT, NO_ACTION, SET_NULL, SET_DEFAULT = FAMILIES


@pytest.fixture(scope="module")
def fragile(postgres: list[PostgresServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster on PostgreSQL servers of its own, so that nobody else misses them."""
    folder = tmp_path_factory.mktemp("fragile")
    with (
        postgres_servers(folder, 3, binaries=postgres[0].binaries, fast=True) as servers,
        ExitStack() as lifetime,
    ):
        yield FreshClusters(servers, folder, lifetime)(
            schema_of(FAMILIES) + ANCHORED_SCHEMA,
            routers=2,
            node_environment=NODE_ENVIRONMENT,
            router_environment=ROUTER_ENVIRONMENT,
        )


@pytest.mark.parametrize(
    ("kill", "family"),
    [(kill_node, CASCADE), (kill_router, SET_NULL), (kill_part_of_postgres, RESTRICT), (kill_postgres, SET_DEFAULT)],
)
async def test_clients_write_while_servers_die(fragile: LocalCluster, kill: Kill, family: Family) -> None:
    seed, seconds = run_seed(), run_seconds(SECONDS)
    addresses = [router.address for router in fragile.routers]
    history, kills = await asyncio.gather(
        run_clients(addresses, family, seconds=seconds, seed=seed),
        _kill_again_and_again(fragile, kill, seconds, random.Random(seed)),
    )
    say(f"{kills} times {kill.__name__}\n{history.summary()}")
    fragile.check_running()
    eventually(lambda: not prepared(fragile), "every transaction in doubt is resolved")
    wait_until_quiet(fragile)
    async with AsyncClient(fragile.address, timeout=AUDIT_SECONDS) as client:
        await client.wait_until_connected()
        assert list((await client.list_in_doubt()).transactions) == []
        assert await client.audit() == []
    assert list(complaints(family, history.attempts, stored_rows(fragile, family))) == []


@pytest.mark.parametrize("kill", [kill_node, kill_router, kill_part_of_postgres])
async def test_parents_move_while_servers_die(fragile: LocalCluster, kill: Kill) -> None:
    seed, seconds = run_seed(), run_seconds(SECONDS)
    media = [next(_media) for _ in range(4)]
    async with AsyncClient(fragile.address, timeout=AUDIT_SECONDS) as client:
        await client.wait_until_connected()
        await client.insert("media", [{"id": one, "owner_id": one} for one in media])
    runs, kills = await asyncio.gather(
        run_anchored_clients(fragile, media, monotonic() + seconds, seed),
        _kill_again_and_again(fragile, kill, seconds, random.Random(seed)),
    )
    say(f"{kills} times {kill.__name__}\n{sum((run.done for run in runs), Counter())}")
    fragile.check_running()
    eventually(lambda: not prepared(fragile), "every transaction in doubt is resolved")
    wait_until_quiet(fragile)
    async with AsyncClient(fragile.address, timeout=AUDIT_SECONDS) as client:
        await client.wait_until_connected()
        assert await client.audit() == []
    assert [error for run in runs for error in run.refused] == []
    assert lost_rows(fragile, runs) == []
    assert rows_apart(fragile) == 0


async def _kill_again_and_again(cluster: LocalCluster, kill: Kill, seconds: float, choices: random.Random) -> int:
    """Kills at odd moments until the clients are about to stop; answers how often."""
    kills = 0
    deadline = monotonic() + seconds - CALM_SECONDS
    while True:
        await asyncio.sleep(choices.uniform(CALM_SECONDS, 2 * CALM_SECONDS))
        if monotonic() > deadline:
            return kills
        await asyncio.to_thread(kill, cluster, choices)
        kills += 1
