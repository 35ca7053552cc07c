"""Many transactions over several shards at once: none holds what another one waits for, so all are carried out."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

import crosskey
from crosskey import Client
from crosskey.local_cluster.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on

SHARDS = 2
SCHEMA = "CREATE TABLE accounts (id bigint PRIMARY KEY); COMMENT ON TABLE accounts IS '@shard_by id';"
AT_ONCE = 24


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """Each node has two connections: one for a transaction over both shards, one for all else."""
    return fresh_cluster(
        SCHEMA,
        shards=SHARDS,
        node_environment={"CROSSKEY_POOL_SIZE": "2"},
        router_environment={"CROSSKEY_MAX_DISTRIBUTED": "1"},
    )


def test_transactions_over_several_shards_do_not_wait_for_each_others_connections(cluster: LocalCluster) -> None:
    """Each begins on one of the shards and goes on to the other."""
    on_both = zip(*(numbers_on(shard, SHARDS) for shard in range(SHARDS)), strict=False)
    pairs = [pair if place % 2 else pair[::-1] for place, pair in zip(range(AT_ONCE), on_both, strict=False)]
    with Client(cluster.address, timeout=60.0) as client, ThreadPoolExecutor(AT_ONCE) as threads:
        stored = list(threads.map(lambda pair: insert_each(client, pair), pairs))
        found = client.count("accounts")
    assert (stored, found) == ([SHARDS] * AT_ONCE, SHARDS * AT_ONCE)


def insert_each(client: Client, numbers: Sequence[int]) -> int:
    """Inserts accounts in one transaction, a statement each; how many."""
    return len(client.transact([crosskey.insert("accounts", {"id": number}) for number in numbers]))
