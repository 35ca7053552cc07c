"""Reads of one shard: pages of rows, and counts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from psycopg import AsyncConnection, AsyncCursor, sql

from crosskey import errors
from crosskey.catalog.model import Table
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.reading.row_shapes import ALL_COLUMNS, RowShape, pins_in_doubt, row_shape
from crosskey.shard_node.schema.shard_schema import ShardSchema
from crosskey.shard_node.sql_text.hidden_rows import rows_of, where_read
from crosskey.shard_node.sql_text.keyset import (
    ROW_PLACE,
    OrderColumn,
    Position,
    after,
    order_clause,
    order_columns,
    position_expression,
)
from crosskey.shard_node.sql_text.sql_names import table_identifier
from crosskey.v1 import rows_pb2

MAX_PAGE_BYTES = 3 * 1024 * 1024
"""A page ends early once its rows' JSON is that large: gRPC takes 4 MiB by default."""

_ALIAS = "t"
_CACHED_SHAPES = 1024

# All rows up to the first that makes the page too large, that one included, and never fewer than two.
_BOUNDED_HEAD = sql.SQL(
    "SELECT row_json, row_position, row_beside FROM (SELECT row_json, row_position, row_beside,"
    " row_number() OVER page AS place,"
    " sum(octet_length(row_json)) OVER page - octet_length(row_json) AS bytes_before FROM ("
)
_BOUNDED_TAIL = sql.SQL(
    ") AS page_rows WINDOW page AS (ROWS UNBOUNDED PRECEDING)) AS measured_rows"
    " WHERE bytes_before <= {} OR place <= 2 ORDER BY place"
).format(sql.Literal(MAX_PAGE_BYTES))

_LOCKS: dict[int, sql.SQL] = {
    rows_pb2.ROW_LOCK_UNSPECIFIED: sql.SQL(""),
    rows_pb2.ROW_LOCK_FOR_UPDATE: sql.SQL(" FOR UPDATE OF {}"),
    rows_pb2.ROW_LOCK_FOR_NO_KEY_UPDATE: sql.SQL(" FOR NO KEY UPDATE OF {}"),
    rows_pb2.ROW_LOCK_FOR_SHARE: sql.SQL(" FOR SHARE OF {}"),
    rows_pb2.ROW_LOCK_FOR_KEY_SHARE: sql.SQL(" FOR KEY SHARE OF {}"),
}

Connection = AsyncConnection[Any]


async def read(
    connection: Connection, table: Table, request: reads_pb2.ReadRequest, schema: ShardSchema | None = None
) -> reads_pb2.ReadResponse:
    """A page of rows, and with an order the position of each.

    The page ends after `limit` rows or MAX_PAGE_BYTES, but has at least one row if there is one. `schema` is for what
    concerns foreign keys. Raises UnknownColumn, InvalidRequest, InvalidPageToken (a position that is not of this order)
    and psycopg.Error.
    """
    order = order_columns(table, request.order_by)
    shape = row_shape(table, request.shape, schema, as_text=request.as_text) if _is_shaped(request) else ALL_COLUMNS
    in_doubt = await pins_in_doubt(connection, shape.pins)
    statement, parameters = _page_statement(table, order, request, shape, schema)
    page = _page(await connection.execute(statement, parameters), request, has_beside=shape.has_beside)
    page.pins_in_doubt = in_doubt
    return page


def _is_shaped(request: reads_pb2.ReadRequest) -> bool:
    return request.as_text or request.HasField("shape")


async def count_rows(
    connection: Connection, table: Table, request: reads_pb2.CountRowsRequest, schema: ShardSchema | None = None
) -> reads_pb2.CountRowsResponse:
    """How many rows meet the conditions. Raises UnknownColumn, InvalidRequest and psycopg.Error."""
    where, parameters = where_read(table, request.where, _ALIAS, schema)
    statement = sql.SQL("SELECT count(*) FROM {} AS {} WHERE {}").format(rows_of(table), sql.Identifier(_ALIAS), where)
    cursor = await connection.execute(statement, parameters)
    ((count,),) = await cursor.fetchall()
    return reads_pb2.CountRowsResponse(count=count)


def _page_statement(
    table: Table,
    order: tuple[OrderColumn, ...],
    request: reads_pb2.ReadRequest,
    shape: RowShape = ALL_COLUMNS,
    schema: ShardSchema | None = None,
) -> tuple[bytes, list[object]]:
    where, parameters = where_read(table, request.where, _ALIAS, schema)
    if request.after_json:
        beyond, beyond_parameters = after(order, decoded_position(order, request.after_json), _ALIAS)
        where = sql.SQL("{} AND ({})").format(where, beyond)
        parameters = [*parameters, *beyond_parameters]
    head, tail = _page_frame(table, order, shape, request.lock)
    return head + where.as_bytes() + tail, [*parameters, str(_most_rows(request))]


def _most_rows(request: reads_pb2.ReadRequest) -> int:
    """One row more than asked for tells whether there are more; but it would be locked, too."""
    return request.limit if request.lock else request.limit + 1


@lru_cache(maxsize=_CACHED_SHAPES)
def _page_frame(table: Table, order: tuple[OrderColumn, ...], shape: RowShape, lock: int) -> tuple[bytes, bytes]:
    """The statement before and after its conditions; its rows are a row's JSON, its position's, and what is beside."""
    head = sql.SQL(
        "SELECT {row}::text AS row_json, {position}::text AS row_position, {beside}::text AS row_beside"
        " FROM {table} AS {alias} WHERE "
    )
    tail = sql.SQL(" {order} LIMIT %s{lock}").format(
        order=order_clause(order, _ALIAS), lock=_LOCKS[lock].format(sql.Identifier(_ALIAS))
    )
    rows = head.format(
        row=shape.row(table, _ALIAS),
        position=position_expression(order, _ALIAS),
        beside=shape.beside(_ALIAS) if shape.has_beside else sql.SQL("NULL"),
        table=_source(table, order),
        alias=sql.Identifier(_ALIAS),
    )
    if not order:
        return rows.as_bytes(), tail.as_bytes()
    return _BOUNDED_HEAD.as_bytes() + rows.as_bytes(), tail.as_bytes() + _BOUNDED_TAIL.as_bytes()


def _source(table: Table, order: Sequence[OrderColumn]) -> sql.Composable:
    """What the page is read from. Equal rows of a view without a key are numbered: they lie in no place."""
    if not table.is_view or all(one.column is not None for one in order):
        return rows_of(table)
    return sql.SQL(
        "(SELECT v.*, v::text || ' ' || row_number() OVER (PARTITION BY v::text) AS {place} FROM {view} AS v)"
    ).format(place=sql.Identifier(ROW_PLACE), view=table_identifier(table.name))


def _page(cursor: AsyncCursor[Any], request: reads_pb2.ReadRequest, *, has_beside: bool) -> reads_pb2.ReadResponse:
    found = cursor.rowcount
    rows = raw_column(cursor, 0)[: request.limit]
    if len(rows) > 1 and sum(map(len, rows)) > MAX_PAGE_BYTES:
        rows.pop()
    positions = raw_column(cursor, 1)[: len(rows)]
    beside = json_array(raw_column(cursor, 2)[: len(rows)]) if has_beside else b""
    # Behind a full page of locked rows nobody has looked.
    more = len(rows) < found or (found == request.limit and bool(request.lock))
    return reads_pb2.ReadResponse(
        rows_json=json_array(rows), cursors_json=json_array(positions), beside_json=beside, more=more
    )


def raw_column(cursor: AsyncCursor[Any], column: int) -> list[bytes]:
    """A column that is never NULL, as PostgreSQL sent it: text in UTF-8."""
    result = cursor.pgresult
    if result is None:
        return []
    return [result.get_value(row, column) or b"" for row in range(result.ntuples)]


def json_array(elements: Sequence[bytes]) -> bytes:
    """The JSON array of elements that are JSON."""
    return b"[" + b",".join(elements) + b"]"


def decoded_position(order: Sequence[OrderColumn], position_json: bytes) -> Position:
    """The position of a former answer. Raises InvalidPageToken if it is not of this order."""
    try:
        position = msgspec.json.decode(position_json, type=list[str | None])
    except msgspec.MsgspecError:
        position = []
    if not order or len(position) != len(order) or any(value and "\0" in value for value in position):
        raise errors.InvalidPageToken("the page token is not of this query")
    return position
