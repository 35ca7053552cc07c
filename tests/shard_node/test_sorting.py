"""Positions of several shards sorted as PostgreSQL would have sorted the rows."""

from __future__ import annotations

import random

import msgspec
import pytest
import pytest_asyncio

from crosskey import errors
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.reading.sorting import sort
from tests.shard_node.conftest import TestDatabase


async def sorted_ids(database: TestDatabase, table_name: str, *order: tuple[str, bool]) -> list[str | None]:
    """The last value of each position, in the order that `sort` answers, from a shuffled request."""
    columns = ", ".join(f'"{column}"::text' for column, _ in order)
    cursor = await database.connection.execute(f'SELECT {columns} FROM "{table_name}"'.encode())
    positions = [list(row) for row in await cursor.fetchall()]
    random.Random(7).shuffle(positions)
    request = reads_pb2.SortRequest(
        order_by=[reads_pb2.Order(column=column, descending=descending) for column, descending in order],
        cursors_json=msgspec.json.encode(positions),
    )
    response = await sort(database.connection, await database.table(table_name), request)
    return [positions[place][-1] for place in response.places]


WORDS = "unnest('{zebra,Zebra,äpfel,Apfel,apfel,öl,Ol,ß,ss,10,9,\"\"}'::text[]) WITH ORDINALITY AS words(w, n)"

SAMPLES = f"""
CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad');
CREATE DOMAIN present AS int NOT NULL;
CREATE TABLE samples (
    id int PRIMARY KEY, word varchar(20), price numeric(12,3), at timestamptz, doc jsonb, tags text[], mood mood,
    fixed char(7), span int4range, never_null present DEFAULT 1
);
INSERT INTO samples
    SELECT n, w, n * 7 % 11, timestamptz '2020-01-01' + n * 5 % 7 * interval '1 day',
        jsonb_build_object('a', n * 3 % 5), ARRAY[w, 'x"'], (enum_range(NULL::mood))[1 + n % 3], w,
        int4range(n::int % 3, 9)
    FROM {WORDS};
INSERT INTO samples (id) VALUES (100), (101);
"""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def samples(database: TestDatabase) -> TestDatabase:
    await database.run(SAMPLES)
    return database


async def ids_in_order(database: TestDatabase, table_name: str, column: str, descending: bool) -> list[str]:
    direction = "DESC" if descending else "ASC"
    statement = f'SELECT id FROM "{table_name}" ORDER BY "{column}" {direction}, id'.encode()
    return [str(identifier) for (identifier,) in await (await database.connection.execute(statement)).fetchall()]


@pytest.mark.parametrize("column", ["word", "price", "at", "doc", "tags", "mood", "fixed", "span"])
@pytest.mark.parametrize("descending", [False, True])
async def test_every_type_is_sorted_with_its_own_comparison(
    samples: TestDatabase, column: str, descending: bool
) -> None:
    expected = await ids_in_order(samples, "samples", column, descending)
    assert await sorted_ids(samples, "samples", (column, descending), ("id", False)) == expected


async def test_text_is_sorted_by_its_column_collation(database: TestDatabase) -> None:
    await database.create_collation("german")
    await database.run(
        "CREATE TABLE german_words (id int PRIMARY KEY, word text COLLATE german)",
        f"INSERT INTO german_words SELECT n, w FROM {WORDS}",
    )
    expected = await ids_in_order(database, "german_words", "word", descending=False)
    assert await sorted_ids(database, "german_words", ("word", False), ("id", False)) == expected


async def test_the_place_of_rows_does_not_count(database: TestDatabase) -> None:
    await database.run("CREATE TABLE lines (line text)")
    request = reads_pb2.SortRequest(
        order_by=[reads_pb2.Order(column="line"), reads_pb2.Order(column="ctid")],
        cursors_json=b'[["b","(0,1)"],["a","(0,9)"],["b","(0,0)"],[null,"(0,1)"],["a","(0,1)"]]',
    )
    response = await sort(database.connection, await database.table("lines"), request)
    assert list(response.places) == [1, 4, 0, 2, 3]


async def test_there_must_be_something_to_sort_by(database: TestDatabase) -> None:
    await database.run("CREATE TABLE empty (line text)")
    request = reads_pb2.SortRequest(order_by=[reads_pb2.Order(column="ctid")], cursors_json=b"[]")
    with pytest.raises(errors.InvalidRequest):
        await sort(database.connection, await database.table("empty"), request)
