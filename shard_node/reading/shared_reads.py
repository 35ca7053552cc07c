"""Reads of single rows by their keys that one statement answers together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import psycopg
from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import Column, Table
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.reading.reader import json_array, raw_column
from crosskey.shard_node.reading.row_shapes import row_shape
from crosskey.shard_node.schema.shard import Shard
from crosskey.shard_node.sql_text.conditions import array_element, known_column
from crosskey.shard_node.sql_text.hidden_rows import rows_of
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.v1 import rows_pb2

_ALIAS = "t"
_GIVEN = "given"
_PLACE = "place"
_CACHED_SHAPES = 1024

_ARRAY_TYPES = {name: sql.SQL(f"pg_catalog.{name}[]") for name in ("int2", "int4", "int8", "text", "uuid", "varchar")}
"""Of types whose values compare, as elements of an array, just as one value compares with a column of the type."""


class KeyShape(NamedTuple):
    """What reads by key have in common that share a statement."""

    table: str
    columns: tuple[str, ...]
    as_text: bool
    row_shape: bytes
    """A serialised RowShape."""


def key_shape(request: reads_pb2.ReadRequest) -> KeyShape | None:
    """The shape of a read of one row by plain values of its key; None for any other read."""
    shape = request.shape
    if request.limit != 1 or request.order_by or request.after_json or shape.texts or shape.pins or not request.where:
        return None
    for condition in request.where:
        if condition.op != rows_pb2.Predicate.EQ or not condition.column or condition.value_json[:1] in _NOT_PLAIN:
            return None
    columns = tuple(condition.column for condition in request.where)
    return KeyShape(request.table, columns, request.as_text, shape.SerializeToString(deterministic=True))


_NOT_PLAIN = (b"", b"[", b"{", b"n")
"""How values begin that are lists, objects or null, or no values at all."""


class SharedReads:
    """Answers reads by key of one shape by one statement."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    async def read(
        self, shape: KeyShape, requests: Sequence[reads_pb2.ReadRequest]
    ) -> Sequence[reads_pb2.ReadResponse] | None:
        """A response for each request, as reader.read gives it but without cursors; None if each is to be read alone.

        It is so for keys of other types, and where anything fails. Raises what Database.borrow raises.
        """
        schema = self._shard.known_schema
        if schema is None:
            return None
        try:
            table = schema.table(shape.table)
            statement = _statement(table, shape)
            if statement is None:
                return None
            parameters = _parameters(table, shape, requests)
        except errors.CrosskeyError:
            return None
        async with self._shard.database.connection() as connection:
            try:
                cursor = await connection.execute(statement, parameters)
            except psycopg.Error:
                return None
            rows = [b"[]"] * len(requests)
            for place, row in zip(raw_column(cursor, 0), raw_column(cursor, 1), strict=True):
                rows[int(place) - 1] = json_array([row])
        return [reads_pb2.ReadResponse(rows_json=row) for row in rows]


def _parameters(table: Table, shape: KeyShape, requests: Sequence[reads_pb2.ReadRequest]) -> list[str]:
    """An array of values for each column of the key."""
    columns = [known_column(table, name) for name in shape.columns]
    return [
        "{" + ",".join(array_element(column, request.where[place].value_json) for request in requests) + "}"
        for place, column in enumerate(columns)
    ]


@lru_cache(maxsize=_CACHED_SHAPES)
def _statement(table: Table, shape: KeyShape) -> bytes | None:
    """It answers the place, from 1, and the row of each key that has one; None if there is none for these types.

    Each key is looked up for itself, as if it were read alone.
    """
    columns = [known_column(table, name) for name in shape.columns]
    if any(column.base_type not in _ARRAY_TYPES for column in columns):
        return None
    asked = row_shape(table, reads_pb2.RowShape.FromString(shape.row_shape), None, as_text=shape.as_text)
    names = [f"k{place}" for place in range(len(columns))]
    return (
        sql.SQL(
            "SELECT {given}.{place}::text, found.row_json"
            " FROM unnest({arrays}) WITH ORDINALITY AS {given}({names}, {place})"
            " CROSS JOIN LATERAL (SELECT {row}::text AS row_json FROM {table} AS {alias} WHERE {same} LIMIT 1) AS found"
        )
        .format(
            given=identifier(_GIVEN),
            place=identifier(_PLACE),
            arrays=sql.SQL(", ").join(sql.SQL("%s::{}").format(_ARRAY_TYPES[one.base_type]) for one in columns),
            names=sql.SQL(", ").join(map(identifier, names)),
            row=asked.row(table, _ALIAS),
            table=rows_of(table),
            alias=identifier(_ALIAS),
            same=_same(columns, names),
        )
        .as_bytes()
    )


def _same(columns: Sequence[Column], names: Sequence[str]) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(identifier(_ALIAS, column.name), identifier(_GIVEN, name))
        for column, name in zip(columns, names, strict=True)
    )
