"""The rules that keep foreign keys over shards true: a test for each, with real servers and chosen interleavings."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from crosskey import Client
from crosskey_cli.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.hand_coordinator import (
    HandCoordinator,
    add_shadows,
    commit,
    insert,
    pin,
    prepare,
)
from tests.hot_keys.families import DEFAULT_PARENT, FAMILIES, Family, schema_of
from tests.numbers_on_shards import SHARDS, numbers_on
from tests.shard_sql import query, query_all, wait_for_waiters

CASCADE, RESTRICT, NO_ACTION, SET_NULL, SET_DEFAULT = FAMILIES


class Setting:
    """A cluster, a client, and new rows for each test."""

    def __init__(self, cluster: LocalCluster, client: Client, hand: HandCoordinator) -> None:
        self.cluster = cluster
        self.client = client
        self.hand = hand
        self._numbers = [numbers_on(shard) for shard in range(SHARDS)]
        self._ids = count(1)

    def number_on(self, shard: int) -> int:
        """A shard key that no test has used."""
        number = next(self._numbers[shard])
        return number if number != DEFAULT_PARENT else next(self._numbers[shard])

    def parent_on(self, shard: int, family: Family = CASCADE) -> int:
        """Inserts a new parent that lives on the shard."""
        key = self.number_on(shard)
        self.client.insert(family.parents, {"id": key})
        return key

    def child(self, shard: int, parent: int) -> dict[str, int]:
        """A new child on the shard, not inserted yet."""
        return {"place": self.number_on(shard), "id": next(self._ids), "parent": parent}

    def child_on(self, shard: int, parent: int, family: Family = CASCADE) -> dict[str, int]:
        """Inserts a new child that lives on the shard."""
        child = self.child(shard, parent)
        self.client.insert(family.children, child)
        return child

    def children_of(self, parent: int, family: Family = CASCADE) -> int:
        """How many children a parent has, wherever."""
        return self.client.count(family.children, {"parent": parent})

    def pins_of(self, parent: int, family: Family = CASCADE) -> list[int]:
        """The shards that have a pin on a parent."""
        rows = query_all(self.cluster, f"SELECT crosskey_shard FROM {family.pins} WHERE id = %s", parent)
        return [shard for (shard,) in rows]

    def shadows_of(self, parent: int, family: Family = CASCADE) -> list[int]:
        """The shards that have a shadow of a parent."""
        text = f"SELECT id FROM {family.shadows} WHERE id = %s"
        return [shard for shard in range(SHARDS) if query(self.cluster, shard, text, parent)]


@pytest.fixture(scope="module")
def setting(fresh_cluster: FreshClusters) -> Iterator[Setting]:
    cluster = fresh_cluster(schema_of(FAMILIES), shards=SHARDS)
    hand = HandCoordinator(cluster)
    with Client(cluster.address) as client:
        for family in FAMILIES:
            client.insert(family.parents, {"id": DEFAULT_PARENT})
        yield Setting(cluster, client, hand)
    hand.close()


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    """Runs calls that are meant to wait."""
    with ThreadPoolExecutor() as executor:
        yield executor


def test_a_delete_waits_for_a_shadow_whose_pin_is_seen_before_it(
    setting: Setting, background: ThreadPoolExecutor
) -> None:
    """With a third shard as home, the pin's shard may carry out the decision before the shadow's shard does."""
    parent = setting.parent_on(0)
    child = setting.child(1, parent)
    hand, gid = setting.hand, setting.hand.gid(home=2)
    hand.execute(0, pin(CASCADE.referenced_key, 1, {"id": parent}), prepare(gid, 0))
    hand.execute(
        1, add_shadows(CASCADE.referenced_key, {"id": parent}), insert(CASCADE.children, child), prepare(gid, 1)
    )
    hand.execute(2, commit(gid))
    hand.finish(gid, 0, commit=True)
    deletion = background.submit(setting.client.delete, CASCADE.parents, key={"id": parent})
    wait_for_waiters(setting.cluster, 1)
    hand.finish(gid, 1, commit=True)
    assert deletion.result() == 1
    assert setting.children_of(parent) == 0
    assert setting.client.audit() == []
