"""Aggregates over several shards are those of one PostgreSQL: sums, averages, least and greatest values, groups."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

import crosskey
from crosskey import InvalidRequest, UnknownColumn
from crosskey.requests import Aggregate
from tests.oracle.pair import SHARDS, Pair

pytestmark = pytest.mark.searches

SCHEMA = """
CREATE TYPE agg_state AS ENUM ('new', 'paid', 'sent');
CREATE TABLE agg_orders (
    id bigint PRIMARY KEY, place smallint, pieces int, total bigint, price numeric(12,3), exact numeric, weight float8,
    small float4, name text COLLATE "C", folded text, state agg_state, at timestamptz, taken interval, tags text[],
    facts jsonb
);
COMMENT ON TABLE agg_orders IS '@shard_by id';
CREATE TABLE agg_regions (code text PRIMARY KEY, people int);
COMMENT ON TABLE agg_regions IS '@reference';
CREATE TABLE agg_empty (id bigint PRIMARY KEY, amount int);
COMMENT ON TABLE agg_empty IS '@shard_by id';
"""

FUNCTIONS = {"count": "count", "sum": "sum", "avg": "avg", "min": "min", "max": "max"}
NUMBERS = ["place", "pieces", "total", "price", "exact", "taken"]
ORDERED = [*NUMBERS, "name", "folded", "state", "at", "tags"]
GROUPS = ["place", "pieces", "price", "name", "state", "tags", "facts", "exact"]


@pytest.fixture(scope="module")
def orders(pair: Pair) -> Pair:
    draw = random.Random(3)
    pair.insert("agg_regions", {"code": "n", "people": 4}, {"code": "s", "people": None})
    rows: list[dict[str, Any]] = [
        {
            "id": pair.number(number % SHARDS),
            "place": draw.choice([None, 1, 2]),
            "pieces": draw.choice([None, 2147483647, 1, -5]),
            "total": draw.choice([None, "9223372036854775807", "7", "-3"]),
            "price": draw.choice([None, "1.005", "2.5", "1000000.001"]),
            "exact": draw.choice([None, "0.1", "1", "123456789.123456789"]),
            "weight": draw.choice([None, 0.5, 2.25, -4.0]),
            "small": draw.choice([None, 0.5, 1.25]),
            "name": draw.choice([None, "a", "B", "b", "é"]),
            "folded": draw.choice([None, "x", "Y", "z"]),
            "state": draw.choice([None, "new", "paid", "sent"]),
            "at": draw.choice([None, "2026-01-01T00:00:00Z", "2025-06-01T12:00:00Z"]),
            "taken": draw.choice([None, "01:00:00", "2 days", "00:00:01"]),
            "tags": draw.choice([None, [], ["a"], ["a", "b"]]),
            "facts": draw.choice([None, {"a": 1}, "text", [1]]),
        }
        for number in range(60)
    ]
    pair.insert("agg_orders", *rows)
    return pair


def check(
    pair: Pair,
    table: str,
    aggregates: Mapping[str, Aggregate],
    *,
    where: tuple[Any, str] = ({}, "true"),
    having: tuple[Any, str] = ({}, "true"),
    group_by: tuple[str, ...] = (),
    limit: int = 0,
) -> list[dict[str, Any]]:
    """What both sides answer, which must be the same."""
    asked = pair.client.aggregate(table, aggregates, where=where[0], group_by=group_by, having=having[0], limit=limit)
    values = [*group_by, *(f"{_sql(one)} AS {name}" for name, one in aggregates.items())]
    by = f"GROUP BY {', '.join(group_by)}" if group_by else ""
    order = f"ORDER BY {', '.join(group_by)}" if group_by else ""
    limited = f"LIMIT {limit}" if limit else ""
    inner = f"SELECT {', '.join(values)} FROM {table} WHERE {where[1]} {by}"
    query = f"SELECT * FROM ({inner}) AS found WHERE {having[1]} {order} {limited}"
    cursor = pair.plain.connection.execute(
        f"SELECT row_to_json(found)::text FROM ({_shown(pair, query)}) AS found".encode()
    )
    expected = [crosskey.exact_json.decode(text) for (text,) in cursor.fetchall()]
    assert asked == expected, query
    return asked


def _sql(one: Aggregate) -> str:
    if isinstance(one, str):
        return "count(*)"
    function, column = one
    return f"count(DISTINCT {column})" if function == "count_distinct" else f"{function}({column})"


def _shown(pair: Pair, query: str) -> str:
    """The query with bigint and numeric as text, as clients get them."""
    cursor = pair.plain.connection.execute(f"SELECT * FROM ({query}) AS typed LIMIT 0".encode())
    kinds = {column.name: column.type_code for column in cursor.description or ()}
    shown = [f"{name}::text AS {name}" if kind in (20, 1700) else name for name, kind in kinds.items()]
    return f"SELECT {', '.join(shown)} FROM ({query}) AS plain"


@pytest.mark.parametrize("column", ORDERED)
def test_every_function_of_a_column(orders: Pair, column: str) -> None:
    functions = ["count", "min", "max", *(["sum", "avg"] if column in NUMBERS else [])]
    aggregates: dict[str, Aggregate] = {"n": "count", **{function: (function, column) for function in functions}}
    check(orders, "agg_orders", aggregates)
    for group in GROUPS:
        check(orders, "agg_orders", aggregates, group_by=(group,))
    check(orders, "agg_orders", aggregates, group_by=("place", "state"), limit=3)


@pytest.mark.parametrize("column", ["weight", "small"])
def test_floats_whose_sums_are_exact(orders: Pair, column: str) -> None:
    check(orders, "agg_orders", {name: (name, column) for name in FUNCTIONS}, group_by=("place",))


def test_conditions_and_having(orders: Pair) -> None:
    found = check(
        orders,
        "agg_orders",
        {"n": "count", "most": ("max", "total"), "mean": ("avg", "price")},
        where=(crosskey.any_of(crosskey.gt("pieces", 0), {"state": "new"}), "pieces > 0 OR state = 'new'"),
        having=([crosskey.ge("n", 2), crosskey.ne("mean", "0.5")], "n >= 2 AND mean <> 0.5"),
        group_by=("place", "name"),
    )
    assert found


def test_of_no_rows(orders: Pair) -> None:
    none = {name: (name, "amount") for name in FUNCTIONS}
    assert check(orders, "agg_empty", {"n": "count", **none}) == [
        {"n": "0", "count": "0", "sum": None, "avg": None, "min": None, "max": None}
    ]
    assert check(orders, "agg_empty", {"n": "count"}, group_by=("amount",)) == []


def test_of_a_reference_table_and_of_one_shard(orders: Pair) -> None:
    check(orders, "agg_regions", {"n": "count", "people": ("sum", "people"), "kinds": ("count_distinct", "people")})
    one = next(iter(orders.client.list("agg_orders", page_size=1)))["id"]
    check(orders, "agg_orders", {"n": ("count_distinct", "name")}, where=({"id": one}, f"id = {one}"))


def test_different_values(orders: Pair) -> None:
    check(orders, "agg_orders", {"ids": ("count_distinct", "id")}, group_by=("place",))
    check(orders, "agg_orders", {"names": ("count_distinct", "name")}, group_by=("id",))


@pytest.mark.parametrize("column", ORDERED)
def test_different_values_that_shards_share(orders: Pair, column: str) -> None:
    aggregates: dict[str, Aggregate] = {
        "different": ("count_distinct", column),
        "names": ("count_distinct", "name"),
        "n": "count",
        "named": ("count", "name"),
        "mean": ("avg", "pieces"),
        "total": ("sum", "price"),
        "least": ("min", column),
    }
    check(orders, "agg_orders", aggregates)
    check(orders, "agg_orders", aggregates, where=(crosskey.gt("pieces", 0), "pieces > 0"))
    for group in GROUPS:
        check(orders, "agg_orders", aggregates, group_by=(group,))
    check(orders, "agg_orders", aggregates, having=(crosskey.ge("names", 2), "names >= 2"), group_by=("place",))
    check(orders, "agg_empty", {"n": ("count_distinct", "amount")})


def test_a_value_that_is_no_number_is_refused(orders: Pair) -> None:
    with pytest.raises(crosskey.InvalidValue, match='invalid input syntax for type numeric: "x"'):
        orders.client.aggregate("agg_orders", {"n": ("sum", "total")}, having=crosskey.gt("n", "x"))


@pytest.mark.parametrize(
    ("aggregates", "options", "error", "why"),
    [
        ({}, {}, InvalidRequest, "there is nothing to answer"),
        ({"n": ("sum", "name")}, {}, InvalidRequest, 'column "name" is text, which has no sum'),
        ({"n": ("avg", "state")}, {}, InvalidRequest, 'column "state" is public.agg_state, which has no average'),
        ({"n": ("sum", "colour")}, {}, UnknownColumn, 'column "colour" does not exist'),
        ({"n": "count"}, {"group_by": "colour"}, UnknownColumn, 'column "colour" does not exist'),
        ({"n": "count"}, {"having": {"m": 1}}, UnknownColumn, 'column "m" does not exist'),
        ({"n": "count"}, {"order_by": "pieces"}, UnknownColumn, 'column "pieces" does not exist'),
        ({"place": "count"}, {"group_by": "place"}, InvalidRequest, 'the answer would have two columns "place"'),
        ({"n": "count"}, {"limit": -1}, InvalidRequest, "limit must not be negative"),
        ({"n": "count"}, {"having": crosskey.some("x")}, InvalidRequest, "for `where` only"),
    ],
)
def test_what_is_refused(
    orders: Pair, aggregates: Any, options: dict[str, Any], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        orders.client.aggregate("agg_orders", aggregates, **options)
