"""Rows as JSON: exact numbers as text, everything else as PostgreSQL's own to_json has it; and verbatim."""

from __future__ import annotations

import json
from typing import Any

from psycopg import sql

from crosskey.shard_node.sql_text.row_json import given_values, json_columns, row_expression, verbatim_expression
from crosskey.shard_node.sql_text.sql_names import column_list, table_identifier
from tests.shard_node.conftest import TestDatabase


async def shown(database: TestDatabase, name: str) -> list[dict[str, Any]]:
    table = await database.table(name)
    statement = sql.SQL("SELECT json_agg({})::text FROM {} AS t").format(
        row_expression(table, "t"), table_identifier(table.name)
    )
    ((text,),) = await (await database.connection.execute(statement, ())).fetchall()
    rows: list[dict[str, Any]] = json.loads(text)
    return rows


async def test_bigint_and_numeric_are_text_wherever_they_are(database: TestDatabase) -> None:
    await database.run(
        "CREATE DOMAIN big AS bigint",
        "CREATE TABLE exact (a bigint, b numeric, c bigint[], d numeric[], e big, f int, g float8)",
        "INSERT INTO exact VALUES (9007199254740993, 1.50, '{1,NULL}', '{{1,2.0},{3,4}}', 7, 8, 0.5)",
        "INSERT INTO exact DEFAULT VALUES",
    )
    full, empty = await shown(database, "exact")
    assert full == {
        "a": "9007199254740993",
        "b": "1.50",
        "c": ["1", None],
        "d": [["1", "2.0"], ["3", "4"]],
        "e": "7",
        "f": 8,
        "g": 0.5,
    }
    assert list(empty) == list("abcdefg")
    assert set(empty.values()) == {None}


async def test_other_types_are_as_postgresql_has_them(database: TestDatabase) -> None:
    await database.run(
        "CREATE TABLE plain (at timestamptz, raw bytea, doc jsonb, tags text[], span int4range, flag boolean)",
        """INSERT INTO plain VALUES ('2020-01-01', '\\x00ff', '{"a": [1, null]}', '{"x y"}', '[1,5)', true)""",
    )
    assert await shown(database, "plain") == [
        {
            "at": "2020-01-01T00:00:00+00:00",
            "raw": "\\x00ff",
            "doc": {"a": [1, None]},
            "tags": ["x y"],
            "span": "[1,5)",
            "flag": True,
        }
    ]


async def test_odd_names(database: TestDatabase) -> None:
    await database.run(
        'CREATE TABLE "odd %s" (t bigint, "row" int, row_ int, "a ""b"" %s" int, "Ünï" text)',
        """INSERT INTO "odd %s" VALUES (1, 2, 3, 4, 'ü')""",
    )
    assert await shown(database, "odd %s") == [{"t": "1", "row": 2, "row_": 3, 'a "b" %s': 4, "Ünï": "ü"}]


async def test_many_columns(database: TestDatabase) -> None:
    names = [f"c{number}" for number in range(300)]
    await database.run(f"CREATE TABLE wide ({', '.join(f'{name} bigint DEFAULT 5' for name in names)})")
    await database.run("INSERT INTO wide DEFAULT VALUES")
    assert await shown(database, "wide") == [dict.fromkeys(names, "5")]


async def test_a_verbatim_row_comes_back_byte_by_byte(database: TestDatabase) -> None:
    await database.run(
        'CREATE TYPE "inner %s" AS (doc jsonb, tags text[], code char(3))',
        "CREATE DOMAIN document AS jsonb CHECK (VALUE IS NOT NULL)",
        'CREATE DOMAIN pair AS "inner %s"',
        """CREATE TABLE kept (
            doc jsonb, "none %s" jsonb, plain json, checked document, docs jsonb[], numbers int[], one "inner %s",
            hollow pair, many "inner %s"[], padded char(5), spaced bpchar, cut varchar(4), single real, double float8,
            doubles float8[], took interval, flag boolean, letter "char", host inet, span int4range, vector int2vector,
            exact numeric, raw bytea, tree tsvector, twice int GENERATED ALWAYS AS (cardinality(numbers)) STORED
        )""",
        r"""INSERT INTO kept VALUES (
            'null', NULL, '{"b":  1, "b": 2}', 'null', '{"null",NULL,"\"x\""}', '[0:1]={1,NULL}', '(null,"[2:2]={a}",)',
            '(,,)', ARRAY[('"x"', NULL, 'x')::"inner %s", NULL], 'a', 'b  ', 'c  ', 1e-40, 0.30000000000000004,
            '{NaN,-0,-Infinity}', '1 year -1 day', true, '\', '10.0.0.1/8', '[1,3]', '1 2', 1.50, '\x00ff5c', 'a:1A'
        )""",
    )
    table = await database.table("kept")
    given = [column for column in table.columns if not column.generated]
    read = sql.SQL("SELECT json_agg({})::text FROM kept").format(verbatim_expression(table, "kept"))
    ((rows,),) = await (await database.connection.execute(read, ())).fetchall()
    assert set(json.loads(rows)[0]) == {column.name for column in given}
    compare = sql.SQL("SELECT record_image_eq(ROW({}), ROW(again.*)) FROM kept, ({}) AS again").format(
        column_list([column.name for column in given], alias="kept"), given_values(given, json_columns(given))
    )
    assert await (await database.connection.execute(compare, (rows,))).fetchall() == [(True,)]
