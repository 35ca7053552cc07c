"""Reads in their place among the writes of a transaction, and the locks that they take."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pytest

import crosskey
from crosskey import Client
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.requests import Lock, Statement
from crosskey.v1 import router_pb2, rows_pb2
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import SHARDS, numbers_on
from tests.running_cluster import RunningCluster
from tests.shard_sql import as_superuser

SCHEMA = """
CREATE TABLE kinds (code text PRIMARY KEY, name text);
COMMENT ON TABLE kinds IS '@reference';
CREATE TABLE parents (id bigint PRIMARY KEY, name text, kind text REFERENCES kinds);
COMMENT ON TABLE parents IS '@shard_by id';
CREATE TABLE children (id bigint PRIMARY KEY, parent_id bigint REFERENCES parents ON DELETE CASCADE, age int,
    login text UNIQUE);
COMMENT ON TABLE children IS '@shard_by id';
CREATE TABLE cousins (id bigint PRIMARY KEY, parent_id bigint REFERENCES parents);
COMMENT ON TABLE cousins IS '@shard_by id';
"""

# A row that somebody else has locked is waited for for a moment, and once.
NODE_ENVIRONMENT = {"CROSSKEY_LOCK_TIMEOUT_MS": "100"}
ROUTER_ENVIRONMENT = {"CROSSKEY_RETRIES": "0"}

_numbers = [islice(numbers_on(shard), 1, None) for shard in range(SHARDS)]


def new(shard: int) -> int:
    """A new shard key of that shard."""
    return next(_numbers[shard])


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster with the schema."""
    return fresh_cluster(SCHEMA, node_environment=NODE_ENVIRONMENT, router_environment=ROUTER_ENVIRONMENT)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client; at the end the audit is content."""
    with Client(cluster.address) as client:
        client.insert("kinds", [{"code": "a"}, {"code": "b"}])
        yield client
        assert client.with_timeout(60).audit() == []


@pytest.fixture(scope="module")
def running(cluster: LocalCluster, client: Client) -> RunningCluster:
    """The same without the client between."""
    return RunningCluster(cluster, client)


@contextmanager
def locked(cluster: LocalCluster, shard: int, statement: str) -> Iterator[None]:
    """Somebody holds the locks of a statement on a shard."""
    with as_superuser(cluster, shard) as connection, connection.transaction():
        connection.execute(statement.encode())
        yield


def children_of(number: int, **fields: Any) -> router_pb2.ListRequest:
    return crosskey.list_rows("children", {"parent_id": number}, **fields)


def test_reads_see_what_was_written_before_them_and_no_more(client: Client) -> None:
    parent, near, far = new(0), new(0), new(1)
    answers = client.transact(
        [
            crosskey.get("parents", {"id": parent}),
            crosskey.insert("parents", {"id": parent, "name": "p"}),
            crosskey.insert("children", [{"id": near, "parent_id": parent}, {"id": far, "parent_id": parent}]),
            children_of(parent, columns=["id"]),
            crosskey.count("children", {"parent_id": parent}),
            crosskey.aggregate("children", {"n": "count"}, where={"parent_id": parent}),
            crosskey.get("parents", {"id": parent}, columns=["name"], include={"children": {"columns": ["id"]}}),
            crosskey.delete("children", key={"id": far}),
            crosskey.count("children", {"parent_id": parent}),
        ]
    )
    none, _, _, page, count, aggregated, row, _, left = answers
    ids = [{"id": str(number)} for number in sorted((near, far))]
    assert none is None
    assert (page.rows, page.next_page_token) == (ids, "")
    assert (count, aggregated, left) == (2, [{"n": "2"}], 1)
    assert row == {"name": "p", "children": ids}


def test_a_row_is_read_by_a_value_that_was_just_claimed(client: Client) -> None:
    number, login = new(2), "just claimed"
    *_, found = client.transact(
        [
            crosskey.insert("children", {"id": number, "login": login}),
            crosskey.get("children", {"login": login}, columns=["id"]),
        ]
    )
    assert found == {"id": str(number)}


def test_pages_within_a_transaction(client: Client) -> None:
    parent, children = new(1), [new(shard) for shard in range(SHARDS)]
    client.insert("parents", {"id": parent})
    statements: list[Statement] = [
        crosskey.insert("children", [{"id": child, "parent_id": parent} for child in children]),
        children_of(parent, columns=["id"], page_size=2),
    ]
    _, page = client.transact(statements)
    rest = client.list_page("children", {"parent_id": parent}, page_size=2, page_token=page.next_page_token)
    assert [row["id"] for row in [*page.rows, *rest.rows]] == [str(child) for child in sorted(children)]


def test_a_read_of_one_shard_is_one_branch_there(running: RunningCluster) -> None:
    request = crosskey.transaction([crosskey.get("parents", {"id": new(2)}), crosskey.count("parents", {"id": new(2)})])
    assert running.node_calls(request) == ["s2 ShardNode.Run"]


def test_shards_that_are_only_read_prepare_nothing(running: RunningCluster) -> None:
    request = crosskey.transaction([crosskey.count("parents"), crosskey.insert("parents", {"id": new(1)})])
    assert sorted(running.node_calls(request)) == [f"s{shard} ShardNode.Run" for shard in range(SHARDS)]


def test_a_group_absorbs_a_read_that_every_shard_refuses(client: Client) -> None:
    parent = new(0)
    wrong = crosskey.list_rows("children", {"age": "x"})
    answers = client.transact(
        [
            crosskey.group([crosskey.insert("parents", {"id": parent}), wrong]),
            crosskey.insert("parents", {"id": parent}),
            crosskey.count("parents", {"id": parent}),
        ]
    )
    assert isinstance(answers[0], crosskey.InvalidValue)
    assert answers[0].metadata["statement"] == "0.1"
    assert answers[2] == 1


def test_an_error_of_a_read_names_its_statement(client: Client) -> None:
    with pytest.raises(crosskey.UnknownColumn) as caught:
        client.transact([crosskey.count("parents"), crosskey.list_rows("parents", {"nmae": 1})])
    assert caught.value.metadata["statement"] == "1"


def test_a_lock_without_a_transaction_is_refused(client: Client, running: RunningCluster) -> None:
    for request in (crosskey.get("parents", {"id": 1}, lock="SHARE"), crosskey.list_rows("parents", lock="UPDATE")):
        assert running.calls.refusal(request).reason == "INVALID_REQUEST"
        with pytest.raises(crosskey.InvalidRequest, match="part of none"):
            client.explain(request)
    unknown = router_pb2.GetRequest(table="parents", key_json='{"id": 1}', lock=9)  # type: ignore[arg-type]
    with pytest.raises(crosskey.InvalidRequest, match="no lock 9"):
        client.transact([unknown])


def test_a_shard_is_asked_twice_at_once_before_it_takes_part(client: Client) -> None:
    """Two includes lead to one shard where the transaction has no branch yet: the first question begins it."""
    parent, child, cousin = new(0), new(1), new(1)
    client.insert("parents", {"id": parent})
    client.insert("children", {"id": child, "parent_id": parent})
    client.insert("cousins", {"id": cousin, "parent_id": parent})
    get = crosskey.get("parents", {"id": parent}, columns=["id"], include={"children": {}, "cousins": {}})
    [row] = client.transact([get])
    assert [row["children"][0]["id"], row["cousins"][0]["id"]] == [str(child), str(cousin)]


@pytest.mark.parametrize(
    ("held", "asked", "passes"),
    [
        ("FOR UPDATE", "SHARE", False),
        ("FOR SHARE", "SHARE", True),
        ("FOR SHARE", "NO KEY UPDATE", False),
        ("FOR KEY SHARE", "NO KEY UPDATE", True),
        ("FOR KEY SHARE", "UPDATE", False),
    ],
)
def test_locks_conflict_as_those_of_postgresql(
    cluster: LocalCluster, client: Client, held: str, asked: Lock, passes: bool
) -> None:
    parent = new(1)
    client.insert("parents", {"id": parent})
    get = crosskey.get("parents", {"id": parent}, columns=["id"], lock=asked)
    page = crosskey.list_rows("parents", {"id": parent}, columns=["id"], lock=asked)
    with locked(cluster, 1, f"SELECT FROM parents WHERE id = {parent} {held}"):
        for read in (get, page):
            if passes:
                client.transact([read])
            else:
                with pytest.raises(crosskey.Conflict):
                    client.transact([read])


def test_a_page_locks_no_row_behind_it(cluster: LocalCluster, client: Client) -> None:
    first, second = new(2), new(2)
    client.insert("parents", [{"id": first, "name": "paged"}, {"id": second, "name": "paged"}])
    page = crosskey.list_rows("parents", [crosskey.in_("id", [first, second])], page_size=1, lock="UPDATE")
    with locked(cluster, 2, f"SELECT FROM parents WHERE id = {second} FOR UPDATE"):
        [found] = client.transact([page])
    assert [row["id"] for row in found.rows] == [str(first)]
    rest = client.list_page("parents", [crosskey.in_("id", [first, second])], None, 1, found.next_page_token)
    assert [row["id"] for row in rest.rows] == [str(second)]


def test_rows_of_a_reference_table_are_locked_on_all_shards(cluster: LocalCluster, client: Client) -> None:
    get = crosskey.get("kinds", {"code": "a"}, lock="UPDATE")
    page = crosskey.list_rows("kinds", {"code": "a"}, lock="UPDATE")
    for shard in range(SHARDS):
        with locked(cluster, shard, "SELECT FROM kinds WHERE code = 'a' FOR KEY SHARE"):
            for read in (get, page):
                with pytest.raises(crosskey.Conflict):
                    client.transact([read])
    assert client.transact([get]) == [{"code": "a", "name": None}]


def test_explain_says_which_shards_are_read(client: Client) -> None:
    get = crosskey.get("parents", {"id": new(2)})
    explanation = client.explain(crosskey.transaction([crosskey.insert("parents", {"id": new(1)}), get]))
    assert list(explanation.shards) == [1, 2]
    assert sorted(explanation.rpcs) == ["s1 ShardNode.Run", "s2 ShardNode.Run"]
    only_read = client.explain(crosskey.transaction([get]))
    assert list(only_read.shards) == [2]
    assert list(only_read.rpcs) == ["s2 ShardNode.Run"]


def test_typed_rows_and_structs(cluster: LocalCluster, client: Client, running: RunningCluster) -> None:
    parent = new(0)
    client.insert("parents", {"id": parent})
    get = crosskey.get("parents", {"id": parent}, columns=["id"])
    with Client(cluster.address, typed=True) as typed:
        assert typed.transact([get, crosskey.list_rows("parents", {"id": parent}, columns=["id"])])[0] == {"id": parent}
    [answer] = running.calls.send(crosskey.transaction([get])).results
    assert answer.get.row["id"] == str(parent)
    get.row_form = rows_pb2.ROW_FORM_JSON
    [answer] = running.calls.send(crosskey.transaction([get])).results
    assert answer.get.row_json == f'{{"id":"{parent}"}}'
