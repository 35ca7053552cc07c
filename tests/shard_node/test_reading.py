"""Pages of one shard against PostgreSQL's own ORDER BY."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from crosskey import errors
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.reading import reader
from crosskey.shard_node.sql_text.keyset import order_columns
from crosskey.v1 import rows_pb2
from tests.shard_node.conftest import TestDatabase

Order = Sequence[tuple[str, bool]]
"""Column names, and whether each is descending."""

# Few values, so that they repeat; NULLs in two of three columns.
ITEMS = """
CREATE TABLE items (id int PRIMARY KEY, rank int, name text COLLATE "C", size numeric NOT NULL);
INSERT INTO items
    SELECT n, CASE WHEN n % 5 > 0 THEN n % 4 END, CASE WHEN n % 7 > 0 THEN chr(65 + n % 3) || chr(97 + n % 2) END, n % 6
    FROM generate_series(1, 120) AS n;
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def items(database: TestDatabase) -> TestDatabase:
    await database.run(ITEMS)
    return database


def request_for(name: str, order: Order, limit: int, after: list[str | None] | None) -> reads_pb2.ReadRequest:
    return reads_pb2.ReadRequest(
        table=f"public.{name}",
        order_by=[reads_pb2.Order(column=column, descending=descending) for column, descending in order],
        limit=limit,
        after_json=b"" if after is None else msgspec.json.encode(after),
    )


async def all_pages(database: TestDatabase, name: str, order: Order, limit: int) -> list[list[dict[str, Any]]]:
    table = await database.table(name)
    pages = []
    after = None
    while True:
        page = await reader.read(database.connection, table, request_for(name, order, limit, after))
        pages.append(json.loads(page.rows_json))
        positions = json.loads(page.cursors_json)
        assert len(positions) == len(pages[-1])
        if not page.more:
            return pages
        after = positions[-1]


async def in_postgresql_order(database: TestDatabase, name: str, order: Order, column: str = "id") -> list[Any]:
    clause = ", ".join(f'"{one}" {"DESC" if descending else "ASC"}' for one, descending in order)
    statement = f'SELECT "{column}" FROM "{name}" ORDER BY {clause}'.encode()
    return [value for (value,) in await (await database.connection.execute(statement)).fetchall()]


@pytest.mark.parametrize("directions", list(itertools.product([False, True], repeat=3)))
@pytest.mark.parametrize("columns", [("rank", "name"), ("name", "size"), ("size", "rank"), ("size", "size")])
async def test_pages_go_on_where_the_last_one_ended(
    items: TestDatabase, columns: tuple[str, str], directions: tuple[bool, ...]
) -> None:
    order = list(zip((*dict.fromkeys(columns), "id"), directions, strict=False))
    if order[-1][0] != "id":
        order.append(("id", directions[-1]))
    pages = await all_pages(items, "items", order, limit=7)
    assert {len(page) for page in pages[:-1]} == {7}
    assert [row["id"] for page in pages for row in page] == await in_postgresql_order(items, "items", order)


async def test_the_last_full_page_knows_that_it_is_the_last(items: TestDatabase) -> None:
    assert [len(page) for page in await all_pages(items, "items", [("id", False)], limit=60)] == [60, 60]


async def test_text_is_ordered_by_its_column_collation(database: TestDatabase) -> None:
    await database.create_collation("german")
    await database.run(
        "CREATE TABLE words (word text COLLATE german NOT NULL, plain text NOT NULL, id int PRIMARY KEY)",
        "INSERT INTO words SELECT w, w, row_number() OVER () FROM unnest("
        "'{zebra,Zebra,äpfel,Apfel,apfel,öl,Ol,ß,ss,10,9,\"\",日本,a b,ab}'::text[]) AS w",
    )
    for column in ("word", "plain"):
        order = [(column, False), ("id", False)]
        pages = await all_pages(database, "words", order, limit=2)
        assert [row["id"] for page in pages for row in page] == await in_postgresql_order(database, "words", order)


async def test_a_table_without_a_key_is_paged_by_the_place_of_its_rows(database: TestDatabase) -> None:
    await database.run("CREATE TABLE log (line text)", "INSERT INTO log SELECT n % 3 FROM generate_series(1, 50) AS n")
    for order in ([("ctid", False)], [("line", True), ("ctid", True)], [("line", True), ("ctid", False)]):
        pages = await all_pages(database, "log", order, limit=7)
        expected = await in_postgresql_order(database, "log", order, column="line")
        assert [row["line"] for page in pages for row in page] == expected


async def test_odd_names_of_tables_and_columns(database: TestDatabase) -> None:
    await database.run(
        'CREATE TABLE "Odd %s" ("t" int, "row_json" text, "a ""%s" int PRIMARY KEY)',
        """INSERT INTO "Odd %s" SELECT n % 2, 'x', n FROM generate_series(1, 9) AS n""",
    )
    pages = await all_pages(database, "Odd %s", [("t", True), ("row_json", False), ('a "%s', True)], limit=2)
    assert [row['a "%s'] for page in pages for row in page] == [9, 7, 5, 3, 1, 8, 6, 4, 2]


async def test_every_type_of_order_column_comes_back_as_it_was(database: TestDatabase) -> None:
    await database.run(
        "CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad')",
        "CREATE TABLE typed (id int PRIMARY KEY, at timestamptz, mood mood, doc jsonb, tags text[], weight float8,"
        " fixed char(4), raw bytea, lasts interval)",
        "INSERT INTO typed SELECT n, timestamptz '2020-01-01' + n * interval '0.000001 s',"
        " (enum_range(NULL::mood))[1 + n % 3], jsonb_build_object('n', n), ARRAY['a', n::text], n / 3.0, n,"
        " n::text::bytea, n * interval '7 hours' FROM generate_series(1, 30) AS n",
    )
    for column in ("at", "mood", "doc", "tags", "weight", "fixed", "raw", "lasts"):
        order = [(column, True), ("id", False)]
        pages = await all_pages(database, "typed", order, limit=4)
        assert [row["id"] for page in pages for row in page] == await in_postgresql_order(database, "typed", order)


async def test_a_page_of_large_rows_ends_early(database: TestDatabase) -> None:
    await database.run(
        "CREATE TABLE large (id int PRIMARY KEY, body text)",
        "INSERT INTO large SELECT n, repeat('x', 1 << 20) FROM generate_series(1, 7) AS n",
        f"INSERT INTO large VALUES (8, repeat('x', {reader.MAX_PAGE_BYTES})), (9, 'small')",
        "INSERT INTO large VALUES (10, repeat('x', 4000000))",
    )
    pages = await all_pages(database, "large", [("id", False)], limit=100)
    assert [[row["id"] for row in page] for page in pages] == [[1, 2], [3, 4], [5, 6], [7], [8], [9], [10]]


async def test_conditions_and_position_hold_together(items: TestDatabase) -> None:
    table = await items.table("items")
    request = request_for("items", [("rank", False), ("id", False)], 100, ["2", "50"])
    request.where.add(column="size", op=rows_pb2.Predicate.EQ, value_json=b'"2"')
    page = await reader.read(items.connection, table, request)
    cursor = await items.connection.execute(
        "SELECT id FROM items WHERE size = 2 AND (rank > 2 OR rank IS NULL OR (rank = 2 AND id > 50)) ORDER BY rank, id"
    )
    assert [row["id"] for row in json.loads(page.rows_json)] == [
        identifier for (identifier,) in await cursor.fetchall()
    ]


async def test_an_index_on_the_order_serves_a_later_page(items: TestDatabase) -> None:
    await items.run("CREATE INDEX ON items (size, id)", "ANALYZE items", "SET enable_seqscan = off")
    table = await items.table("items")
    for descending in (False, True):
        order = [("size", descending), ("id", descending)]
        request = request_for("items", order, 3, ["3", "60"])
        statement, parameters = reader._page_statement(table, order_columns(table, request.order_by), request)
        plan = await (await items.connection.execute(b"EXPLAIN " + statement, parameters)).fetchall()
        assert "Index Cond: (ROW(size, id)" in str(plan)
    await items.run("RESET enable_seqscan")


async def test_without_an_order_there_are_rows_but_no_positions(items: TestDatabase) -> None:
    request = request_for("items", [], 1, None)
    request.where.add(column="id", value_json=b"7")
    page = await reader.read(items.connection, await items.table("items"), request)
    assert [row["id"] for row in json.loads(page.rows_json)] == [7]
    assert not page.more


@pytest.mark.parametrize("after_json", [b"{}", b"[1,2]", b'["1"]', b'["1","2","3"]', b'["a\\u0000","1"]', b"junk"])
async def test_a_position_of_another_order_is_refused(items: TestDatabase, after_json: bytes) -> None:
    request = request_for("items", [("rank", False), ("id", False)], 1, None)
    request.after_json = after_json
    with pytest.raises(errors.InvalidPageToken):
        await reader.read(items.connection, await items.table("items"), request)


async def test_an_unknown_order_column(items: TestDatabase) -> None:
    with pytest.raises(errors.UnknownColumn, match='column "colour" does not exist'):
        await reader.read(
            items.connection, await items.table("items"), request_for("items", [("colour", False)], 1, None)
        )


async def test_counting(items: TestDatabase) -> None:
    table = await items.table("items")
    assert (await reader.count_rows(items.connection, table, reads_pb2.CountRowsRequest())).count == 120
    request = reads_pb2.CountRowsRequest()
    request.where.add(column="rank", op=rows_pb2.Predicate.IS_NULL)
    assert (await reader.count_rows(items.connection, table, request)).count == 24
