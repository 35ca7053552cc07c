"""What is stored in the end, read from every shard's PostgreSQL, past router and nodes."""

from dataclasses import dataclass

from crosskey.local_cluster.cluster import LocalCluster
from tests.hot_keys.families import Family
from tests.shard_sql import query, query_all


@dataclass(frozen=True)
class StoredRows:
    """The rows of a family on all shards."""

    parents: frozenset[int]
    children: dict[int, int | None]
    """The parent of each child."""


def stored_rows(cluster: LocalCluster, family: Family) -> StoredRows:
    """Reads the family's rows. Raises AssertionError if a row is stored twice."""
    parents = [key for (key,) in query_all(cluster, f"SELECT id FROM {family.parents}")]
    children = query_all(cluster, f"SELECT id, coalesce(parent, -1) FROM {family.children}")
    assert len(set(parents)) == len(parents)
    assert len({child for child, _ in children}) == len(children)
    return StoredRows(frozenset(parents), {child: None if parent == -1 else parent for child, parent in children})


def pinned_for(cluster: LocalCluster, family: Family, parent: int) -> set[int]:
    """The shards for which a parent is pinned, by pins that are committed."""
    rows = query_all(cluster, f"SELECT crosskey_shard FROM {family.pins} WHERE id = %s", parent)
    return {shard for (shard,) in rows}


def shadowed_on(cluster: LocalCluster, family: Family, parent: int) -> set[int]:
    """The shards that have a shadow of a parent."""
    text = f"SELECT id FROM {family.shadows} WHERE id = %s"
    return {shard for shard in range(len(cluster.databases)) if query(cluster, shard, text, parent)}
