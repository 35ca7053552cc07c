"""Shadows that no child references any more, and how they go together with their pins.

The pins are locked first, on the parent's shard: whoever references the parent anew waits there. Then the shadows are
locked, and only a *second* statement looks for children: one that was committed while the first waited is seen by it.
In a single statement that child would not be seen.

Whatever that look finds, no row of the user's is changed: what references a shadow after all refuses that it goes
(guards/sweep_guards.py). Such a shadow is left, and the others are dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache

import msgspec
import psycopg
import structlog
from psycopg import sql

from crosskey.catalog.plan import ReferencedKey
from crosskey.shard_node.guards.child_triggers import has_children
from crosskey.shard_node.guards.pin_places import PIN_SHARD
from crosskey.shard_node.guards.reference_guards import has_copied_children, written_everywhere
from crosskey.shard_node.guards.sweep_guards import BEGIN_DROPPING, END_DROPPING, may_be_dropped
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import is_passing
from crosskey.shard_node.schema.shard_schema import ShardSchema
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_columns import same_key
from crosskey.shard_node.sql_text.sql_names import column_list, table_identifier
from crosskey.shard_node.sql_text.travelling_keys import travelling_key

_log = structlog.get_logger(__name__)

_NONE = "[]", 0


async def find_unused(
    connection: Connection, schema: ShardSchema, referenced: ReferencedKey, keys: str
) -> tuple[str, int]:
    """Those of the keys whose shadows may go: they have no child now. As a JSON array, and how many they are."""
    if not await may_be_dropped(connection, schema.plan, referenced):
        return _NONE
    statement = sql.SQL(
        "SELECT coalesce(json_agg({key}), '[]')::text, count(*) FROM {shadow} k JOIN {given} ON {same}"
        " WHERE {childless}"
    ).format(
        key=travelling_key(referenced, "k"),
        shadow=table_identifier(referenced.shadow),
        given=_given(referenced),
        same=same_key(referenced, "k", "given"),
        childless=_childless(schema, referenced),
    )
    cursor = await connection.execute(statement, (keys,))
    [(unused, count)] = await cursor.fetchall()
    return unused, count


async def lock_pins(connection: Connection, referenced: ReferencedKey, for_shard: int, keys: str) -> None:
    """Locks pins, in order of their keys."""
    await connection.execute(_lock_pins_text(referenced), (keys, for_shard))


async def drop_unused(
    connection: Connection, schema: ShardSchema, referenced: ReferencedKey, keys: str
) -> tuple[str, int]:
    """Drops those of the shadows that nothing references; answers their keys, as a JSON array, and how many they are.

    From here on the transaction checks every constraint at once.
    """
    await connection.execute(_lock_shadows_text(referenced), (keys,))
    unused, _ = await find_unused(connection, schema, referenced, keys)
    copied = has_copied_children(schema.plan, referenced)
    async with written_everywhere(connection) if copied else nullcontext():
        await connection.execute(BEGIN_DROPPING, prepare=False)
        dropped = await _drop(connection, referenced, msgspec.json.decode(unused, type=list[msgspec.Raw]))
        await connection.execute(END_DROPPING, prepare=False)
    return _array(dropped), len(dropped)


async def drop_pins(connection: Connection, referenced: ReferencedKey, for_shard: int, keys: str) -> None:
    """Drops the pins of dropped shadows."""
    await connection.execute(_drop_pins_text(referenced), (keys, for_shard))


async def _drop(
    connection: Connection, referenced: ReferencedKey, keys: Sequence[msgspec.Raw]
) -> Sequence[msgspec.Raw]:
    """Deletes the shadows with the keys, which are locked; answers the keys of those that went.

    What refuses undoes the whole statement. So then each half of the keys is tried, down to the one that is kept.
    """
    if not keys:
        return []
    try:
        async with connection.transaction():
            await connection.execute(_delete_text(referenced), (_array(keys),))
    except psycopg.Error as error:
        if connection.broken or is_passing(error):
            raise
        if len(keys) == 1:
            _log.warning("a shadow that seemed to be unused is left", referenced_key=referenced.id, error=str(error))
            return []
    else:
        return keys
    half = len(keys) // 2
    return [*await _drop(connection, referenced, keys[:half]), *await _drop(connection, referenced, keys[half:])]


def _array(keys: Sequence[msgspec.Raw]) -> str:
    return msgspec.json.encode(keys).decode()


def _given(referenced: ReferencedKey) -> sql.Composed:
    """The keys of the parameter, a JSON array, as a table called given."""
    return sql.SQL("json_populate_recordset(NULL::{}, %s) given").format(table_identifier(referenced.shadow))


def _childless(schema: ShardSchema, referenced: ReferencedKey) -> sql.Composed:
    """No foreign key's child references the shadow called k."""
    keys = [key.foreign_key for key in schema.plan.keys_by(referenced)]
    conditions = [sql.SQL("NOT {}").format(has_children(schema.plan, key)) for key in keys]
    if referenced.eventual:
        # A dead one goes with what its parent's shard remembers.
        dead, same = table_identifier(referenced.dead), same_key(referenced, "d", "k")
        conditions.append(sql.SQL("NOT EXISTS (SELECT FROM {} d WHERE {})").format(dead, same))
    return sql.SQL(" AND ").join(conditions)


@lru_cache
def _lock_pins_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL(
            "SELECT FROM {pin} p JOIN {given} ON {same} WHERE p.{pin_shard} = %s ORDER BY {columns} FOR UPDATE OF p"
        )
        .format(
            pin=table_identifier(referenced.pin),
            given=_given(referenced),
            same=same_key(referenced, "p", "given"),
            columns=column_list(referenced.columns, alias="p"),
            pin_shard=identifier(PIN_SHARD),
        )
        .as_bytes()
    )


@lru_cache
def _lock_shadows_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL("SELECT FROM {shadow} k JOIN {given} ON {same} ORDER BY {columns} FOR UPDATE OF k")
        .format(
            shadow=table_identifier(referenced.shadow),
            given=_given(referenced),
            same=same_key(referenced, "k", "given"),
            columns=column_list(referenced.columns, alias="k"),
        )
        .as_bytes()
    )


@lru_cache
def _delete_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL("DELETE FROM {shadow} k USING {given} WHERE {same}")
        .format(
            shadow=table_identifier(referenced.shadow),
            given=_given(referenced),
            same=same_key(referenced, "k", "given"),
        )
        .as_bytes()
    )


@lru_cache
def _drop_pins_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL("DELETE FROM {pin} p USING {given} WHERE {same} AND p.{pin_shard} = %s")
        .format(
            pin=table_identifier(referenced.pin),
            given=_given(referenced),
            same=same_key(referenced, "p", "given"),
            pin_shard=identifier(PIN_SHARD),
        )
        .as_bytes()
    )
