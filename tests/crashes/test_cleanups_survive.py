"""Eventual clean-up goes on to its end, each child once, whatever is killed meanwhile and whoever inserts children."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice

import pytest

import crosskey
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.local_cluster.server_process import ServerProcess
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.hot_keys.settings import run_seed
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import query, query_all

pytestmark = pytest.mark.processes

SHARDS = 2
SCHEMA = """
CREATE TABLE drivers (id bigint PRIMARY KEY);
COMMENT ON TABLE drivers IS '@shard_by id';
CREATE TABLE trips (
    id bigint PRIMARY KEY,
    code text UNIQUE,
    driver_id bigint CONSTRAINT trips_driver REFERENCES drivers ON DELETE CASCADE
);
COMMENT ON TABLE trips IS E'@shard_by id\\n@events';
COMMENT ON CONSTRAINT trips_driver ON trips IS '@enforce eventual';
CREATE INDEX ON trips (driver_id);
"""
NODES = {"CROSSKEY_CLEANUP_BATCH_ROWS": "20", "CROSSKEY_CLEANUP_PAUSE_MS": "30"}
ROUTERS = {"CROSSKEY_RESOLVER_INTERVAL_MS": "100", "CROSSKEY_RESOLVER_MIN_AGE_MS": "300"}
TRIPS = 400
KILLS = 6
WRITERS = 4

DRIVERS = numbers_on(0, SHARDS)
PLACES = numbers_on(0, SHARDS), numbers_on(1, SHARDS)


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, shards=SHARDS, routers=2, node_environment=NODES, router_environment=ROUTERS)


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[crosskey.Client]:
    with crosskey.Client(cluster.address) as client:
        yield client


def new_driver(client: crosskey.Client, trips: int, *, codes: bool = True) -> tuple[int, list[int]]:
    """A driver with trips on both shards, each with a value in a unique key over all shards if it has `codes`."""
    driver = next(DRIVERS)
    numbers = [number for places in PLACES for number in islice(places, trips // 2)]
    client.insert("drivers", {"id": driver})
    client.insert(
        "trips",
        [{"id": number, "code": f"c{number}" if codes else None, "driver_id": driver} for number in numbers],
    )
    return driver, numbers


def all_done(cluster: LocalCluster) -> bool:
    tables = "crosskey.dead_public_drivers_id", "crosskey.departed_public_drivers_id"
    return not query_all(cluster, " UNION ALL ".join(f"SELECT 1 FROM {table}" for table in tables))


def deletions(cluster: LocalCluster, trips: list[int]) -> Counter[int]:
    """How often each trip's deletion was told."""
    told = "SELECT aggregateid FROM crosskey.event WHERE type = 'delete' AND aggregateid = ANY(%s)"
    return Counter(int(key) for (key,) in query_all(cluster, told, [*map(str, trips)]))


def audit_of(cluster: LocalCluster) -> list[object]:
    with crosskey.Client(cluster.routers[1].address) as other:
        return [*other.audit()]


def test_whatever_is_killed(cluster: LocalCluster, client: crosskey.Client) -> None:
    seed = run_seed()
    chance = random.Random(seed)
    driver, trips = new_driver(client, TRIPS)
    client.delete("drivers", key={"id": driver})
    for _ in range(KILLS):
        left = len(query_all(cluster, "SELECT 1 FROM trips WHERE driver_id = %s", driver))
        if not left:
            break
        victim: ServerProcess = chance.choice([*cluster.nodes, *cluster.routers])
        victim.kill()
        victim.start_serving()
    eventually(lambda: all_done(cluster), "all is cleaned up", seconds=60)
    assert query_all(cluster, "SELECT 1 FROM trips WHERE driver_id = %s", driver) == []
    assert deletions(cluster, trips) == dict.fromkeys(trips, 1)
    assert audit_of(cluster) == []
    # Values in the unique key are free again.
    client.insert("trips", [{"id": trips[0], "code": f"c{trips[-1]}"}, {"id": trips[-1], "code": f"c{trips[0]}"}])


def test_a_shard_that_is_down_holds_up_no_deletion(cluster: LocalCluster, client: crosskey.Client) -> None:
    # A value in a unique key may be claimed on the shard that is down, and could not be released.
    driver, trips = new_driver(client, 20, codes=False)
    node = cluster.nodes[1]
    node.kill()
    assert client.delete("drivers", key={"id": driver}) == 1
    own = [number for number in trips if query(cluster, 0, "SELECT 1 FROM trips WHERE id = %s", number)]
    eventually(lambda: not query(cluster, 0, "SELECT 1 FROM trips WHERE driver_id = %s", driver), "one shard is done")
    assert len(own) < len(trips)
    [waiting] = [one for one in client.list_cleanups().cleanups if one.HasField("waits_on")]
    assert (waiting.shard, waiting.waits_on, waiting.deleted) == (1, 0, 1)
    assert client.list_cleanups().unreachable_shards == [1]
    with pytest.raises(crosskey.Conflict):
        client.insert("drivers", {"id": driver})
    node.start_serving()
    eventually(lambda: all_done(cluster), "all is cleaned up", seconds=60)
    assert deletions(cluster, trips) == dict.fromkeys(trips, 1)
    client.insert("drivers", {"id": driver})


def test_children_that_come_at_the_same_time(cluster: LocalCluster, client: crosskey.Client) -> None:
    driver, trips = new_driver(client, 20)

    def write(writer: int) -> list[int]:
        """Inserts children until there is no parent any more; answers those that were inserted."""
        inserted: list[int] = []
        with crosskey.Client(cluster.routers[writer % 2].address) as other:
            for number in count(10_000_000 * (writer + 1)):
                try:
                    other.insert("trips", {"id": number, "driver_id": driver})
                except crosskey.ForeignKeyViolation:
                    return inserted
                except crosskey.Conflict:
                    continue
                inserted.append(number)
                if len(inserted) == 10 and writer == 0:
                    other.delete("drivers", key={"id": driver})
        raise AssertionError("numbers do not end")

    with ThreadPoolExecutor(WRITERS) as pool:
        inserted = [number for numbers in pool.map(write, range(WRITERS)) for number in numbers]
    eventually(lambda: all_done(cluster), "all is cleaned up", seconds=60)
    assert query_all(cluster, "SELECT 1 FROM trips WHERE driver_id = %s", driver) == []
    assert deletions(cluster, [*trips, *inserted]) == dict.fromkeys([*trips, *inserted], 1)
    assert audit_of(cluster) == []
