"""Predicates and keys: what is passed on to nodes, and what is refused beforehand."""

from __future__ import annotations

from typing import Any

import pytest

from crosskey import errors
from crosskey.catalog.model import UniqueKey
from crosskey.internal.v1 import reads_pb2
from crosskey.router.planning.predicates import check_key, check_predicates, to_conditions
from crosskey.rows import dict_to_struct, python_to_value
from crosskey.v1 import rows_pb2
from tests.schema_builders import column, table

USERS = table(
    "users",
    "@shard_by id",
    column("id"),
    column("email", "text"),
    column("doc", "jsonb", not_null=False),
    unique_keys=(
        UniqueKey("users_pkey", ("id",), primary=True),
        UniqueKey("users_email_key", ("email", "id")),
        UniqueKey("users_living", ("email",), constraint=False, plain=False),
    ),
)
NOTHING = object()


def predicate(column_name: str, op: str = "EQ", value: Any = NOTHING) -> rows_pb2.Predicate:
    made = rows_pb2.Predicate(column=column_name, op=rows_pb2.Predicate.Op.Value(op))
    if value is not NOTHING:
        made.value.CopyFrom(python_to_value(value))
    return made


def condition_of(*given: Any) -> reads_pb2.Condition:
    [condition] = to_conditions(check_predicates(USERS, [predicate(*given)]))
    return condition


@pytest.mark.parametrize(
    ("op", "value", "value_json"),
    [
        ("EQ", 5.0, b"5"),
        ("GT", "9007199254740993", b'"9007199254740993"'),
        ("IN", [1, "2", None], b'[1,"2",null]'),
        ("IN", [], b"[]"),
        ("IS_NULL", NOTHING, b"true"),
        ("IS_NULL", False, b"false"),
    ],
)
def test_a_predicate_as_nodes_take_it(op: str, value: Any, value_json: bytes) -> None:
    condition = condition_of("id", op, value)
    assert (condition.column, condition.op) == ("id", rows_pb2.Predicate.Op.Value(op))
    assert condition.value_json == value_json


def test_equal_objects_have_equal_text() -> None:
    assert condition_of("doc", "EQ", {"a": 1, "b": 2}) == condition_of("doc", "EQ", {"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("op", "value", "fault"),
    [
        ("EQ", NOTHING, "needs a value"),
        ("EQ", None, "compares with null, which nothing equals: say IS_NULL"),
        ("GE", None, "compares with null"),
        ("EQ", [1], "compares with a list: say IN"),
        ("IN", 1, "needs a list for IN"),
        ("IN", NOTHING, "needs a value"),
        ("IS_NULL", "yes", "takes true or false for IS_NULL"),
        ("IS_NULL", None, "takes true or false for IS_NULL"),
    ],
)
def test_a_malformed_predicate(op: str, value: Any, fault: str) -> None:
    with pytest.raises(errors.InvalidRequest, match=f'the predicate on column "id" {fault}') as caught:
        check_predicates(USERS, [predicate("id", op, value)])
    assert caught.value.metadata == {"table": "users", "columns": "id"}


def test_an_operator_of_a_later_version() -> None:
    later = rows_pb2.Predicate.FromString(b"\x10\x63" + predicate("id", "EQ", 1).SerializeToString())
    with pytest.raises(errors.InvalidRequest, match="has no operator 99"):
        check_predicates(USERS, [later])


def test_an_unknown_column() -> None:
    with pytest.raises(errors.UnknownColumn, match='column "colour" does not exist'):
        check_predicates(USERS, [predicate("colour", "EQ", 1)])
    with pytest.raises(errors.UnknownColumn, match='column "colour" does not exist'):
        check_key(USERS, dict_to_struct({"colour": 1}))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("emial", 'Perhaps you meant "email".'),
        ("ID", 'Perhaps you meant "id".'),
        ("-id", 'To sort by "id" with the largest first, say desc("id") in Python, "descending": true in gRPC,'),
        ("colour", None),
    ],
)
def test_the_nearest_column_is_told(name: str, hint: str | None) -> None:
    with pytest.raises(errors.UnknownColumn) as caught:
        check_predicates(USERS, [predicate(name, "EQ", 1)])
    assert (caught.value.metadata.get("hint") or "").startswith(hint or "")
    assert ("hint" in caught.value.metadata) == (hint is not None)
    assert str(caught.value).startswith(f'column "{name}" does not exist' + ("\nHINT: " if hint else ""))


@pytest.mark.parametrize("value", [1e300, [1e300]])
def test_a_number_that_may_have_been_rounded(value: Any) -> None:
    with pytest.raises(errors.NumberNotExact):
        check_predicates(USERS, [predicate("id", "IN" if isinstance(value, list) else "EQ", value)])
    with pytest.raises(errors.NumberNotExact):
        check_key(USERS, dict_to_struct({"id": value}))


@pytest.mark.parametrize("key", [{"id": 1}, {"id": 1, "email": "a"}])
def test_every_unique_key_names_a_row(key: dict[str, Any]) -> None:
    checked = check_key(USERS, dict_to_struct(key))
    assert {one.column.name: one.value for one in checked} == key
    assert {one.op for one in checked} == {rows_pb2.Predicate.EQ}


@pytest.mark.parametrize("key", [{}, {"email": "a"}, {"id": 1, "doc": 1}])
def test_what_is_no_unique_key_names_no_row(key: dict[str, Any]) -> None:
    with pytest.raises(errors.InvalidRequest, match=r'the key of a row of "users" is \(id\) or \(email, id\), not \('):
        check_key(USERS, dict_to_struct(key))


def test_a_table_without_unique_keys_has_no_rows_by_key() -> None:
    with pytest.raises(errors.InvalidRequest, match="the table has no unique key"):
        check_key(table("log", "@shard_by id", key=()), dict_to_struct({"id": 1}))
