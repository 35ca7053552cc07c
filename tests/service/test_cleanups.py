"""@enforce eventual: what is seen of a deletion at once, and what becomes of the children later."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

import crosskey
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.v1.rows_pb2 import Predicate
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import as_superuser, prepared, query, query_all

SHARDS = 2
SCHEMA = """
CREATE TABLE riders (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE riders IS '@shard_by id';
CREATE TABLE drivers (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE drivers IS '@shard_by id';
CREATE TABLE trips (
    id bigint PRIMARY KEY,
    rider_id bigint CONSTRAINT trips_rider REFERENCES riders ON DELETE CASCADE ON UPDATE CASCADE,
    driver_id bigint CONSTRAINT trips_driver REFERENCES drivers ON DELETE SET NULL,
    note text,
    CONSTRAINT some_stay CHECK (note <> 'stays' OR driver_id IS NOT NULL)
);
COMMENT ON TABLE trips IS E'@shard_by id\\n@events';
COMMENT ON CONSTRAINT trips_rider ON trips IS '@enforce eventual';
COMMENT ON CONSTRAINT trips_driver ON trips IS '@enforce eventual';
CREATE INDEX ON trips (rider_id);
CREATE INDEX ON trips (driver_id);
CREATE TABLE stops (
    trip_id bigint REFERENCES trips ON DELETE CASCADE,
    number integer,
    PRIMARY KEY (trip_id, number)
);
COMMENT ON TABLE stops IS '@shard_by trip_id';
CREATE VIEW stops_made AS SELECT trip_id, number FROM stops;
CREATE VIEW names AS SELECT id, name FROM riders;
"""
THERE, HERE = numbers_on(0, SHARDS), numbers_on(1, SHARDS)


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, shards=SHARDS)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[crosskey.Client]:
    with crosskey.Client(cluster.address) as client:
        yield client


@contextmanager
def kept(cluster: LocalCluster, *trips: int) -> Iterator[None]:
    """The clean-up passes over these trips, on both shards, as somebody else has them locked."""
    with ExitStack() as stack:
        for shard in range(SHARDS):
            connection = stack.enter_context(as_superuser(cluster, shard))
            stack.enter_context(connection.transaction())
            connection.execute("SELECT FROM trips WHERE id = ANY(%s) FOR KEY SHARE", ([*trips],))
        yield


def rider_with_trips(client: crosskey.Client, *, driver: int | None = None, trips: int = 2) -> tuple[int, list[int]]:
    """A rider on shard 0, with trips on shard 1."""
    rider, numbers = next(THERE), [next(HERE) for _ in range(trips)]
    client.insert("riders", {"id": rider})
    client.insert("trips", [{"id": number, "rider_id": rider, "driver_id": driver} for number in numbers])
    return rider, numbers


def listed(client: crosskey.Client, where: Predicate) -> list[object]:
    return [*client.list("trips", [where])]


def is_marked(cluster: LocalCluster, table: str, key: int) -> bool:
    """Whether the shadow on shard 1 is dead."""
    return bool(query(cluster, 1, f"SELECT 1 FROM crosskey.dead_public_{table}_id WHERE id = {key}"))


def all_done(cluster: LocalCluster) -> bool:
    """Whether nothing of any clean-up is left on any shard."""
    left = " UNION ALL ".join(
        f"SELECT 1 FROM crosskey.{kind}_public_{table}_id"
        for kind in ("dead", "departed")
        for table in ("riders", "drivers")
    )
    return not query_all(cluster, left)


def wait_until_done(cluster: LocalCluster, client: crosskey.Client) -> None:
    eventually(lambda: all_done(cluster), "all is cleaned up")
    assert not client.list_cleanups().cleanups
    assert client.audit() == []
    assert prepared(cluster) == []


def test_views_that_would_show_hidden_rows_are_not_read(client: crosskey.Client) -> None:
    assert [*client.list("names", [crosskey.eq("id", -1)])] == []
    with pytest.raises(crosskey.NotSupported, match="rows that await their clean-up"):
        [*client.list("stops_made")]


def test_children_are_hidden_at_once_and_go_later(cluster: LocalCluster, client: crosskey.Client) -> None:
    rider, trips = rider_with_trips(client)
    client.insert("stops", [{"trip_id": trip, "number": 1} for trip in trips])
    with kept(cluster, *trips):
        assert client.delete("riders", key={"id": rider}) == 1
        eventually(lambda: is_marked(cluster, "riders", rider), "the shadow is dead")
        assert listed(client, crosskey.eq("rider_id", rider)) == []
        assert listed(client, crosskey.in_("id", trips)) == []
        with pytest.raises(crosskey.RowNotFound):
            client.get("trips", {"id": trips[0]})
        assert client.count("trips", {"rider_id": rider}) == 0
        assert client.aggregate("trips", {"n": "count"}, where={"rider_id": rider})[0]["n"] == "0"
        assert [*client.list("stops", [crosskey.in_("trip_id", trips)])] == []
        assert len(client.update("trips", {"note": "lost"}, where={"id": trips[0]})) == 0
        assert client.delete("trips", where=[crosskey.in_("id", trips)]) == 0
        assert len(query(cluster, 1, "SELECT 1 FROM trips WHERE id = ANY(%s)", trips)) == len(trips)
        [cleanup] = client.list_cleanups().cleanups
        assert (cleanup.shard, cleanup.table, cleanup.deleted, cleanup.rows_left) == (1, "riders", 1, len(trips))
        assert client.audit() == []
    wait_until_done(cluster, client)
    assert query(cluster, 1, "SELECT 1 FROM trips WHERE id = ANY(%s)", trips) == []
    assert query(cluster, 1, "SELECT 1 FROM stops WHERE trip_id = ANY(%s)", trips) == []
    told = "SELECT aggregateid FROM crosskey.event WHERE type = 'delete' AND aggregateid = ANY(%s)"
    assert sorted(int(key) for (key,) in query(cluster, 1, told, [*map(str, trips)])) == sorted(trips)


def test_no_child_comes_and_no_parent_comes_back(cluster: LocalCluster, client: crosskey.Client) -> None:
    rider, trips = rider_with_trips(client)
    other, _ = rider_with_trips(client, trips=1)
    with kept(cluster, *trips):
        client.delete("riders", key={"id": rider})
        eventually(lambda: is_marked(cluster, "riders", rider), "the shadow is dead")
        with pytest.raises(crosskey.ForeignKeyViolation) as refused:
            client.insert("trips", {"id": next(HERE), "rider_id": rider})
        assert refused.value.metadata["constraint"] == "trips_rider"
        assert refused.value.metadata["detail"] == f'Key (rider_id)=({rider}) is not present in table "riders".'
        with pytest.raises(crosskey.ForeignKeyViolation):
            client.insert("trips", {"id": next(THERE), "rider_id": rider})
        with pytest.raises(crosskey.ForeignKeyViolation):
            client.insert("stops", {"trip_id": trips[0], "number": 9})
        with pytest.raises(crosskey.Conflict) as busy:
            client.insert("riders", {"id": rider})
        assert busy.value.retryable
        with pytest.raises(crosskey.Conflict):
            client.update("riders", {"id": rider}, where={"id": other})
    wait_until_done(cluster, client)
    client.insert("riders", {"id": rider})
    client.insert("trips", {"id": trips[0], "rider_id": rider})
    assert client.get("trips", {"id": trips[0]})["rider_id"] == str(rider)


def test_a_hidden_row_is_in_nobodys_way(cluster: LocalCluster, client: crosskey.Client) -> None:
    rider, trips = rider_with_trips(client, trips=3)
    other, _ = rider_with_trips(client, trips=1)
    blocked = next(HERE)
    client.insert("trips", {"id": blocked, "rider_id": rider})
    with kept(cluster, blocked):
        with as_superuser(cluster, 1) as connection, connection.transaction():
            # Nothing is cleaned up as long as this table is locked against it, but marks can come.
            connection.execute("SELECT FROM trips WHERE rider_id = %s FOR KEY SHARE", (rider,))
            client.delete("riders", key={"id": rider})
            eventually(lambda: is_marked(cluster, "riders", rider), "the shadow is dead")
        client.insert("trips", {"id": trips[0], "rider_id": other, "note": "anew"})
        client.insert(
            "trips", {"id": trips[1], "rider_id": other, "note": "anew"}, on_conflict=crosskey.do_nothing("id")
        )
        assert {row["note"] for row in client.list("trips", [crosskey.in_("id", trips[:2])])} == {"anew"}
    wait_until_done(cluster, client)
    assert {row["note"] for row in client.list("trips", [crosskey.in_("id", trips[:2])])} == {"anew"}


def test_set_null_shows_null_at_once(cluster: LocalCluster, client: crosskey.Client) -> None:
    driver = next(THERE)
    client.insert("drivers", {"id": driver})
    rider, trips = rider_with_trips(client, driver=driver, trips=3)
    with kept(cluster, *trips):
        client.delete("drivers", key={"id": driver})
        eventually(lambda: is_marked(cluster, "drivers", driver), "the shadow is dead")
        assert [row["driver_id"] for row in client.list("trips", {"rider_id": rider})] == [None] * 3
        assert client.count("trips", {"driver_id": driver}) == 0
        assert client.count("trips", {"driver_id": None, "rider_id": rider}) == 3
        assert client.delete("trips", where={"driver_id": driver}) == 0
        assert [row["driver_id"] for row in client.update("trips", {"note": "x"}, where={"id": trips[0]})] == [None]
        changed = client.update("trips", {"note": "y"}, where={"driver_id": None, "rider_id": rider})
        assert len(changed) == 3
        included = client.list("trips", {"rider_id": rider}, include=["driver"])
        assert [row["driver"] for row in included] == [None] * 3
        assert query(cluster, 1, "SELECT driver_id FROM trips WHERE id = %s", trips[0]) == [(None,)]
    wait_until_done(cluster, client)
    assert query(cluster, 1, "SELECT DISTINCT driver_id FROM trips WHERE id = ANY(%s)", trips) == [(None,)]


def test_a_parent_that_is_moved_off_and_deleted_within_one_transaction(
    cluster: LocalCluster, client: crosskey.Client
) -> None:
    rider, trips = rider_with_trips(client)
    renamed = next(HERE)
    client.transact(
        [
            crosskey.update("riders", {"id": renamed}, where={"id": rider}),
            crosskey.delete("riders", key={"id": renamed}),
        ]
    )
    wait_until_done(cluster, client)
    assert listed(client, crosskey.in_("id", trips)) == []


def test_a_rolled_back_deletion_leaves_nothing(cluster: LocalCluster, client: crosskey.Client) -> None:
    rider, trips = rider_with_trips(client)
    with pytest.raises(crosskey.CrosskeyError):
        client.transact([crosskey.delete("riders", key={"id": rider}), crosskey.insert("trips", {"id": trips[0]})])
    assert len(listed(client, crosskey.eq("rider_id", rider))) == len(trips)
    assert all_done(cluster)


def test_a_hidden_row_may_be_changed_by_actions_of_other_keys(cluster: LocalCluster, client: crosskey.Client) -> None:
    rider, trips = rider_with_trips(client)
    with kept(cluster, *trips):
        client.delete("riders", key={"id": rider})
        eventually(lambda: is_marked(cluster, "riders", rider), "the shadow is dead")
        # As an action would, PostgreSQL updates the row although no request sees it.
        query(cluster, 1, "UPDATE trips SET note = 'changed' WHERE id = ANY(%s)", trips)
        assert query(cluster, 1, "SELECT DISTINCT note FROM trips WHERE id = ANY(%s)", trips) == [("changed",)]
    wait_until_done(cluster, client)


def test_a_hidden_row_moves_nowhere(cluster: LocalCluster, client: crosskey.Client) -> None:
    rider, trips = rider_with_trips(client)
    with kept(cluster, *trips):
        client.delete("riders", key={"id": rider})
        eventually(lambda: is_marked(cluster, "riders", rider), "the shadow is dead")
        assert len(client.update("trips", {"id": next(THERE)}, where={"id": trips[0]})) == 0
    wait_until_done(cluster, client)


def test_locks_are_taken_of_rows_that_are_seen(cluster: LocalCluster, client: crosskey.Client) -> None:
    driver = next(THERE)
    client.insert("drivers", {"id": driver})
    gone, hidden = rider_with_trips(client)
    _, [trip] = rider_with_trips(client, driver=driver, trips=1)
    with kept(cluster, trip, *hidden):
        client.transact([crosskey.delete("drivers", key={"id": driver}), crosskey.delete("riders", key={"id": gone})])
        eventually(lambda: is_marked(cluster, "drivers", driver), "the shadow is dead")
        eventually(lambda: is_marked(cluster, "riders", gone), "the shadow is dead")
        with client.transaction() as transaction:
            where = [crosskey.in_("id", [trip, *hidden])]
            [row] = transaction.list("trips", where, order_by="id", lock="NO KEY UPDATE")
            assert (row["id"], row["driver_id"]) == (str(trip), None)
            assert transaction.update("trips", {"note": "seen"}, key={"id": trip})[0]["driver_id"] is None
    wait_until_done(cluster, client)
    assert client.get("trips", {"id": trip})["note"] == "seen"


def test_a_row_that_cannot_be_cleaned_up_keeps_no_other(cluster: LocalCluster, client: crosskey.Client) -> None:
    driver = next(THERE)
    client.insert("drivers", {"id": driver})
    _, trips = rider_with_trips(client, driver=driver, trips=5)
    client.update("trips", {"note": "stays"}, key={"id": trips[3]})
    client.delete("drivers", key={"id": driver})
    left = "SELECT id FROM trips WHERE driver_id = %s"
    eventually(lambda: query(cluster, 1, left, driver) == [(trips[3],)], "the others are cleaned up")
    assert client.count("trips", {"driver_id": driver}) == 0
    client.update("trips", {"note": "goes"}, key={"id": trips[3]})
    wait_until_done(cluster, client)


def test_a_row_that_would_go_along_and_is_locked_keeps_no_other(cluster: LocalCluster, client: crosskey.Client) -> None:
    rider, trips = rider_with_trips(client, trips=5)
    client.insert("stops", {"trip_id": trips[1], "number": 1})
    with as_superuser(cluster, 1) as connection, connection.transaction():
        connection.execute("SELECT FROM stops WHERE trip_id = %s FOR KEY SHARE", (trips[1],))
        client.delete("riders", key={"id": rider})
        left = "SELECT id FROM trips WHERE rider_id = %s"
        eventually(lambda: query(cluster, 1, left, rider) == [(trips[1],)], "the others are cleaned up")
    wait_until_done(cluster, client)


def test_a_dead_shadow_that_is_locked_keeps_no_other(cluster: LocalCluster, client: crosskey.Client) -> None:
    (locked, _), (free, _) = rider_with_trips(client), rider_with_trips(client)
    departed = "SELECT id FROM crosskey.departed_public_riders_id"
    with as_superuser(cluster, 1) as connection, connection.transaction():
        connection.execute("SELECT FROM crosskey_shadow_public.riders WHERE id = %s FOR KEY SHARE", (locked,))
        client.transact([crosskey.delete("riders", key={"id": rider}) for rider in (locked, free)])
        eventually(lambda: query(cluster, 0, departed) == [(locked,)], "the other is buried")
    wait_until_done(cluster, client)


def test_a_parent_does_not_come_back_within_its_transaction(client: crosskey.Client) -> None:
    rider, trips = rider_with_trips(client)
    with pytest.raises(crosskey.NotSupported, match="was deleted in the same transaction") as refused:
        client.transact([crosskey.delete("riders", key={"id": rider}), crosskey.insert("riders", {"id": rider})])
    assert not refused.value.retryable
    with pytest.raises(crosskey.NotSupported, match="was deleted in the same transaction"):
        go_and_return(client, rider)
    assert len(listed(client, crosskey.eq("rider_id", rider))) == len(trips)
    client.insert("riders", {"id": (childless := next(THERE))})
    go_and_return(client, childless)


def go_and_return(client: crosskey.Client, rider: int) -> None:
    """Deletes a rider and inserts it again, in one session."""
    with client.transaction() as transaction:
        transaction.delete("riders", key={"id": rider})
        transaction.insert("riders", {"id": rider})
