"""Requests, conditions and orders as values."""

from __future__ import annotations

from typing import Any

import pytest

import crosskey
from crosskey import requests
from crosskey.exact_json import decode
from crosskey.predicates import Where, to_orders, to_predicates
from crosskey.v1 import router_pb2
from crosskey.v1.rows_pb2 import Predicate, RowLock


def spoken(where: Where | None) -> list[tuple[str, str, Any]]:
    return [(p.column, Predicate.Op.Name(p.op), decode(p.value_json)) for p in to_predicates(where)]


@pytest.mark.parametrize(
    ("where", "predicates"),
    [
        (None, []),
        ({}, []),
        ({"a": 1, "b": None}, [("a", "EQ", 1), ("b", "IS_NULL", True)]),
        (crosskey.ne("a", 1), [("a", "NE", 1)]),
        ([crosskey.lt("a", 1), crosskey.le("b", 2)], [("a", "LT", 1), ("b", "LE", 2)]),
        ([crosskey.gt("a", 1), crosskey.ge("b", 2)], [("a", "GT", 1), ("b", "GE", 2)]),
        (crosskey.in_("a", iter([1, 2])), [("a", "IN", [1, 2])]),
        (crosskey.is_null("a", null=False), [("a", "IS_NULL", False)]),
        (crosskey.eq("a", 2**60), [("a", "EQ", 2**60)]),
    ],
)
def test_conditions(where: Where | None, predicates: list[tuple[str, str, Any]]) -> None:
    assert spoken(where) == predicates


def test_orders() -> None:
    assert to_orders(None) == []
    assert [order.column for order in to_orders("a")] == ["a"]
    assert [(o.column, o.descending) for o in to_orders(["a", crosskey.desc("b")])] == [("a", False), ("b", True)]


def test_one_row_and_many_rows_are_inserted_alike() -> None:
    assert crosskey.insert("t", {"a": 1}) == crosskey.insert("t", [{"a": 1}])
    assert decode(crosskey.insert("t", ({"a": n} for n in range(2))).rows_json) == [{"a": 0}, {"a": 1}]


def test_an_absent_key_differs_from_an_empty_one() -> None:
    assert not crosskey.delete("t", where={"a": 1}).key_json
    assert crosskey.delete("t", key={}).key_json == "{}"
    assert not crosskey.update("t", {"a": 1}, where={"a": 1}).key_json
    assert decode(crosskey.update("t", {"a": 1}, key={"id": 7}).key_json) == {"id": 7}


def test_a_transaction_and_a_group_keep_their_order() -> None:
    statements: list[requests.Statement] = [
        crosskey.delete("t", key={"id": 1}),
        crosskey.set_constraints("a", "s.b", deferred=True),
        crosskey.insert("t", {"id": 1}),
        crosskey.update("t", {"a": 1}, key={"id": 1}),
        crosskey.group([crosskey.insert("t", {"id": 2})]),
    ]
    kinds = ["delete", "set_constraints", "insert", "update", "group"]
    for request in (crosskey.transaction(statements), crosskey.group(statements)):
        assert [statement.WhichOneof("statement") for statement in request.statements] == kinds
    change = crosskey.group(statements).statements[1].set_constraints
    assert (list(change.constraints), change.deferred) == (["a", "s.b"], True)


def test_reads_are_statements() -> None:
    get, page = crosskey.get("t", {"id": 1}, lock="UPDATE"), crosskey.list_rows("t", lock="SHARE")
    statements: list[requests.Statement] = [get, page, crosskey.count("t"), crosskey.aggregate("t", {"n": "count"})]
    kinds = [statement.WhichOneof("statement") for statement in crosskey.transaction(statements).statements]
    assert kinds == ["get", "list", "count", "aggregate"]
    assert (get.lock, page.lock) == (RowLock.Value("ROW_LOCK_FOR_UPDATE"), RowLock.Value("ROW_LOCK_FOR_SHARE"))


def test_a_transaction_is_no_part_of_a_transaction() -> None:
    with pytest.raises(TypeError, match="TransactRequest cannot be part of a transaction"):
        crosskey.transaction([crosskey.transaction([])])  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("request_value", "kind"),
    [
        (crosskey.insert("t", {"a": 1}), "insert"),
        (crosskey.get("t", {"a": 1}), "get"),
        (crosskey.update("t", {"a": 1}, key={"id": 1}), "update"),
        (crosskey.delete("t", key={"id": 1}), "delete"),
        (crosskey.list_rows("t", page_size=3), "list"),
        (crosskey.count("t"), "count"),
        (crosskey.transaction([crosskey.insert("t", {"a": 1})]), "transact"),
    ],
)
def test_every_request_can_be_explained(request_value: requests.Request, kind: str) -> None:
    explanation = requests.explanation(request_value)
    assert explanation.WhichOneof("request") == kind
    assert getattr(explanation, kind) == request_value


def test_nothing_else_can_be_explained() -> None:
    with pytest.raises(TypeError, match="dict cannot be explained"):
        requests.explanation({})  # type: ignore[arg-type]


def test_the_public_names_exist() -> None:
    for name in crosskey.__all__:
        assert hasattr(crosskey, name)


def test_conflicts() -> None:
    update = requests.insert("users", {"id": 1}, on_conflict=crosskey.do_update("a", "b", on="id")).on_conflict
    assert (list(update.columns), list(update.update.columns)) == (["id"], ["a", "b"])
    named = crosskey.do_update("a", constraint="users_pkey")
    assert (list(named.columns), named.constraint) == ([], "users_pkey")
    nothing = crosskey.do_nothing(column for column in ("id", "part"))
    assert nothing.columns == ["id", "part"]
    assert nothing.HasField("nothing")
    assert not requests.insert("users", {"id": 1}).HasField("on_conflict")


def test_groups_nest_as_deep_as_a_message_may_and_no_deeper() -> None:
    group = crosskey.group([])
    for _ in range(requests.MAX_NESTED_GROUPS - 1):
        group = crosskey.group([group])
    request = requests.transaction([group])
    assert router_pb2.TransactRequest.FromString(request.SerializeToString()) == request
    with pytest.raises(ValueError, match="groups nest at most 40 deep"):
        crosskey.group([group])


def test_an_unknown_lock_is_told_what_locks_there_are() -> None:
    with pytest.raises(ValueError, match='a lock is one of "UPDATE", "NO KEY UPDATE"'):
        requests.get("users", {"id": 1}, lock="update")  # type: ignore[arg-type]
