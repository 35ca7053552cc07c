"""Marking and burying what dead shadows stand for: the DML beside the DDL of dead_shadows.py.

The cleaning up between them is in cleaning_children.py.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from psycopg import sql

from crosskey.catalog.plan import Plan, ReferencedKey
from crosskey.shard_node.guards.child_triggers import has_children
from crosskey.shard_node.guards.dead_shadows import SINCE, TOLD, eventual_keys
from crosskey.shard_node.guards.foreign_key_queries import add_shadows
from crosskey.shard_node.guards.pin_places import PIN_SHARD, pinning_shard
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_columns import same_key
from crosskey.shard_node.sql_text.sql_names import column_list, table_identifier
from crosskey.shard_node.sql_text.travelling_keys import travelling_key


class Departed(NamedTuple):
    """Keys of deleted parents, as a JSON array, their number, and how long ago the first of them was deleted."""

    keys: str
    number: int
    age_ms: int


class Buried(NamedTuple):
    """Keys of shadows that are no more, as a JSON array, their number, and the shard of the parents."""

    shard: int
    keys: str
    number: int


async def tell_departed(connection: Connection, referenced: ReferencedKey, for_shard: int, limit: int) -> Departed:
    """Takes parents of which a shard is to be told, and notes that it is."""
    cursor = await connection.execute(_tell_text(referenced), (for_shard, limit, for_shard))
    row = await cursor.fetchone()
    assert row is not None, "an aggregate answers one row"
    return Departed(*row)


@lru_cache
def _tell_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL(
            "WITH due AS (SELECT {columns} FROM {departed} WHERE {shard} = %s AND NOT {told} ORDER BY {columns}"
            " LIMIT %s FOR UPDATE SKIP LOCKED),"
            " told AS (UPDATE {departed} d SET {told} = true FROM due WHERE {same} AND d.{shard} = %s RETURNING d.*)"
            " SELECT coalesce(json_agg({key}), '[]')::text, count(*),"
            " coalesce(extract(epoch FROM clock_timestamp() - min({since})) * 1000, 0)::bigint FROM told"
        )
        .format(
            columns=column_list(referenced.columns),
            departed=table_identifier(referenced.departed),
            shard=identifier(PIN_SHARD),
            told=identifier(TOLD),
            since=identifier(SINCE),
            same=same_key(referenced, "d", "due"),
            key=travelling_key(referenced, "told"),
        )
        .as_bytes()
    )


async def mark_dead(connection: Connection, referenced: ReferencedKey, keys: str) -> None:
    """Marks shadows as dead. One that is prepared is waited for, one that was dropped as unused comes back."""
    await add_shadows(connection, referenced, keys)
    await connection.execute(_mark_text(referenced), (keys,))


@lru_cache
def _mark_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL(
            "INSERT INTO {dead} ({columns}) SELECT {columns} FROM json_populate_recordset(NULL::{shadow}, %s)"
            " ORDER BY {columns} ON CONFLICT DO NOTHING"
        )
        .format(
            dead=table_identifier(referenced.dead),
            columns=column_list(referenced.columns),
            shadow=table_identifier(referenced.shadow),
        )
        .as_bytes()
    )


async def forget_departed(connection: Connection, referenced: ReferencedKey, for_shard: int, keys: str) -> None:
    """Forgets parents for a shard that has no children of theirs any more."""
    await connection.execute(_forget_text(referenced), (keys, for_shard))


@lru_cache
def _forget_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL(
            "DELETE FROM {departed} d USING json_populate_recordset(NULL::{shadow}, %s) k"
            " WHERE {same} AND d.{shard} = %s"
        )
        .format(
            departed=table_identifier(referenced.departed),
            shadow=table_identifier(referenced.shadow),
            same=same_key(referenced, "d", "k"),
            shard=identifier(PIN_SHARD),
        )
        .as_bytes()
    )


async def find_childless(
    connection: Connection, plan: Plan, referenced: ReferencedKey, limit: int, shards: int
) -> list[Buried]:
    """Dead shadows without children, by the shard of their parents, except locked ones. They are dead no longer."""
    cursor = await connection.execute(_bury_text(plan, referenced, shards), (limit,))
    return [Buried(*row) for row in await cursor.fetchall()]


@lru_cache
def _bury_text(plan: Plan, referenced: ReferencedKey, shards: int) -> bytes:
    # A look for each shadow, and no join with all children.
    childless = sql.SQL(" AND ").join(
        sql.SQL("({}) IS NOT TRUE").format(has_children(plan, key.foreign_key))
        for key in eventual_keys(plan, referenced)
    )
    return (
        sql.SQL(
            "WITH done AS (SELECT {of_k} FROM {dead} k JOIN {shadow} s ON {same_shadow} WHERE {childless}"
            " ORDER BY {of_k} LIMIT %s FOR UPDATE OF k, s SKIP LOCKED),"
            " gone AS (DELETE FROM {dead} d USING done WHERE {same} RETURNING d.*)"
            " SELECT {shard}, json_agg({key})::text, count(*) FROM gone GROUP BY 1"
        )
        .format(
            of_k=column_list(referenced.columns, alias="k"),
            dead=table_identifier(referenced.dead),
            # A child that is about to come has the shadow locked.
            shadow=table_identifier(referenced.shadow),
            same_shadow=same_key(referenced, "s", "k"),
            childless=childless,
            same=same_key(referenced, "d", "done"),
            shard=pinning_shard(plan, referenced, "gone", shards),
            key=travelling_key(referenced, "gone"),
        )
        .as_bytes()
    )
