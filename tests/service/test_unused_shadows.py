"""Shadows without children go, with their pins; one that gets a child meanwhile stays."""

from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import pytest

from crosskey import Client
from crosskey.local_cluster.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import as_node, query, query_all, wait_for_waiters

ACTIONS = {
    "kept": "NO ACTION",
    "kept_late": "NO ACTION DEFERRABLE INITIALLY DEFERRED",
    "restricted": "RESTRICT",
    "cascading": "CASCADE",
    "set_null": "SET NULL",
    "set_default": "SET DEFAULT",
}
"""Tables of children, and what their keys do."""

SCHEMA = """
CREATE TABLE parents (id bigint PRIMARY KEY);
COMMENT ON TABLE parents IS '@shard_by id';
CREATE TABLE children (id bigint PRIMARY KEY, parent_id bigint REFERENCES parents ON DELETE CASCADE);
COMMENT ON TABLE children IS '@shard_by id';
CREATE TABLE copied (id bigint PRIMARY KEY, parent_id bigint REFERENCES parents ON DELETE CASCADE);
COMMENT ON TABLE copied IS '@reference';

CREATE TABLE counted_parents (id bigint PRIMARY KEY);
COMMENT ON TABLE counted_parents IS '@shard_by id';
CREATE TABLE counted (id bigint PRIMARY KEY, parent_id bigint REFERENCES counted_parents ON DELETE CASCADE);
COMMENT ON TABLE counted IS '@shard_by id';
CREATE TABLE deletes (id bigint PRIMARY KEY, fired integer NOT NULL DEFAULT 0);
COMMENT ON TABLE deletes IS '@shard_by id';
CREATE FUNCTION count_delete() RETURNS trigger LANGUAGE plpgsql AS
'BEGIN UPDATE public.deletes SET fired = fired + 1; RETURN NULL; END';
CREATE TRIGGER counts AFTER DELETE ON counted FOR EACH STATEMENT EXECUTE FUNCTION count_delete();
""" + "".join(
    f"""
CREATE TABLE {table} (
    id bigint PRIMARY KEY, parent_id bigint REFERENCES parents ON DELETE {action}
);
COMMENT ON TABLE {table} IS '@shard_by id';
"""
    for table, action in ACTIONS.items()
)
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
        client.delete("children", key={"id": CHILD})
        assert client.drop_unused_shadows() == 1


@pytest.mark.parametrize("table", ACTIONS)
def test_what_a_row_references_after_all_is_left_and_the_row_unchanged(cluster: LocalCluster, table: str) -> None:
    """The look for children is deceived: row security hides them from it, and not from PostgreSQL's foreign keys."""
    other = next(islice(numbers_on(0), 9, None))
    with Client(cluster.address) as client:
        client.insert(table, [{"id": CHILD, "parent_id": PARENT}, {"id": other, "parent_id": OTHER_PARENT}])
        client.delete(table, key={"id": other})
        query(cluster, 0, f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        assert client.drop_unused_shadows() == 1
        query(cluster, 0, f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY")
        assert list(client.list(table)) == [{"id": str(CHILD), "parent_id": str(PARENT)}]
        assert query_all(cluster, SHADOWS) == [(PARENT,)]
        assert client.audit() == []
        client.delete(table, key={"id": CHILD})
        assert client.drop_unused_shadows() == 1


def test_shadows_for_copies_go_on_every_shard(cluster: LocalCluster) -> None:
    with Client(cluster.address) as client:
        client.insert("copied", {"id": 1, "parent_id": PARENT})
        assert client.drop_unused_shadows() == 0
        client.delete("copied", key={"id": 1})
        assert client.drop_unused_shadows() == 3
        assert query_all(cluster, SHADOWS) == query_all(cluster, PINS) == []


def test_a_shadow_whose_delete_would_fire_a_trigger_of_the_users_is_left(cluster: LocalCluster) -> None:
    with Client(cluster.address) as client:
        client.insert("deletes", {"id": CHILD})
        client.insert("counted_parents", {"id": PARENT})
        client.insert("counted", {"id": CHILD, "parent_id": PARENT})
        client.delete("counted", key={"id": CHILD})
        assert client.drop_unused_shadows() == 0
        assert [row["fired"] for row in client.list("deletes")] == [1]
