"""Shadows that no child references any more, and how they go together with their pins.

The pins are locked first, on the parent's shard: whoever references the parent anew waits there. Then the shadows are
locked, and only a *second* statement looks for children: one that was committed while the first waited is seen by it.
In a single statement that child would not be seen, and would be cascaded away with its shadow.
"""

from __future__ import annotations

from functools import lru_cache

from psycopg import sql

from catalog.plan import ReferencedKey
from shard_node.guards.foreign_keys import has_children
from shard_node.guards.pin_places import PIN_SHARD
from shard_node.postgres.database import Connection
from shard_node.schema.shard_schema import ShardSchema
from shard_node.sql_text.identifiers import identifier
from shard_node.sql_text.sql_names import column_list, columns_equal, table_identifier
from shard_node.sql_text.travelling_keys import travelling_key


async def find_unused(
    connection: Connection, schema: ShardSchema, referenced: ReferencedKey, keys: str
) -> tuple[str, int]:
    """Those of the keys whose shadows have no child now, as a JSON array, and how many they are."""
    statement = sql.SQL(
        "SELECT coalesce(json_agg({key}), '[]')::text, count(*) FROM {shadow} k"
        " WHERE ({columns}) IN (SELECT {columns} FROM json_populate_recordset(NULL::{shadow}, %s)) AND {childless}"
    ).format(
        key=travelling_key(referenced, "k"),
        shadow=table_identifier(referenced.shadow),
        columns=column_list(referenced.columns),
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
    """Drops those of the shadows that have no child; answers their keys, as a JSON array, and how many they are."""
    await connection.execute(_lock_shadows_text(referenced), (keys,))
    statement = sql.SQL(
        "WITH dropped AS (DELETE FROM {shadow} k"
        " WHERE ({columns}) IN (SELECT {columns} FROM json_populate_recordset(NULL::{shadow}, %s)) AND {childless}"
        " RETURNING k.*) SELECT coalesce(json_agg({key}), '[]')::text, count(*) FROM dropped"
    ).format(
        shadow=table_identifier(referenced.shadow),
        columns=column_list(referenced.columns),
        childless=_childless(schema, referenced),
        key=travelling_key(referenced, "dropped"),
    )
    cursor = await connection.execute(statement, (keys,))
    [(dropped, count)] = await cursor.fetchall()
    return dropped, count


async def drop_pins(connection: Connection, referenced: ReferencedKey, for_shard: int, keys: str) -> None:
    """Drops the pins of dropped shadows."""
    await connection.execute(_drop_pins_text(referenced), (keys, for_shard))


def _childless(schema: ShardSchema, referenced: ReferencedKey) -> sql.Composed:
    """No foreign key's child references the shadow called k."""
    keys = [key.foreign_key for key in schema.plan.keys if key.referenced_key == referenced.id]
    return sql.SQL(" AND ").join(sql.SQL("NOT {}").format(has_children(schema.plan, key)) for key in keys)


@lru_cache
def _lock_pins_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL(
            "SELECT FROM {pin} WHERE ({columns}) IN (SELECT {columns} FROM json_populate_recordset(NULL::{shadow}, %s))"
            " AND {pin_shard} = %s ORDER BY {columns} FOR UPDATE"
        )
        .format(
            pin=table_identifier(referenced.pin),
            columns=column_list(referenced.columns),
            shadow=table_identifier(referenced.shadow),
            pin_shard=identifier(PIN_SHARD),
        )
        .as_bytes()
    )


@lru_cache
def _lock_shadows_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL(
            "SELECT FROM {shadow} WHERE ({columns}) IN"
            " (SELECT {columns} FROM json_populate_recordset(NULL::{shadow}, %s)) ORDER BY {columns} FOR UPDATE"
        )
        .format(shadow=table_identifier(referenced.shadow), columns=column_list(referenced.columns))
        .as_bytes()
    )


@lru_cache
def _drop_pins_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL(
            "DELETE FROM {pin} p USING json_populate_recordset(NULL::{shadow}, %s) k"
            " WHERE {same} AND p.{pin_shard} = %s"
        )
        .format(
            pin=table_identifier(referenced.pin),
            shadow=table_identifier(referenced.shadow),
            same=columns_equal(referenced.columns, "p", "k"),
            pin_shard=identifier(PIN_SHARD),
        )
        .as_bytes()
    )
