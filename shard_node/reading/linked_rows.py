"""The rows at one end of a foreign key for many rows at its other end, and keys of rows, by one statement each."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, AsyncCursor, sql

from crosskey import errors
from crosskey.catalog.model import Table
from crosskey.catalog.plan import ReferencedKey
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.guards.pin_places import PIN_SHARD
from crosskey.shard_node.reading.reader import decoded_position, json_array, raw_column
from crosskey.shard_node.reading.row_shapes import RowShape, pins_in_doubt, row_shape
from crosskey.shard_node.schema.shard_schema import ShardSchema
from crosskey.shard_node.sql_text.conditions import Fragment, known_column
from crosskey.shard_node.sql_text.hidden_rows import match_read, rows_of, where_read
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_columns import same_key
from crosskey.shard_node.sql_text.key_ends import GIVEN, KeyEnd, given_keys, keys_json
from crosskey.shard_node.sql_text.keyset import OrderColumn, after, order_clause, order_columns, position_expression
from crosskey.shard_node.sql_text.sql_names import table_identifier

MAX_ROWS = 20_000
"""How many rows one call answers at most. A row takes some 300 bytes of Python's memory, however small it is."""

MAX_BYTES = 12 * 1024 * 1024
"""How much JSON they have at most: more than a router lets one answer include."""

_ALIAS = "t"
_PLACE = sql.Identifier(GIVEN, "place")

Connection = AsyncConnection[Any]


async def read_linked(
    connection: Connection, table: Table, request: reads_pb2.ReadLinkedRequest, schema: ShardSchema
) -> reads_pb2.ReadLinkedResponse:
    """The rows of each key, those of the first key first, in order.

    Raises AnswerTooLarge, UnknownColumn, InvalidRequest, InvalidPageToken and psycopg.Error.
    """
    end = schema.key_end(request.end)
    shape = row_shape(table, request.shape, schema, as_text=request.as_text)
    response = reads_pb2.ReadLinkedResponse(pins_in_doubt=await pins_in_doubt(connection, shape.pins))
    where = where_read(table, request.where, _ALIAS, schema)
    if not request.no_rows:
        statement, parameters = _rows_statement(end, table, request, shape, where)
        _fill(response, await connection.execute(statement, parameters), has_beside=shape.has_beside)
    if request.count:
        parameters = [*where[1], request.keys_json.decode()]
        cursor = await connection.execute(_count_statement(end, table, where[0]), parameters)
        response.counts.extend(count for (count,) in await cursor.fetchall())
    return response


async def read_keys(
    connection: Connection, table: Table, request: reads_pb2.ReadKeysRequest, schema: ShardSchema
) -> reads_pb2.ReadKeysResponse:
    """The keys of the rows that meet the conditions. Raises UnknownColumn, InvalidRequest and psycopg.Error."""
    columns = [known_column(table, name) for name in request.columns]
    where, parameters = where_read(table, request.where, _ALIAS, schema)
    present = [sql.SQL("num_nulls({}) = 0").format(identifier(_ALIAS, column.name)) for column in columns]
    statement = sql.SQL(
        "SELECT DISTINCT {key}::text AS key FROM {table} AS {alias} WHERE {where} AND {present} LIMIT %s"
    ).format(
        key=keys_json(columns, _ALIAS),
        table=rows_of(table),
        alias=sql.Identifier(_ALIAS),
        where=where,
        present=sql.SQL(" AND ").join(present),
    )
    cursor = await connection.execute(statement, [*parameters, str(request.limit)])
    return reads_pb2.ReadKeysResponse(keys_json=json_array(raw_column(cursor, 0)))


async def find_pins(
    connection: Connection, referenced: ReferencedKey, keys: bytes, table: Table
) -> reads_pb2.FindPinsResponse:
    """Which shards hold pins on each of the keys, on the shard with the claims for them. Raises psycopg.Error."""
    columns = [known_column(table, name) for name in referenced.columns]
    in_doubt = await pins_in_doubt(connection, [referenced])
    statement = sql.SQL(
        "SELECT (SELECT coalesce(json_agg(DISTINCT pin.{shard}), '[]'::json) FROM {pins} AS pin WHERE {same})::text"
        " FROM {given} ORDER BY {place}"
    ).format(
        shard=identifier(PIN_SHARD),
        pins=table_identifier(referenced.pin),
        same=same_key(referenced, "pin", GIVEN, [f"k{number}" for number in range(len(columns))]),
        given=given_keys(columns),
        place=_PLACE,
    )
    cursor = await connection.execute(statement, [keys.decode()])
    return reads_pb2.FindPinsResponse(shards_json=json_array(raw_column(cursor, 0)), pins_in_doubt=in_doubt)


def _rows_statement(
    end: KeyEnd, table: Table, request: reads_pb2.ReadLinkedRequest, shape: RowShape, where: Fragment
) -> tuple[sql.Composed, list[object]]:
    """A LATERAL query for each key; at the parent's end the rows are there whether or not they meet the conditions."""
    order = order_columns(table, request.order_by)
    condition, parameters = _beyond(order, where, request.after_json)
    row: sql.Composable = shape.row(table, _ALIAS)
    if end.at_parent:
        row = sql.SQL("CASE WHEN {} THEN {} ELSE 'null'::json END").format(condition, row)
    # No order at the end: for each key in turn, the inner query is run in its own order, which a sort would not keep.
    statement = sql.SQL(
        "SELECT place, row_json, row_position, row_beside FROM (SELECT *, sum(octet_length(row_json))"
        " OVER (ROWS UNBOUNDED PRECEDING) - octet_length(row_json) AS bytes_before FROM"
        " (SELECT {place} AS place, found.* FROM {given} CROSS JOIN LATERAL"
        " (SELECT {row}::text AS row_json, {position}::text AS row_position, {beside}::text AS row_beside"
        " FROM {table} AS {alias} WHERE {match}{where} {order} LIMIT %s) AS found LIMIT {most}) AS found_rows"
        ") AS measured WHERE bytes_before <= {bytes}"
    ).format(
        place=_PLACE,
        given=end.given(),
        row=row,
        position=_position(order),
        beside=shape.beside(_ALIAS) if shape.has_beside else sql.SQL("NULL"),
        table=rows_of(table),
        alias=sql.Identifier(_ALIAS),
        match=match_read(table, end.match(_ALIAS), _ALIAS),
        where=sql.SQL("") if end.at_parent else sql.SQL(" AND {}").format(condition),
        order=order_clause(order, _ALIAS),
        most=sql.Literal(MAX_ROWS + 1),
        bytes=sql.Literal(MAX_BYTES),
    )
    return statement, [request.keys_json.decode(), *parameters, str(request.limit)]


def _position(order: tuple[OrderColumn, ...]) -> sql.Composable:
    return position_expression(order, _ALIAS) if order else sql.SQL("NULL")


def _beyond(order: tuple[OrderColumn, ...], where: Fragment, after_json: bytes) -> Fragment:
    """The conditions, and that a row lies after the position."""
    if not after_json:
        return where
    beyond, parameters = after(order, decoded_position(order, after_json), _ALIAS)
    return sql.SQL("{} AND ({})").format(where[0], beyond), [*where[1], *parameters]


def _count_statement(end: KeyEnd, table: Table, where: sql.Composable) -> sql.Composed:
    return sql.SQL(
        "SELECT (SELECT count(*) FROM {table} AS {alias} WHERE {match} AND {where}) FROM {given} ORDER BY {place}"
    ).format(
        table=rows_of(table),
        alias=sql.Identifier(_ALIAS),
        match=match_read(table, end.match(_ALIAS), _ALIAS),
        where=where,
        given=end.given(),
        place=_PLACE,
    )


def _fill(response: reads_pb2.ReadLinkedResponse, cursor: AsyncCursor[Any], *, has_beside: bool) -> None:
    rows = raw_column(cursor, 1)
    if len(rows) > MAX_ROWS or sum(map(len, rows)) > MAX_BYTES:
        raise errors.AnswerTooLarge(
            f"the included rows are more than {MAX_ROWS}, or have more than {MAX_BYTES >> 20} MiB",
            hint="Give the include a smaller limit or fewer columns, or list fewer rows at a time.",
        )
    response.places.extend(int(place) - 1 for place in raw_column(cursor, 0))
    response.rows_json = json_array(rows)
    if rows and cursor.pgresult is not None and cursor.pgresult.get_value(0, 2) is not None:
        response.cursors_json = json_array(raw_column(cursor, 2))
    if has_beside:
        response.beside_json = json_array(raw_column(cursor, 3))
