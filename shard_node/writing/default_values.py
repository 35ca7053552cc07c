"""Values of defaults for rows that are yet to be placed: numbers of sequences, and whatever else a default computes."""

from __future__ import annotations

from functools import lru_cache

from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import Column, Table, TableName
from crosskey.internal.v1 import generated_values_pb2 as proto
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.sql_text.row_json import EXACT_TYPES
from crosskey.shard_node.sql_text.sql_names import column_reference

_DRAW = b"SELECT crosskey.draw_numbers(format('%%I.%%I', %s::text, %s::text)::regclass, %s, %s)"


async def draw_numbers(
    connection: Connection, sequence: TableName, request: proto.DrawNumbersRequest
) -> proto.DrawNumbersResponse:
    """The next numbers of a sequence, given for good. Raises psycopg.Error."""
    cursor = await connection.execute(_DRAW, (sequence.schema, sequence.name, request.needed, request.wanted))
    [(numbers,)] = await cursor.fetchall()
    return proto.DrawNumbersResponse(numbers=numbers)


async def compute_defaults(
    connection: Connection, table: Table, request: proto.ComputeDefaultsRequest
) -> proto.ComputeDefaultsResponse:
    """The columns' defaults for a number of rows, in one statement. Raises InvalidRequest and psycopg.Error."""
    cursor = await connection.execute(_defaults_text(table, tuple(request.columns)), (request.count,))
    [(rows, _)] = await cursor.fetchall()
    return proto.ComputeDefaultsResponse(rows_json=rows.encode())


@lru_cache
def _defaults_text(table: Table, columns: tuple[str, ...]) -> bytes:
    defaults = sql.SQL(", ").join(_default(table, name) for name in columns)
    return (
        sql.SQL(
            "SELECT json_agg(made)::text, crosskey.keep_numbers()"
            " FROM (SELECT {defaults} FROM generate_series(1, %s)) AS made"
        )
        .format(defaults=defaults)
        .as_bytes()
    )


def _default(table: Table, name: str) -> sql.Composed:
    column = table.column(name)
    if column is None or column.default is None:
        raise errors.InvalidRequest(f'column "{name}" of "{table.name}" has no default', table=str(table.name))
    return sql.SQL("{} AS {}").format(_shown(column, column.default), column_reference(name))


def _shown(column: Column, default: str) -> sql.Composed:
    """The default as it is shown in JSON. It is PostgreSQL's own spelling of it, with every name qualified."""
    exact = sql.SQL("::text" if column.base_type in EXACT_TYPES else "")
    return sql.SQL("({}){}").format(sql.SQL(default.replace("%", "%%")), exact)
