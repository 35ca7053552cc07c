"""What tables hold, as PostgreSQL prints it, to be compared between databases."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

import psycopg
from psycopg import sql

from tests.oracle.plain import PlainTable

Contents = dict[str, Counter[str]]
"""The rows of each table by its API name, each as often as it is there."""


def read_contents(connection: psycopg.Connection[Any], tables: Iterable[PlainTable]) -> Contents:
    """Reads all rows of the tables in one statement."""
    tables = tuple(tables)
    contents: Contents = {table.api_name: Counter() for table in tables}
    # Prepared, as the differential tester asks the same after each of its operations.
    for name, row in connection.execute(_query(tuple(map(_names, tables))), prepare=True):
        contents[name][row] += 1
    return contents


def differences(expected: Contents, by_shard: list[Contents], tables: Iterable[PlainTable]) -> list[str]:
    """What differs between a plain database and the shards of a cluster, a line for each row.

    A reference table must be on every shard as it is on the plain side; of another, the shards together must be.
    """
    found = []
    for table in tables:
        name = table.api_name
        shards = [contents[name] for contents in by_shard]
        for actual in shards if table.is_reference else [sum(shards, Counter())]:
            found += [f"{name}: only in PostgreSQL: {row}" for row in (expected[name] - actual).elements()]
            found += [f"{name}: only in Crosskey: {row}" for row in (actual - expected[name]).elements()]
    return found


def _names(table: PlainTable) -> tuple[str, str, str]:
    return table.api_name, table.schema, table.name


@cache
def _query(tables: tuple[tuple[str, str, str], ...]) -> bytes:
    each = (
        sql.SQL("SELECT {}, (t.*)::text FROM {} t").format(sql.Literal(api_name), sql.Identifier(schema, name))
        for api_name, schema, name in tables
    )
    return sql.SQL(" UNION ALL ").join(each).as_string().encode()
