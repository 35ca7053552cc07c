"""A cluster of processes: how it starts, what happens to it, and that nothing is left of it."""

from pathlib import Path

import pytest

from crosskey import Client
from crosskey.local_cluster.cluster import ClusterOptions, LocalCluster, running_cluster
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.local_cluster.process import ProcessDiedError
from tests.fresh_cluster import FreshClusters

pytestmark = pytest.mark.processes

SCHEMA = """
CREATE TABLE users (id bigint PRIMARY KEY);
COMMENT ON TABLE users IS '@shard_by id';
"""


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, routers=2)


def test_rows_go_in_through_one_router_and_come_out_of_the_other(cluster: LocalCluster) -> None:
    with Client(cluster.routers[0].address) as one, Client(cluster.routers[1].address) as other:
        one.insert("users", [{"id": number} for number in range(20)])
        assert other.count("users") == 20


@pytest.mark.parametrize("kind", ["nodes", "routers"])
def test_a_killed_process_comes_back_at_the_same_address(cluster: LocalCluster, kind: str) -> None:
    process = {"nodes": cluster.nodes, "routers": cluster.routers}[kind][1]
    process.kill()
    with pytest.raises(ProcessDiedError, match=process.name):
        cluster.check_running()
    process.start_serving()
    cluster.check_running()


def test_eight_shards_fit_on_three_servers(fresh_cluster: FreshClusters) -> None:
    cluster = fresh_cluster(SCHEMA, shards=8)
    with Client(cluster.address) as client:
        assert len(client.describe_topology().shards) == 8


def test_what_keeps_a_process_from_starting_is_shown_and_leaves_nothing_running(
    postgres: list[PostgresServer], tmp_path: Path
) -> None:
    options = ClusterOptions(name="refused", node_environment={"CROSSKEY_LOCK_TIMEOUT_MS": "not-a-number"})
    cluster = LocalCluster(postgres[:1], tmp_path, options)
    with pytest.raises(ProcessDiedError, match="'not-a-number' is not a valid integer"):
        cluster.start()
    assert not any(process.running for process in [*cluster.nodes, *cluster.routers])


def test_a_cluster_drains_when_it_stops(postgres: list[PostgresServer], tmp_path: Path) -> None:
    with running_cluster(postgres[:1], tmp_path, ClusterOptions(name="drained")) as cluster:
        pass
    assert [process.exit_code for process in [*cluster.nodes, *cluster.routers]] == [0, 0]
