"""Statements of a Transact that take values of earlier answers, and what statements expect."""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

import crosskey
from crosskey import Client, CrosskeyError, ExpectationFailed, InvalidRequest, value_of
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.requests import Statement
from crosskey.v1 import router_pb2
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import SHARDS, numbers_on
from tests.running_cluster import RunningCluster

SCHEMA = """
CREATE TABLE authors (id bigserial PRIMARY KEY, name text NOT NULL UNIQUE, version int NOT NULL DEFAULT 1,
    balance numeric(8,2) NOT NULL DEFAULT 0);
COMMENT ON TABLE authors IS '@shard_by id';
CREATE TABLE posts (id bigserial PRIMARY KEY, author_id bigint NOT NULL REFERENCES authors, title text);
COMMENT ON TABLE posts IS '@shard_with author_id';
CREATE TABLE papers (id bigint PRIMARY KEY, about jsonb, plain json, tags text[], days date[], at timestamptz,
    cost numeric, bytes bytea);
COMMENT ON TABLE papers IS '@shard_by id';
CREATE TABLE kinds (code text PRIMARY KEY, n int NOT NULL);
COMMENT ON TABLE kinds IS '@reference';
"""

AUTHOR, POST, KEY = "authors", "posts", [numbers_on(shard) for shard in range(SHARDS)]


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster with the schema."""
    return fresh_cluster(SCHEMA)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client; at the end the audit is content."""
    with Client(cluster.address) as client:
        yield client
        assert client.with_timeout(60).audit() == []


def failed(client: Client, *statements: Statement) -> CrosskeyError:
    """The error of a transaction that must fail."""
    with pytest.raises(CrosskeyError) as caught:
        client.transact(statements)
    return caught.value


def test_a_row_is_placed_by_a_value_of_an_earlier_answer(client: Client) -> None:
    new = value_of(0, "id")
    for name in ("Ada", "Ben", "Cy", "Di"):
        author, post, changed, found, page, deleted = client.transact(
            [
                crosskey.insert(AUTHOR, {"name": name}),
                crosskey.insert(POST, [{"author_id": new, "title": "a"}, {"author_id": new}]),
                crosskey.update(AUTHOR, {"name": value_of(1, "title")}, key={"id": value_of(0, "id")}),
                crosskey.get(AUTHOR, {"id": value_of(1, "author_id", row=1)}),
                crosskey.list_rows(POST, {"author_id": value_of(3, "id")}),
                crosskey.delete(POST, where=[crosskey.eq("id", value_of(1, "id"))]),
            ]
        )
        assert {row["author_id"] for row in post} == {author[0]["id"]}
        assert changed == [found] == [{**author[0], "name": "a"}]
        assert [row["id"] for row in page.rows] == sorted(row["id"] for row in post)
        assert deleted == 1
        client.update(AUTHOR, {"name": name}, key={"id": found["id"]})


def test_values_of_groups(client: Client) -> None:
    kept, failing, later = client.transact(
        [
            crosskey.group([crosskey.insert(AUTHOR, {"name": "grouped"})]),
            crosskey.group([crosskey.insert(AUTHOR, {"name": "lost"}), crosskey.insert(AUTHOR, {"name": "grouped"})]),
            crosskey.group([crosskey.insert(POST, {"author_id": value_of("0.0", "id")})]),
        ]
    )
    assert isinstance(failing, crosskey.UniqueViolation)
    assert later[0][0]["author_id"] == kept[0][0]["id"]
    lost = failed(
        client,
        crosskey.group([crosskey.insert(AUTHOR, {"name": "lost"}), crosskey.insert(AUTHOR, {"name": "grouped"})]),
        crosskey.insert(POST, {"author_id": value_of("0.0", "id")}),
    )
    assert isinstance(lost, ExpectationFailed)
    assert "failed with its group" in lost.message
    assert lost.metadata["statement"] == "1"


def test_values_of_counted_and_computed_rows(client: Client) -> None:
    [author] = client.insert(AUTHOR, {"name": "counted", "version": 3})
    *_, changed = client.transact(
        [
            crosskey.aggregate(AUTHOR, {"most": ("max", "version")}, where={"id": author["id"]}),
            crosskey.update(
                AUTHOR,
                {"version": crosskey.column("version") + value_of(0, "most")},
                key={"id": author["id"]},
            ),
        ]
    )
    assert changed[0]["version"] == 6


@pytest.mark.parametrize("typed", [False, True])
def test_values_of_any_type_are_taken_as_they_are(cluster: LocalCluster, typed: bool) -> None:
    first, second = next(KEY[0]), next(KEY[1])
    paper: dict[str, Any] = {
        "about": {"$ref": "0.rows.0.id", "n": [12345678901234567890, {"a": None}]},
        "plain": [1, "x"],
        "tags": ["a", None, "b,c"],
        "days": [datetime.date(2026, 1, 31)],
        "at": datetime.datetime(2026, 1, 31, 12, 30, tzinfo=datetime.UTC),
        "cost": decimal.Decimal("1.50"),
        "bytes": b"\x00\xff",
    }
    with Client(cluster.address, typed=typed) as client:
        written, copied = client.transact(
            [
                crosskey.insert("papers", {"id": first, **paper}),
                crosskey.insert("papers", {"id": second, **{name: value_of(0, name) for name in paper}}),
            ]
        )
        assert {**copied[0], "id": 0} == {**written[0], "id": 0}
        if typed:
            assert {**copied[0], "id": second} == {"id": second, **paper}


def test_rows_given_as_structs_take_values(cluster: LocalCluster, client: Client) -> None:
    calls = RunningCluster(cluster, client).calls
    asked = {
        "statements": [
            {"insert": {"table": AUTHOR, "rows": [{"name": "struct"}]}},
            {
                "insert": {
                    "table": POST,
                    "rows": [{"title": "t"}],
                    "taken": [{"column": "author_id", "value": {"statement": "0", "column": "id"}}],
                }
            },
            {
                "update": {
                    "table": AUTHOR,
                    "set": {"version": 7},
                    "taken": [{"column": "name", "value": {"statement": "1", "column": "title"}}],
                    "taken_key": [{"column": "id", "value": {"statement": "0", "column": "id"}}],
                }
            },
        ]
    }
    answer = calls.send(ParseDict(asked, router_pb2.TransactRequest()))
    [row] = answer.results[2].update.rows
    assert (row["name"], row["version"]) == ("t", 7)
    asked["statements"][1]["insert"]["rows"] = [{"id": 2**60}]  # type: ignore[index]
    asked["statements"][0]["insert"]["rows"] = [{"name": "inexact"}]  # type: ignore[index]
    assert calls.refusal(ParseDict(asked, router_pb2.TransactRequest())).reason == "NUMBER_NOT_EXACT"


def test_wrong_references_are_refused(client: Client) -> None:
    insert = crosskey.insert(AUTHOR, {"name": "nobody"})
    for wanted, kind, words in [
        (value_of(1, "id"), InvalidRequest, "does not come before"),
        (value_of(2, "id"), InvalidRequest, "does not come before"),
        (value_of("0.0", "id"), InvalidRequest, "does not come before"),
        (value_of("x", "id"), InvalidRequest, "does not come before"),
        (value_of(0, "nmae"), InvalidRequest, 'answers no column "nmae", but "id", "name"'),
        (value_of(0, "id", row=1), ExpectationFailed, "has 1 rows"),
    ]:
        error = failed(client, insert, crosskey.insert(POST, {"author_id": wanted}), crosskey.count(POST))
        assert isinstance(error, kind)
        assert words in error.message
        assert error.metadata["statement"] == "1"
    taking = crosskey.insert(POST, {"author_id": value_of(0, "id")})
    nothing = failed(client, crosskey.insert(AUTHOR, {"name": "nobody"}, count_only=True), taking)
    assert isinstance(nothing, ExpectationFailed)
    assert "a count, answers no rows" in failed(client, crosskey.count(POST), taking).message
    twice = router_pb2.InsertRequest(table=POST, rows_json='[{"author_id": 1}]', taken=taking.taken)
    assert "has a value, and is to take one" in failed(client, insert, twice).message
    assert client.count(AUTHOR, {"name": "nobody"}) == 0


def test_values_are_taken_in_a_transact_only(client: Client) -> None:
    wanted = value_of(0, "id")
    for ask in (
        lambda: client.insert(POST, {"author_id": wanted}),
        lambda: client.update(POST, {"title": wanted}, key={"id": 1}),
        lambda: client.delete(POST, where={"id": wanted}),
        lambda: client.get(POST, {"id": wanted}),
        lambda: client.count(POST, [crosskey.any_of(crosskey.eq("id", wanted))]),
        lambda: client.list_page(POST, {"id": wanted}),
        lambda: client.aggregate(POST, {"n": "count"}, where={"id": wanted}),
        lambda: client.explain(crosskey.count(POST, {"id": wanted})),
    ):
        with pytest.raises(InvalidRequest, match="a statement of a Transact only"):
            ask()


def test_compare_and_set(client: Client) -> None:
    [author] = client.insert(AUTHOR, {"name": "versioned"})

    def save(version: int) -> Statement:
        change = {"name": "saved", "version": crosskey.column("version") + 1}
        update = crosskey.update(AUTHOR, change, where={"id": author["id"], "version": version})
        return crosskey.expect(update, count=1)

    assert client.transact([save(1)])[0][0]["version"] == 2
    error = failed(client, crosskey.insert(AUTHOR, {"name": "undone"}), save(1))
    assert isinstance(error, ExpectationFailed)
    assert not error.retryable
    assert error.message == "expected the count 1, and found 0"
    assert error.metadata == {"expected": "the count 1", "found": "0", "statement": "1"}
    assert client.count(AUTHOR, {"name": "undone"}) == 0


def test_counts_of_every_kind(client: Client) -> None:
    [author] = client.insert(AUTHOR, {"name": "expected"})
    key = {"id": author["id"]}
    right: list[tuple[Any, int]] = [
        (crosskey.get(AUTHOR, key), 1),
        (crosskey.get(AUTHOR, {"id": 0}), 0),
        (crosskey.list_rows(AUTHOR, key), 1),
        (crosskey.count(AUTHOR, key), 1),
        (crosskey.aggregate(AUTHOR, {"n": "count"}, where=key, group_by="name"), 1),
        (crosskey.update(AUTHOR, {"version": 2}, key=key, count_only=True), 1),
        (crosskey.insert(AUTHOR, {"name": "expected"}, on_conflict=crosskey.do_nothing("name")), 0),
        (crosskey.insert("kinds", [{"code": "a", "n": 1}, {"code": "b", "n": 2}]), 2),
        (crosskey.delete("kinds", where={"code": "a"}), 1),
    ]
    client.transact([crosskey.expect(statement, count=count) for statement, count in right])
    client.delete("kinds", key={"code": "b"})
    for place, (statement, count) in enumerate(right):
        others = [crosskey.expect(other, count=expected) for other, expected in right[:place]]
        error = failed(client, *others, crosskey.expect(statement, count=count + 1))
        assert (error.metadata["found"], error.metadata["statement"]) == (str(count), str(place))


def test_conditions_on_each_row(client: Client) -> None:
    [author] = client.insert(AUTHOR, {"name": "rich", "balance": "10.00"})
    key = {"id": author["id"]}

    def spend(amount: int) -> Statement:
        update = crosskey.update(AUTHOR, {"balance": crosskey.column("balance") - amount}, key=key, columns=["id"])
        return crosskey.expect(update, each=crosskey.ge("balance", 0))

    assert client.transact([spend(4)]) == [[{"id": author["id"]}]]
    error = failed(client, spend(7))
    assert '"balance":"-1.00"' in error.metadata["found"]
    assert client.get(AUTHOR, key)["balance"] == "6.00"
    get = crosskey.get(AUTHOR, key, lock="UPDATE")
    assert client.transact([crosskey.expect(get, each={"name": "rich"})])[0]["balance"] == "6.00"
    assert '"name":"rich"' in failed(client, crosskey.expect(get, each={"name": "poor"})).metadata["found"]
    assert (
        failed(client, crosskey.expect(crosskey.get(AUTHOR, {"id": 0}), each={"name": "x"})).metadata["found"]
        == "no row"
    )
    nobody = crosskey.update(AUTHOR, {"version": 1}, key={"id": 0})
    assert failed(client, crosskey.expect(nobody, each={"version": 1})).metadata["found"] == "no row"
    new = crosskey.insert(AUTHOR, [{"name": "n1", "version": 5}, {"name": "n2"}])
    assert '"name":"n2"' in failed(client, crosskey.expect(new, each={"version": 5})).metadata["found"]
    upsert = crosskey.insert(
        AUTHOR, {"name": "rich", "version": 9}, on_conflict=crosskey.do_update("version", on="name")
    )
    assert '"version":9' in failed(client, crosskey.expect(upsert, each={"version": 8})).metadata["found"]
    kind = crosskey.insert("kinds", {"code": "k", "n": 1})
    assert failed(client, crosskey.expect(kind, each={"n": 2})).reason_name == "EXPECTATION_FAILED"
    client.transact([crosskey.expect(kind, each={"n": 1})])


def test_a_group_absorbs_what_was_not_as_expected(client: Client) -> None:
    lost, kept = client.transact(
        [
            crosskey.group(
                [crosskey.insert(AUTHOR, {"name": "g1"}), crosskey.expect(crosskey.count(POST, {"id": 0}), count=1)]
            ),
            crosskey.insert(AUTHOR, {"name": "g2"}),
        ]
    )
    assert isinstance(lost, ExpectationFailed)
    assert lost.metadata["statement"] == "0.1"
    assert kept[0]["name"] == "g2"
    assert client.count(AUTHOR, {"name": "g1"}) == 0


def test_what_cannot_be_expected_is_refused(client: Client) -> None:
    group = router_pb2.Statement(group=crosskey.group([crosskey.count(POST)]), expect=router_pb2.Expectation(count=1))
    assert "a group can expect nothing" in failed(client, group).message
    for statement in (crosskey.list_rows(POST), crosskey.count(POST), crosskey.delete(POST, key={"id": 0})):
        error = failed(client, crosskey.expect(statement, each={"id": 1}))
        assert "can expect a count only" in error.message
    unknown = crosskey.expect(crosskey.insert(AUTHOR, {"name": "u"}), each={"nmae": "u"})
    assert isinstance(failed(client, unknown), crosskey.UnknownColumn)
