"""What the tests of the rules share: one cluster, and new rows for each test."""

from itertools import count

from crosskey import Client
from crosskey.local_cluster.cluster import LocalCluster
from tests.hand_coordinator import HandCoordinator
from tests.hot_keys.families import DEFAULT_PARENT, FAMILIES, Family
from tests.hot_keys.stored_rows import pinned_for, shadowed_on
from tests.numbers_on_shards import SHARDS, numbers_on

CASCADE, RESTRICT, NO_ACTION, SET_NULL, SET_DEFAULT = FAMILIES

Child = dict[str, int]
"""A row of a family's child table."""


class Setting:
    """A cluster with a client, a coordinator that is driven by hand, and the families' tables."""

    def __init__(self, cluster: LocalCluster, client: Client, hand: HandCoordinator) -> None:
        """The default parent must be there already."""
        self.cluster = cluster
        self.client = client
        self.hand = hand
        self._numbers = [numbers_on(shard) for shard in range(SHARDS)]
        self._ids = count(1)

    def number_on(self, shard: int) -> int:
        """A shard key that no test has used."""
        number = next(self._numbers[shard])
        return number if number != DEFAULT_PARENT else next(self._numbers[shard])

    def parent_on(self, shard: int, family: Family = CASCADE, label: str | None = None) -> int:
        """Inserts a new parent that lives on the shard, and returns its key."""
        key = self.number_on(shard)
        self.client.insert(family.parents, {"id": key, "label": label})
        return key

    def child(self, shard: int, parent: int) -> Child:
        """A new child for the shard, not inserted yet."""
        return {"place": self.number_on(shard), "id": next(self._ids), "parent": parent}

    def child_on(self, shard: int, parent: int, family: Family = CASCADE) -> Child:
        """Inserts a new child that lives on the shard."""
        child = self.child(shard, parent)
        self.client.insert(family.children, child)
        return child

    def children_of(self, parent: int, family: Family = CASCADE) -> int:
        """How many children a parent has, wherever."""
        return self.client.count(family.children, {"parent": parent})

    def parent_exists(self, parent: int, family: Family = CASCADE) -> bool:
        """Whether the parent is there."""
        return self.client.count(family.parents, {"id": parent}) == 1

    def pinned_for(self, parent: int, family: Family = CASCADE) -> set[int]:
        """The shards for which a parent is pinned, by pins that are committed."""
        return pinned_for(self.cluster, family, parent)

    def shadowed_on(self, parent: int, family: Family = CASCADE) -> set[int]:
        """The shards that have a shadow of a parent."""
        return shadowed_on(self.cluster, family, parent)
