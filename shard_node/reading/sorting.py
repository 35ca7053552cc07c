"""The sorting of positions by PostgreSQL: the merge step of a list over several shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import msgspec
from psycopg import AsyncConnection, sql

from crosskey import errors
from crosskey.catalog.model import Table
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.sql_text.conditions import JSON_TYPES
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.keyset import ROW_PLACE, OrderColumn, Position, order_clause, order_columns
from crosskey.shard_node.sql_text.sql_names import table_identifier, typed_columns

_CACHED_SHAPES = 1024


async def sort(
    connection: AsyncConnection[Any], table: Table, request: reads_pb2.SortRequest
) -> reads_pb2.SortResponse:
    """The places of the positions in PostgreSQL's order, equal ones in the order of the request.

    ROW_PLACE, which can only come last, does not count: it means nothing beyond its shard. Raises UnknownColumn,
    InvalidRequest (nothing to sort by) and psycopg.Error.
    """
    order = tuple(one for one in order_columns(table, request.order_by) if one.name != ROW_PLACE)
    if not order:
        raise errors.InvalidRequest("there is no column to sort by", table=str(table.name))
    positions = msgspec.json.decode(request.cursors_json, type=list[list[str | None]])
    cursor = await connection.execute(_statement(table, order), [_objects_json(order, positions)])
    return reads_pb2.SortResponse(places=[place for (place,) in await cursor.fetchall()])


@lru_cache(maxsize=_CACHED_SHAPES)
def _statement(table: Table, order: tuple[OrderColumn, ...]) -> bytes:
    """Its one parameter is a JSON array of objects with the keys c0, c1 and so on."""
    # The empty half of the union lends the columns' collations to the other half, which has only those of the types.
    statement = sql.SQL(
        "SELECT place - 1 FROM (SELECT {columns}, NULL::bigint AS place FROM {table} AS lender WHERE FALSE"
        " UNION ALL SELECT given.* FROM ROWS FROM (json_to_recordset(%s) AS ({typed})) WITH ORDINALITY AS given"
        ") AS positions {order}, place"
    ).format(
        columns=sql.SQL(", ").join(
            sql.SQL("{} AS {}").format(identifier("lender", one.name), sql.Identifier(_alias(place)))
            for place, one in enumerate(order)
        ),
        table=table_identifier(table.name),
        typed=typed_columns(
            [
                msgspec.structs.replace(one.column, name=_alias(place))
                for place, one in enumerate(order)
                if one.column is not None
            ]
        ),
        order=order_clause([replace(one, name=_alias(place)) for place, one in enumerate(order)], "positions"),
    )
    return statement.as_bytes()


def _objects_json(order: Sequence[OrderColumn], positions: Sequence[Position]) -> str:
    objects = [
        {_alias(place): _json_of(one, value) for place, (one, value) in enumerate(zip(order, position, strict=False))}
        for position in positions
    ]
    return msgspec.json.encode(objects).decode()


def _json_of(one: OrderColumn, text: str | None) -> str | msgspec.Raw | None:
    """The value as JSON that PostgreSQL reads back as the same value; strings do for all types but JSON itself."""
    if text is not None and one.column is not None and one.column.base_type in JSON_TYPES:
        return msgspec.Raw(text.encode())
    return text


def _alias(place: int) -> str:
    return f"c{place}"
