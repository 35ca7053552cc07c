"""Conditions mean what the same comparison with a quoted literal means in SQL."""

from __future__ import annotations

from typing import Any

import msgspec
import psycopg
import pytest
import pytest_asyncio
from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import Table
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.sql_text.conditions import where_clause
from crosskey.shard_node.sql_text.sql_names import table_identifier
from crosskey.v1 import rows_pb2
from tests.shard_node.conftest import TestDatabase

SCHEMA = """
CREATE SCHEMA odd;
CREATE TYPE odd.mood AS ENUM ('sad', 'ok');
CREATE TYPE odd.pair AS (x int, y text);
CREATE DOMAIN odd.positive AS bigint CHECK (value > 0);
CREATE DOMAIN odd.present AS int NOT NULL;
CREATE TABLE odd."Things" (
    id bigint, "a ""b"" %s" text, fixed char(5), short varchar(3), tags text[], doc jsonb, mood odd.mood,
    pair odd.pair, span int4range, domained odd.positive, price numeric(10,2), weight real, flag boolean, bits bit(3),
    uid uuid, at timestamptz, present odd.present DEFAULT 1, nothing int
);
INSERT INTO odd."Things" VALUES (
    9007199254740993, 'x"\\', 'ab', 'abc', '{a,"b c"}', '{"a": 1}', 'ok', '(1,z)', '[1,5)', 7, 1.20, 0.1, true, '101',
    '00000000-0000-0000-0000-00000000000a', '2020-01-01 00:00:00+00', 1, NULL
);
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def things(database: TestDatabase) -> Table:
    await database.run(SCHEMA)
    return await database.table("Things", "odd")


def condition(column: str, op: str, value: Any = None) -> reads_pb2.Condition:
    return reads_pb2.Condition(column=column, op=rows_pb2.Predicate.Op.Value(op), value_json=msgspec.json.encode(value))


async def matches(database: TestDatabase, table: Table, *conditions: reads_pb2.Condition) -> bool:
    where, parameters = where_clause(table, conditions, "t")
    statement = sql.SQL("SELECT count(*) FROM {} AS t WHERE {}").format(table_identifier(table.name), where)
    ((count,),) = await (await database.connection.execute(statement, parameters)).fetchall()
    return bool(count)


@pytest.mark.parametrize(
    ("column", "op", "value"),
    [
        ("id", "EQ", "9007199254740993"),
        ("id", "GT", 1),
        ("id", "IN", [1, "9007199254740993"]),
        ('a "b" %s', "EQ", 'x"\\'),
        ('a "b" %s', "IN", ['x"\\', "NULL", None, ""]),
        ("fixed", "EQ", "ab"),
        ("fixed", "EQ", "ab   "),
        ("fixed", "IN", ["ab "]),
        ("short", "IN", ["abcd", "abc"]),
        ("tags", "EQ", ["a", "b c"]),
        ("tags", "EQ", '{a,"b c"}'),
        ("tags", "IN", [["a", "b c"], None]),
        ("doc", "EQ", {"a": 1.0}),
        ("doc", "IN", ["x", {"a": 1}]),
        ("mood", "GT", "sad"),
        ("pair", "EQ", {"x": 1, "y": "z"}),
        ("pair", "IN", [{"x": 1, "y": "z"}]),
        ("span", "EQ", "[1,4]"),
        ("domained", "EQ", 7),
        ("domained", "IN", ["7"]),
        ("domained", "GT", -1),
        ("price", "EQ", "1.2"),
        ("price", "NE", "1.204"),
        ("weight", "EQ", 0.1),
        ("flag", "EQ", True),
        ("bits", "EQ", "101"),
        ("uid", "EQ", "{0000000000000000000000000000000A}"),
        ("at", "LE", "2020-01-01T01:00:00+01:00"),
        ("nothing", "IS_NULL", True),
        ("id", "IS_NULL", False),
    ],
)
async def test_a_condition_that_holds(database: TestDatabase, things: Table, column: str, op: str, value: Any) -> None:
    assert await matches(database, things, condition(column, op, value))


@pytest.mark.parametrize(
    ("column", "op", "value"),
    [
        ("fixed", "EQ", "abcdefgh"),
        ("short", "EQ", "abcd"),
        ("price", "EQ", "1.204"),
        ("doc", "EQ", "{}"),
        ("id", "IN", []),
        ("tags", "IN", []),
        ("nothing", "EQ", None),
        ("nothing", "NE", 1),
        ("nothing", "IN", [None]),
        ("id", "NE", None),
        ("nothing", "IS_NULL", False),
        ("domained", "LT", -1),
    ],
)
async def test_a_condition_that_does_not_hold(
    database: TestDatabase, things: Table, column: str, op: str, value: Any
) -> None:
    assert not await matches(database, things, condition(column, op, value))


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("id", "abc", 'invalid input syntax for type bigint: "abc"'),
        ("id", True, 'invalid input syntax for type bigint: "true"'),
        ("id", [1], 'invalid input syntax for type bigint: "[1]"'),
        ("id", "9" * 20, f'value "{"9" * 20}" is out of range for type bigint'),
        ("uid", "x", 'invalid input syntax for type uuid: "x"'),
        ("mood", "glad", 'invalid input value for enum odd.mood: "glad"'),
        ("flag", "maybe", 'invalid input syntax for type boolean: "maybe"'),
    ],
)
@pytest.mark.parametrize("op", ["EQ", "IN"])
async def test_postgresql_says_what_is_wrong_with_a_value(
    database: TestDatabase, things: Table, column: str, value: Any, message: str, op: str
) -> None:
    with pytest.raises(psycopg.DataError) as caught:
        await matches(database, things, condition(column, op, [value] if op == "IN" else value))
    assert caught.value.diag.message_primary == message


async def test_several_conditions_must_all_hold(database: TestDatabase, things: Table) -> None:
    assert await matches(database, things)
    assert await matches(database, things, condition("flag", "EQ", True), condition("domained", "EQ", 7))
    assert not await matches(database, things, condition("flag", "EQ", True), condition("domained", "EQ", 8))


async def test_the_text_depends_on_the_shape_alone(things: Table) -> None:
    def text(*values: Any) -> str:
        where, _ = where_clause(things, [condition("id", "IN", list(values)), condition("domained", "EQ", values[0])])
        return where.as_string()

    assert text(1) == text("2", None, 3) == text(None)


async def test_an_unknown_column(things: Table) -> None:
    with pytest.raises(errors.UnknownColumn, match='column "colour" does not exist'):
        where_clause(things, [condition("colour", "EQ", 1)])


@pytest.mark.parametrize(("op", "value"), [("IN", 3), ("IS_NULL", "yes")])
async def test_a_value_that_the_operator_does_not_take(things: Table, op: str, value: Any) -> None:
    with pytest.raises(errors.InvalidRequest, match='on column "id" takes'):
        where_clause(things, [condition("id", op, value)])


@pytest.mark.parametrize("op", ["EQ", "IN"])
async def test_a_nul_is_no_text(things: Table, op: str) -> None:
    with pytest.raises(errors.InvalidValue, match="0x00"):
        where_clause(things, [condition("short", op, ["a\0b"] if op == "IN" else "a\0b")])


async def test_an_unknown_operator(things: Table) -> None:
    with pytest.raises(errors.InvalidRequest, match="unknown operator 99"):
        where_clause(things, [reads_pb2.Condition.FromString(b"\n\x02id\x10c\x1a\x011")])
