"""Moving rows to another shard: whatever got a shard key that does not belong here, and all that lives with it.

PostgreSQL has carried out the update on this shard already, with every ON UPDATE action on the rows beside it. What is
left is to take out all rows that belong elsewhere now, parents and children alike, without carrying out any ON DELETE
action, and to put them in on their new shard.

Rows go where their anchor goes, though nothing in them has changed. So before any row is taken out,
the parents are locked from the top down: a child that was about to come has come then, and no other can.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec
from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import Column, Table
from crosskey.catalog.plan import Claim, TablePlan
from crosskey.catalog.table_groups import parents_first
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.shard_node.guards.anchored_rows import LOCKED_TOO_LATE, Anchored
from crosskey.shard_node.guards.event_triggers import begin_moving, end_moving
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.schema.shard_schema import ShardSchema
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.row_json import verbatim_expression
from crosskey.shard_node.sql_text.slot_expressions import shard_of
from crosskey.shard_node.sql_text.sql_names import column_list, columns_equal, table_identifier, typed_columns

DESTINATION = "crosskey_destination"
"""Beside the shard key of rows that are anchored, the shard where they go: no column of the user's."""


class MovedRows(msgspec.Struct, frozen=True):
    """Rows taken out, as a JSON array of verbatim rows, with their number and the shard where they belong."""

    table: str
    shard: int
    rows: str
    count: int


async def take_out(
    connection: Connection, schema: ShardSchema, keys: Mapping[str, str], shards: int
) -> list[MovedRows]:
    """Takes out all rows with the given shard keys, which are those that `with_followers` answers.

    A table's rows are read when nothing references them any more, and deleted at once: neither a foreign key's action
    nor a trigger can change them in between. What triggers write meanwhile is noted as displaced in its turn. Parents
    are answered before their children, so that triggers find them as they leave them: one that counts a parent's
    children counts down here and up again there.
    """
    moved: list[MovedRows] = []
    await connection.execute(b"SET LOCAL crosskey.relocating = 'on'", prepare=False)
    for tables in _children_first(schema, keys):
        names = [schema.table(table).name for table in tables]
        await begin_moving(connection, schema.plan, names)
        moved[:0] = await _take_out_of(connection, schema, {table: keys[table] for table in tables}, shards)
        await end_moving(connection, schema.plan, names)
    await connection.execute(b"SET LOCAL crosskey.relocating = 'off'", prepare=False)
    return moved


async def locked_too_late(connection: Connection, schema: ShardSchema, displaced: Iterable[str]) -> bool:
    """Whether rows of tables that anchor others were changed without a lock, and such rows are to be taken out.

    The locks under which rows are taken out would come too late then (see anchored_rows.lock_before_leaving).
    """
    if not any(schema.followers[table] for table in displaced):
        return False
    cursor = await connection.execute("SELECT current_setting(%s, true) IS NOT DISTINCT FROM 'on'", (LOCKED_TOO_LATE,))
    (too_late,) = await cursor.fetchone() or (False,)
    return bool(too_late)


async def keys_of_followers(
    connection: Connection, schema: ShardSchema, claim: Claim, values: str, shards: Sequence[int], shard: int
) -> dict[str, list[str]]:
    """The keys of all rows that live with anchors elsewhere, as `with_followers` takes them.

    `values`, a JSON array, are claimed by `shards`, one for each. Those that a row here has by now are left out, and
    that row is locked, so that it stays. Raises Conflict if one is claimed for this shard and not seen here: its row is
    prepared, and not committed yet.
    """
    table = schema.table(claim.table.qualified)
    columns = tuple(column for column in table.columns if column.name in claim.columns)
    cursor = await connection.execute(_followers_text(claim, columns), (values, values, list(shards)))
    going = [(value, place) for value, place in await cursor.fetchall()]
    if any(place == shard for _, place in going):
        raise errors.Conflict(f'a row of "{claim.table}" is on its way to another shard', table=str(claim.table))
    return {
        anchored.name.qualified: [
            msgspec.json.encode([{anchored.key.name: value, DESTINATION: place} for value, place in going]).decode()
        ]
        for anchored in schema.anchored_by_claim(claim.id)
    }


async def with_followers(
    connection: Connection, schema: ShardSchema, keys: Mapping[str, Sequence[str]], shards: int
) -> dict[str, str]:
    """The shard keys, and those of all rows whose anchors have them, however deep: one JSON array a table.

    `keys` are JSON arrays by table as `schema.name`; those of tables that have an anchor are given with DESTINATION.
    """
    found: defaultdict[str, list[str]] = defaultdict(list)
    remaining = deque((table, _joined(arrays)) for table, arrays in keys.items())
    while remaining:
        table, array = remaining.popleft()
        found[table].append(array)
        for anchored in schema.followers[table]:
            text = _follow_text(schema.placed_table(table), anchored, shards)
            cursor = await connection.execute(text, (array,))
            (following,) = await cursor.fetchone() or (None,)
            if following is not None:
                remaining.append((anchored.name.qualified, following))
    return {table: _joined(arrays) for table, arrays in found.items()}


def _joined(arrays: Iterable[str]) -> str:
    """One JSON array of the elements of several."""
    return f"[{','.join(inner for array in arrays if (inner := array[1:-1].strip()))}]"


async def _take_out_of(
    connection: Connection, schema: ShardSchema, keys: Mapping[str, str], shards: int
) -> list[MovedRows]:
    """Takes rows out of one table, or of several that reference each other in a circle.

    In a circle, the action of a foreign key may take rows along or change them; but all have been read by then.
    """
    moved = [row for table in keys for row in await _read(connection, schema, table, keys[table], shards)]
    there: Counter[str] = Counter()
    for rows in moved:
        there[rows.table] += rows.count
    for table in keys:
        cursor = await connection.execute(_delete_text(schema.placed_table(table)), (keys[table],))
        if cursor.rowcount > there[table] and schema.placed_table(table).anchor is not None:
            # The lock on their anchor was lost (see anchored_rows.lock_before_leaving): else they would go unread.
            raise errors.Conflict(f'rows of "{table}" came here while others went', table=table)
        taken_along = len(keys) > 1 and not await _read(connection, schema, table, keys[table], shards)
        if cursor.rowcount > there[table] or (cursor.rowcount < there[table] and not taken_along):
            raise kept_from_moving(table, "DELETE")
    return moved


async def _read(connection: Connection, schema: ShardSchema, table: str, keys: str, shards: int) -> list[MovedRows]:
    cursor = await connection.execute(_read_text(schema.placed_table(table), shards), (keys,))
    return [MovedRows(table, *row) for row in await cursor.fetchall()]


def kept_from_moving(table: str, event: str) -> errors.NotSupported:
    """What is raised where a trigger of the user's would double or lose a row that moves."""
    return errors.NotSupported(
        f'a BEFORE {event} trigger of "{table}" keeps a row from moving to another shard',
        table=table,
        hint="A row that moves is deleted on one shard and inserted on another; let the trigger pass it.",
    )


def placement(table: Table, rows_json: bytes) -> proto.InsertRows:
    """The insert that puts moved rows in exactly as they were."""
    columns = [column.name for column in table.columns if not column.generated]
    return proto.InsertRows(columns=columns, rows_json=rows_json, overriding_system_value=True, verbatim=True)


def _children_first(schema: ShardSchema, tables: Iterable[str]) -> list[list[str]]:
    """The tables so that one that references another comes first; those that do so in a circle come together.

    In another order, ON DELETE actions would be carried out on children that are still there, or RESTRICT would refuse.
    """
    names = [*tables]
    references = ((child, parent) for child in names for parent in schema.local_parents[child])
    return parents_first(names, references)[::-1]


@lru_cache
def _read_text(plan: TablePlan, shards: int) -> bytes:
    # Rows of which nothing has changed may be changed by others: they are waited for, and read as these leave them.
    lock = sql.SQL("FOR UPDATE OF moving" if plan.anchor is not None else "")
    return (
        sql.SQL(
            "SELECT shard, json_agg(row_json)::text, count(*) FROM"
            " (SELECT {shard} AS shard, {row} AS row_json FROM {moving} {lock}) going GROUP BY 1"
        )
        .format(
            shard=_destination(plan, shards),
            row=verbatim_expression(plan.table, "moving"),
            moving=_moving(plan),
            lock=lock,
        )
        .as_bytes()
    )


@lru_cache
def _follow_text(plan: TablePlan, anchored: Anchored, shards: int) -> bytes:
    """Locks the rows that go, and answers their followers' keys."""
    return (
        sql.SQL(
            "SELECT json_agg(json_build_object({key}, locked.{parent}, {destination}, locked.{place}))::text FROM"
            " (SELECT moving.{parent}, {shard} AS {place} FROM {moving} ORDER BY 1 FOR UPDATE OF moving) locked"
        )
        .format(
            key=literal(anchored.key.name),
            parent=identifier(anchored.named_column(plan.table.name)),
            destination=literal(DESTINATION),
            place=identifier(DESTINATION),
            shard=_destination(plan, shards),
            moving=_moving(plan),
        )
        .as_bytes()
    )


@lru_cache
def _followers_text(claim: Claim, columns: tuple[Column, ...]) -> bytes:
    # What anchors others has one column.
    return (
        sql.SQL(
            "WITH here AS (SELECT {columns} FROM {table} r JOIN json_to_recordset(%s) AS k({typed}) ON {same}"
            " ORDER BY {columns} FOR KEY SHARE OF r)"
            " SELECT to_json(k.{first}), k.{place} FROM ROWS FROM"
            " (json_to_recordset(%s) AS ({typed}), unnest(%s::integer[])) AS k({names}, {place})"
            " WHERE NOT EXISTS (SELECT FROM here r WHERE {same})"
        )
        .format(
            columns=column_list(claim.columns, alias="r"),
            table=table_identifier(claim.table),
            typed=typed_columns(columns),
            names=column_list([column.name for column in columns]),
            same=columns_equal(claim.columns, "r", "k"),
            first=identifier(columns[0].name),
            place=identifier(DESTINATION),
        )
        .as_bytes()
    )


def _moving(plan: TablePlan) -> sql.Composed:
    """The rows with the keys of the parameter, called `moving`, each beside its key, which is called `given`."""
    shard_key = plan.shard_key_column
    anchored = sql.SQL(", {} integer").format(identifier(DESTINATION)) if plan.anchor is not None else sql.SQL("")
    return sql.SQL(
        "{table} moving JOIN (SELECT DISTINCT * FROM json_to_recordset(%s) AS keys({typed}{anchored})) given"
        " ON given.{column} = moving.{column}"
    ).format(
        table=table_identifier(plan.table.name),
        typed=typed_columns([shard_key]),
        anchored=anchored,
        column=identifier(shard_key.name),
    )


def _destination(plan: TablePlan, shards: int) -> sql.Composable:
    """The shard where a moving row goes."""
    if plan.anchor is not None:
        return identifier("given", DESTINATION)
    shard_key = plan.shard_key_column
    return shard_of(shard_key, identifier("moving", shard_key.name), shards)


@lru_cache
def _delete_text(plan: TablePlan) -> bytes:
    shard_key = plan.shard_key_column
    return (
        sql.SQL("DELETE FROM {table} WHERE {column} IN (SELECT {column} FROM json_to_recordset(%s) AS given({typed}))")
        .format(
            table=table_identifier(plan.table.name),
            column=column_list([shard_key.name]),
            typed=typed_columns([shard_key]),
        )
        .as_bytes()
    )
