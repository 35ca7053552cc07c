"""Many clients insert children of, and delete, the same few parents: no orphan, no loss, no trace of what was refused.

`make soak-races` runs this for as long as it is told.
"""

import pytest

from crosskey import AsyncClient
from crosskey_cli.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.hot_keys.accounts import complaints
from tests.hot_keys.clients import run_clients
from tests.hot_keys.families import FAMILIES, Family, schema_of
from tests.hot_keys.settings import run_seconds, run_seed, say
from tests.hot_keys.stored_rows import stored_rows
from tests.shard_sql import prepared

SECONDS = 3.0
AUDIT_SECONDS = 60.0

ENVIRONMENT = {"CROSSKEY_LOCK_TIMEOUT_MS": "400"}


@pytest.fixture(scope="module")
def raced(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster with two routers, which know nothing of each other."""
    return fresh_cluster(schema_of(FAMILIES), routers=2, node_environment=ENVIRONMENT)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
async def test_clients_race_for_the_same_parents(raced: LocalCluster, family: Family) -> None:
    seed, seconds = run_seed(), run_seconds(SECONDS)
    history = await run_clients([router.address for router in raced.routers], family, seconds=seconds, seed=seed)
    say(history.summary())
    async with AsyncClient(raced.address, timeout=AUDIT_SECONDS) as client:
        assert await client.audit() == []
        assert not (await client.list_in_doubt()).transactions
    assert prepared(raced) == []
    assert list(complaints(family, history.attempts, stored_rows(raced, family))) == []
