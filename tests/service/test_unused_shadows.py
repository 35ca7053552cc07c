"""Shadows without children go, with their pins; one that gets a child meanwhile stays."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from crosskey import Client
from crosskey_cli.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import as_node, query, query_all, wait_for_waiters

SCHEMA = """
CREATE TABLE parents (id bigint PRIMARY KEY);
COMMENT ON TABLE parents IS '@shard_by id';
CREATE TABLE children (id bigint PRIMARY KEY, parent_id bigint REFERENCES parents ON DELETE CASCADE);
COMMENT ON TABLE children IS '@shard_by id';
"""
SHADOWS = "SELECT id FROM crosskey_shadow_public.parents"
PINS = "SELECT id, crosskey_shard FROM crosskey.pin_public_parents_id"

CHILD = next(numbers_on(0))
NEAR_PARENT, PARENT, OTHER_PARENT = next(islice(numbers_on(0), 1, None)), *islice(numbers_on(1), 2)


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, node_environment={"CROSSKEY_LOCK_TIMEOUT_MS": "10000"})


@pytest.fixture(scope="module", autouse=True)
def parents(cluster: LocalCluster) -> None:
    with Client(cluster.address) as client:
        client.insert("parents", [{"id": NEAR_PARENT}, {"id": OTHER_PARENT}, {"id": PARENT}])


def test_a_shadow_goes_once_its_last_child_has_gone(cluster: LocalCluster) -> None:
    with Client(cluster.address) as client:
        client.insert("children", {"id": CHILD, "parent_id": PARENT})
        assert client.drop_unused_shadows() == 0
        client.delete("children", key={"id": CHILD})
        assert client.drop_unused_shadows() == 1
        assert query_all(cluster, SHADOWS) == query_all(cluster, PINS) == []
        client.insert("children", {"id": CHILD, "parent_id": PARENT})
        assert client.delete("parents", key={"id": PARENT}) == 1
        assert client.count("children") == 0
        client.insert("parents", {"id": PARENT})
        assert client.audit() == []


def test_a_shadow_of_a_parent_on_the_same_shard_goes_too(cluster: LocalCluster) -> None:
    with Client(cluster.address) as client:
        client.insert("children", {"id": CHILD, "parent_id": NEAR_PARENT})
        client.update("children", {"parent_id": None}, key={"id": CHILD})
        assert client.drop_unused_shadows() == 1
        client.delete("children", key={"id": CHILD})
        assert query_all(cluster, SHADOWS) == query_all(cluster, PINS) == []


def test_a_child_that_comes_while_the_shadow_is_being_locked_keeps_it(cluster: LocalCluster) -> None:
    with Client(cluster.address) as client, ThreadPoolExecutor(1) as other, as_node(cluster, 0) as late:
        client.insert("children", {"id": CHILD, "parent_id": OTHER_PARENT})
        client.delete("children", key={"id": CHILD})
        late.execute("BEGIN")
        late.execute("INSERT INTO children VALUES (%s, %s)", [CHILD, OTHER_PARENT])
        sweep = other.submit(client.drop_unused_shadows)
        wait_for_waiters(cluster, 0)
        late.execute("COMMIT")
        assert sweep.result() == 0
        assert query(cluster, 0, SHADOWS) == [(OTHER_PARENT,)]
        assert client.count("children") == 1
        assert client.audit() == []
