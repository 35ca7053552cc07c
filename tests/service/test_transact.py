"""Transact on a cluster: what it costs, which statement an error names, and what no group absorbs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import grpc
import pytest

import crosskey
from crosskey import Client, CrosskeyError, errors, requests
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.requests import Statement
from crosskey.v1.router_pb2_grpc import RouterStub
from tests.fresh_cluster import FreshClusters
from tests.hand_coordinator import HandBranch, HandCoordinator, savepoint
from tests.hand_coordinator import insert as insert_command
from tests.numbers_on_shards import SHARDS, numbers_on
from tests.shard_sql import as_superuser, prepared, query_all

SCHEMA = """
CREATE TABLE parents (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE parents IS '@shard_by id';
CREATE TABLE children (id bigint PRIMARY KEY, parent bigint REFERENCES parents);
COMMENT ON TABLE children IS '@shard_by id';
CREATE TABLE waiting (id bigint PRIMARY KEY, parent bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE waiting IS '@shard_by id';
"""

CALLS_KEY = "crosskey-node-calls"
ENVIRONMENT = {"CROSSKEY_LOCK_TIMEOUT_MS": "100"}
TAKEN = next(numbers_on(0))

_numbers = [islice(numbers_on(shard), 1, None) for shard in range(SHARDS)]


def new(shard: int) -> int:
    """A new shard key of that shard."""
    return next(_numbers[shard])


def parent(number: int) -> Statement:
    return crosskey.insert("parents", {"id": number})


def child(number: int, of: int) -> Statement:
    return crosskey.insert("children", {"id": number, "parent": of})


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster with a parent, TAKEN, and a schema with keys of both kinds."""
    cluster = fresh_cluster(SCHEMA, node_environment=ENVIRONMENT)
    with Client(cluster.address) as client:
        client.insert("parents", {"id": TAKEN})
    return cluster


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client; at the end nothing is left of what its transactions noted or prepared, and the audit is content."""
    with Client(cluster.address) as client:
        yield client
        assert query_all(cluster, "SELECT * FROM crosskey.effect") == []
        assert prepared(cluster) == []
        assert client.with_timeout(60).audit() == []


def calls_of(cluster: LocalCluster, *statements: Statement) -> list[str]:
    """The RPCs to nodes that a transaction takes."""
    with grpc.insecure_channel(cluster.address) as channel:
        _, call = RouterStub(channel).Transact.with_call(requests.transaction(statements), timeout=30)
    return str(dict(call.trailing_metadata())[CALLS_KEY]).split(", ")


def refused(client: Client, *statements: Statement) -> dict[str, str]:
    """The metadata of the error of a transaction that must fail."""
    with pytest.raises(CrosskeyError) as caught:
        client.transact(statements)
    return caught.value.metadata


def test_a_transaction_of_one_shard_is_one_call(cluster: LocalCluster) -> None:
    first, second = new(1), new(1)
    statements = [parent(first), parent(second), crosskey.delete("parents", key={"id": first})]
    assert calls_of(cluster, *statements) == ["s1 ShardNode.Run"]


def test_groups_and_modes_open_one_stream_a_shard(cluster: LocalCluster) -> None:
    statements: list[Statement] = [
        crosskey.set_constraints(deferred=True),
        crosskey.group([parent(new(1)), crosskey.group([parent(new(2))])]),
        crosskey.group([parent(new(1)), parent(TAKEN)]),
        parent(new(1)),
    ]
    calls = calls_of(cluster, *statements)
    assert sorted(calls) == [
        "s0 ShardNode.FinishPrepared",
        "s0 ShardNode.Run",
        "s1 ShardNode.Run",
        "s2 ShardNode.FinishPrepared",
        "s2 ShardNode.Run",
    ]


def test_an_error_on_one_shard_names_the_statement(client: Client) -> None:
    assert refused(client, parent(new(0)), parent(new(0)), parent(TAKEN))["statement"] == "2"
    assert refused(client, parent(TAKEN), parent(new(0)))["statement"] == "0"
    assert refused(client, parent(TAKEN))["statement"] == "0"


def test_an_error_behind_a_first_reference_names_the_statement(client: Client) -> None:
    pinned = new(2)
    client.insert("parents", {"id": pinned})
    assert refused(client, child(new(0), pinned), parent(TAKEN))["statement"] == "1"
    assert refused(client, child(new(0), new(2)), parent(new(0)))["statement"] == "0"
    assert refused(client, parent(new(0)), child(new(0), new(2)))["statement"] == "1"


def test_an_error_over_several_shards_names_the_statement(client: Client) -> None:
    assert refused(client, parent(new(1)), parent(new(2)), parent(TAKEN))["statement"] == "2"
    assert refused(client, parent(new(1)), child(new(2), new(0)), parent(new(0)))["statement"] == "1"
    assert refused(client, parent(new(1)), parent(new(2)), child(new(2), new(0)))["statement"] == "2"


def test_an_error_of_planning_names_the_statement(client: Client) -> None:
    wrong = crosskey.insert("parents", {"id": "x"})
    assert refused(client, parent(new(1)), wrong)["statement"] == "1"
    assert refused(client, parent(new(1)), crosskey.insert("parents", []))["statement"] == "1"
    assert refused(client, crosskey.group([parent(new(1)), crosskey.group([])]))["statement"] == "0.1"


def test_an_error_of_the_commit_names_none(client: Client) -> None:
    orphan = crosskey.insert("waiting", {"id": new(1), "parent": new(2)})
    assert "statement" not in refused(client, orphan, parent(new(0)))
    assert "statement" not in refused(client, orphan, parent(new(1)))


def test_an_error_of_a_single_write_names_none(client: Client) -> None:
    for row in ({"id": TAKEN}, {"id": TAKEN, "name": {}}):
        with pytest.raises(CrosskeyError) as caught:
            client.insert("parents", row)
        assert caught.value.metadata.keys().isdisjoint({"statement", "command"})


def test_the_place_of_a_command_is_nobodys_business(client: Client) -> None:
    pinned = new(2)
    client.insert("parents", {"id": pinned})
    for statements in (
        [parent(TAKEN)],
        [child(new(0), pinned), parent(TAKEN)],
        [parent(new(1)), parent(TAKEN)],
        [child(new(0), new(2))],
    ):
        assert "command" not in refused(client, *statements)
    (failed,) = client.transact([crosskey.group([parent(TAKEN)])])
    assert "command" not in failed.metadata


def test_no_group_absorbs_a_lost_race(cluster: LocalCluster, client: Client) -> None:
    kept = new(1)
    with as_superuser(cluster, 0) as other, other.transaction():
        other.execute("UPDATE parents SET name = 'mine' WHERE id = %s", (TAKEN,))
        rename = crosskey.update("parents", {"name": "theirs"}, key={"id": TAKEN})
        with pytest.raises(errors.Conflict) as caught:
            client.transact([parent(kept), crosskey.group([rename])])
    assert caught.value.metadata["statement"] == "1.0"
    with pytest.raises(errors.RowNotFound):
        client.get("parents", id=kept)


def test_a_failed_group_holds_no_locks(cluster: LocalCluster, client: Client) -> None:
    rename = crosskey.update("parents", {"name": "x"}, key={"id": TAKEN})
    blocker, free = new(2), new(0)
    client.insert("parents", [{"id": blocker}, {"id": free}])
    with as_superuser(cluster, 2) as other, other.transaction():
        other.execute("UPDATE parents SET name = 'mine' WHERE id = %s", (blocker,))
        client.transact([parent(new(1)), crosskey.group([rename, parent(TAKEN)])])
        assert client.update("parents", {"name": "y"}, key={"id": TAKEN})


@pytest.fixture
def branch(cluster: LocalCluster) -> Iterator[HandBranch]:
    """A new branch on the first shard."""
    coordinator = HandCoordinator(cluster)
    with coordinator.branch(0) as branch:
        yield branch
    coordinator.close()


FAILING = insert_command("parents", {"id": TAKEN})


def test_a_node_answers_an_error_behind_a_savepoint_and_goes_on(branch: HandBranch) -> None:
    fresh, failing = insert_command("parents", {"id": new(0)}), proto.Command(tag="taken", run=FAILING.run)
    response = branch.answer(savepoint("SET", 1), savepoint("SET", 2), fresh, failing, fresh)
    assert len(response.results) == 1
    assert response.failure.metadata["tag"] == "taken"
    assert isinstance(errors.from_failure(response.failure), errors.UniqueViolation)
    response = branch.answer(savepoint("ROLL_BACK", 2), fresh, savepoint("RELEASE", 1))
    assert not response.HasField("failure")
    assert [result.count for result in response.results] == [1]


def test_a_branch_ends_at_an_error_without_savepoint(branch: HandBranch) -> None:
    failing = proto.Command(tag="taken", run=FAILING.run)
    with pytest.raises(errors.UniqueViolation) as caught:
        branch.run(savepoint("SET"), savepoint("RELEASE"), failing)
    assert caught.value.metadata["tag"] == "taken"


@pytest.mark.parametrize(
    "command",
    [
        savepoint("SET", 3),
        savepoint("ROLL_BACK", 2),
        savepoint("RELEASE", 0),
        proto.Command(savepoint=proto.Savepoint()),
    ],
)
def test_a_node_knows_its_savepoints(branch: HandBranch, command: proto.Command) -> None:
    with pytest.raises(errors.InvalidRequest):
        branch.run(savepoint("SET"), command)
