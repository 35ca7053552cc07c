"""Triggers that write an event for each change of a row into the outbox, `crosskey.event`, in the change's transaction.

An event's position is drawn while its row is locked: of two changes of a row, the later one has the larger number. So a
statement's events are written by a trigger for the statement, unless a trigger of the user's may change a row again
before that fires.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

import msgspec
from psycopg import sql

from crosskey.catalog.model import Table, TableName
from crosskey.catalog.plan import Plan, TablePlan
from crosskey.shard_node.guards.triggers import NOTES_FIRST, trigger_function
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.row_json import row_expression
from crosskey.shard_node.sql_text.sql_names import function_identifier, table_identifier

REQUEST_IDS_SEPARATOR = "\x1f"
"""Between the request ids of the rows of a statement that several requests share."""

_FIRST_SHARD = 0

_ARRIVAL = b"""
INSERT INTO crosskey.event (aggregatetype, aggregateid, type, payload)
VALUES (%s, '', 'arrival', json_build_object('shard', %s::integer, 'through', %s::bigint))
"""

# Whoever has drawn a position has an id by then: events/settled.py counts on it.
_TAKE_ID = b"SELECT pg_current_xact_id()"

_PLACE = identifier("crosskey_place")
"""Which row of the statement it is, from 1: no column of the user's."""

Event = Literal["INSERT", "UPDATE", "DELETE"]


class _Source(NamedTuple):
    """Where a trigger finds the rows `o` before and `n` after the change, as a statement's and as a single row's."""

    event: Event
    transition: str
    rows: str
    row: str


_SOURCES = (
    _Source(
        "INSERT",
        "NEW TABLE AS new_rows",
        "(SELECT r.*, row_number() OVER () AS {place} FROM new_rows r) n",
        "(SELECT new.*, 1 AS {place}) n",
    ),
    # PostgreSQL adds a row to both transition tables at a time, so old and new row have the same place.
    _Source(
        "UPDATE",
        "OLD TABLE AS old_rows NEW TABLE AS new_rows",
        "(SELECT r.*, row_number() OVER () AS {place} FROM old_rows r) o"
        " JOIN (SELECT r.*, row_number() OVER () AS {place} FROM new_rows r) n ON n.{place} = o.{place}",
        "(SELECT old.*) o, (SELECT new.*, 1 AS {place}) n",
    ),
    _Source("DELETE", "OLD TABLE AS old_rows", "old_rows o", "(SELECT old.*) o"),
)


def event_triggers(plan: TablePlan, shard: int) -> Iterable[sql.Composed]:
    """The triggers of a table that tells events. A change of a reference table is told once, on the first shard."""
    if not plan.events or (plan.placement == "reference" and shard != _FIRST_SHARD):
        return
    table = plan.table
    for source in _SOURCES:
        purpose = f"events_{source.event.lower()}"
        yield trigger_function(purpose, table.name, [_write_events(table, source)])
        yield sql.SQL(
            "CREATE TRIGGER {name} AFTER {event} ON {table} {rows} WHEN ({stays}) EXECUTE FUNCTION {function}()"
        ).format(
            name=identifier(f"{NOTES_FIRST if table.acts_after_rows else 'crosskey_'}{purpose}"),
            event=sql.SQL(source.event),
            table=table_identifier(table.name),
            rows=_for_each(table, source),
            stays=_stays(table.name),
            function=function_identifier(purpose, table.name),
        )
    yield sql.SQL(
        "CREATE TRIGGER crosskey_events_kept BEFORE TRUNCATE ON {}"
        " EXECUTE FUNCTION crosskey.refuse_truncate_without_events()"
    ).format(table_identifier(table.name))


async def begin_moving(connection: Connection, plan: Plan, tables: Iterable[TableName]) -> None:
    """From here on rows of these tables go to another shard, or come from one: that they do is no event.

    Until `end_moving`. The update that has them move is an event already.
    """
    names = [str(table.qualified) for table in tables if tells(plan, table)]
    if names:
        text = msgspec.json.encode(names).decode()
        await connection.execute(b"SELECT set_config('crosskey.moving', %s, true)", (text,))


async def end_moving(connection: Connection, plan: Plan, tables: Iterable[TableName]) -> None:
    """Changes of these tables are events again."""
    if any(tells(plan, table) for table in tables):
        await connection.execute(b"SET LOCAL crosskey.moving = ''", prepare=False)


async def last_drawn(connection: Connection) -> int:
    """The last position that was drawn on this shard."""
    cursor = await connection.execute(
        b"SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM crosskey.event_position_seq"
    )
    row = await cursor.fetchone()
    assert row is not None, "a sequence is one row"
    return int(row[0])


async def note_arrival(connection: Connection, table: TableName, shard: int, through: int) -> None:
    """Notes that rows of a table come from another shard, where their changes have positions up to `through`.

    Whoever reads the outbox gives those out before he goes on here.
    """
    await connection.execute(_TAKE_ID)
    await connection.execute(_ARRIVAL, (str(table), shard, through))


def tells(plan: Plan, name: TableName) -> bool:
    """Whether changes of the table are told as events."""
    table = plan.table(name)
    return table is not None and table.events


def _stays(table: TableName) -> sql.Composed:
    """Whether rows of the table are not on their way to another shard."""
    quoted = msgspec.json.encode(table.qualified).decode()
    return sql.SQL("strpos(coalesce(current_setting('crosskey.moving', true), ''), {}) = 0").format(literal(quoted))


def _for_each(table: Table, source: _Source) -> sql.Composed:
    if table.acts_after_rows:
        return sql.SQL("FOR EACH ROW").format()
    return sql.SQL("REFERENCING {} FOR EACH STATEMENT").format(sql.SQL(source.transition))


def _write_events(table: Table, source: _Source) -> sql.Composed:
    rows = sql.SQL(source.row if table.acts_after_rows else source.rows).format(place=_PLACE)
    return sql.SQL(
        "INSERT INTO crosskey.event (aggregatetype, aggregateid, type, payload, request_id)"
        " SELECT {table}, {key}, {type}, json_build_object('before', {before}, 'after', {after}), {request}"
        " FROM {rows}, (SELECT string_to_array(current_setting('crosskey.request_id', true), {separator}) AS ids"
        " OFFSET 0) request{order};"
    ).format(
        table=literal(str(table.name)),
        key=_key_text(table, "o" if source.event == "DELETE" else "n"),
        type=literal(source.event.lower()),
        before=sql.NULL if source.event == "INSERT" else row_expression(table, "o"),
        after=sql.NULL if source.event == "DELETE" else row_expression(table, "n"),
        request=_request_id(source),
        rows=rows,
        separator=literal(REQUEST_IDS_SEPARATOR),
        order=sql.SQL("" if source.event == "DELETE" else " ORDER BY n.{}").format(_PLACE),
    )


def _request_id(source: _Source) -> sql.Composed:
    """The id of the request that changed the row. Only inserts share a statement: it has an id for each row then."""
    if source.event != "INSERT":
        return sql.SQL("nullif(request.ids[1], '')").format()
    return sql.SQL("nullif(request.ids[CASE WHEN cardinality(request.ids) > 1 THEN n.{} ELSE 1 END], '')").format(
        _PLACE
    )


def _key_text(table: Table, alias: str) -> sql.Composed:
    """The primary key as text: its column's own, or of several a JSON array of theirs."""
    texts = [sql.SQL("concat({})").format(identifier(alias, column)) for column in table.primary_key]
    if len(texts) == 1:
        return texts[0]
    return sql.SQL("to_json(ARRAY[{}])::text").format(sql.SQL(", ").join(texts))
