"""Which events of a batch a watcher wants: by their tables, and by conditions on rows, which PostgreSQL compares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import Column, Table
from crosskey.internal.v1 import events_pb2, reads_pb2
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.sql_text.conditions import where_clause
from crosskey.shard_node.sql_text.sql_names import typed_columns
from crosskey.v1.router_pb2 import Event

_ROW = "watched"


class _Image(msgspec.Struct, frozen=True):
    """A row before or after a change, and the place of its event in the batch."""

    place: int
    image: msgspec.Raw


async def wanted_events(
    connection: Connection, table: Table, watched: events_pb2.WatchedTable, events: Sequence[Event]
) -> set[int]:
    """The places of the table's events of which the row before or after meets the conditions.

    Raises UnknownColumn, InvalidRequest, InvalidValue and psycopg.Error, also if there are no events.
    """
    name = str(table.name)
    places = [place for place, event in enumerate(events) if event.table == name]
    if not watched.where:
        return set(places)
    images = [
        _Image(place, msgspec.Raw(image.encode()))
        for place in places
        for image in (events[place].before_json, events[place].after_json)
        if image
    ]
    text, parameters = _comparison(table, watched.where)
    cursor = await connection.execute(text, [msgspec.json.encode(images).decode(), *parameters])
    return {place for (place,) in await cursor.fetchall()}


def _comparison(table: Table, conditions: Sequence[reads_pb2.Condition]) -> tuple[sql.Composed, list[object]]:
    """Of images, the places of those that meet the conditions. The first parameter has the images."""
    where, parameters = where_clause(table, conditions, _ROW)
    # A condition may have no column of its own; a row needs one.
    columns = list(_columns(table, conditions)) or [table.columns[0]]
    text = sql.SQL(
        "SELECT DISTINCT given.place FROM json_to_recordset(%s) AS given(place integer, image json)"
        " CROSS JOIN LATERAL json_to_record(given.image) AS {row}({columns}) WHERE {where}"
    ).format(row=sql.Identifier(_ROW), columns=typed_columns(columns), where=where)
    return text, parameters


def _columns(table: Table, conditions: Sequence[reads_pb2.Condition]) -> Iterator[Column]:
    """The columns that the conditions compare, each once."""
    names = set(_names(conditions))
    return (column for column in table.columns if column.name in names)


def _names(conditions: Sequence[reads_pb2.Condition]) -> Iterator[str]:
    for condition in conditions:
        if condition.HasField("linked"):
            raise errors.InvalidRequest("events are not told by relations")
        if condition.HasField("joined"):
            yield from _names(condition.joined.conditions)
        else:
            yield from (condition.column, condition.other_column)
