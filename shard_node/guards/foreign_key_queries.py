"""Reading and changing shadows and pins: the DML beside the DDL of foreign_keys.py."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import msgspec
from psycopg import AsyncCursor, sql
from psycopg.rows import TupleRow

from crosskey import errors
from crosskey.catalog.plan import ReferencedKey
from crosskey.shard_node.guards import rekeying
from crosskey.shard_node.guards.claims import CLAIMING_SHARD
from crosskey.shard_node.guards.copies import WAITS
from crosskey.shard_node.guards.pin_places import CLAIMANT, PIN_SHARD, held_columns
from crosskey.shard_node.guards.prepared_claims import wait_for_prepared_claims
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_columns import same_key
from crosskey.shard_node.sql_text.sql_names import column_list, table_identifier
from crosskey.shard_node.sql_text.travelling_keys import travelling_copies

# A pin can vanish between being met and being locked only while an unused shadow is dropped; each round then waits for
# the one who drops it. More rounds than this are a race to be run again from the start.
_PIN_ROUNDS = 5


async def pin_parents(connection: Connection, referenced: ReferencedKey, for_shard: int, keys: str) -> tuple[str, int]:
    """Pins the parents that exist and answers what their shadows are made of, a JSON array, and how many they are.

    The parents stay locked FOR KEY SHARE until the transaction ends: they can neither go nor get another key. A pin
    that was there already is locked too: ON CONFLICT alone waits for its other transaction but does not hold it. What
    children copy of the parents cannot change either: such a change locks the row FOR UPDATE.

    A parent's row may be committed while the claim that stands for it is still prepared, so what is absent is looked
    for again once nothing is prepared that may bring it.
    """
    present, count = await _pin_present(connection, referenced, for_shard, keys)
    if referenced.claim is not None and count < len(msgspec.json.decode(keys)):
        await wait_for_prepared_claims(connection, referenced.claim, keys)
        return await _pin_present(connection, referenced, for_shard, keys)
    return present, count


async def _pin_present(connection: Connection, referenced: ReferencedKey, for_shard: int, keys: str) -> tuple[str, int]:
    insert, lock = _pin_texts(referenced)
    for _ in range(_PIN_ROUNDS):
        cursor = await connection.execute(insert, (keys, for_shard))
        (parents,) = await _one_row(cursor)
        cursor = await connection.execute(lock, (keys, for_shard))
        (present, count) = await _one_row(cursor)
        if count >= parents:
            return present, count
    raise errors.Conflict(f"pins of {referenced.id} vanish again and again", table=str(referenced.parent))


@lru_cache
def _pin_texts(referenced: ReferencedKey) -> tuple[bytes, bytes]:
    claimant = sql.SQL("" if referenced.claim is None else ", p.{} AS {}")
    names = {
        "pin": table_identifier(referenced.pin),
        "parent": table_identifier(referenced.pinned),
        "claimant": claimant.format(identifier(CLAIMING_SHARD), identifier(CLAIMANT)),
        "held": column_list(held_columns(referenced)),
        "shadow": table_identifier(referenced.shadow),
        "pin_shard": identifier(PIN_SHARD),
        "columns": column_list(referenced.columns),
        "parent_columns": column_list(referenced.columns, alias="p"),
        "same": same_key(referenced, "p", "k"),
        "shadow_row": travelling_copies(referenced, "held"),
        "copied": sql.SQL("").join(sql.SQL(", {}").format(identifier("r", name)) for name in referenced.copied),
        "with_parent": sql.SQL(" JOIN {} r ON {}" if referenced.copied else "").format(
            table_identifier(referenced.parent), same_key(referenced, "r", "p")
        ),
    }
    insert = sql.SQL(
        "WITH parents AS (SELECT {parent_columns}{claimant} FROM {parent} p"
        " JOIN json_populate_recordset(NULL::{shadow}, %s) k ON {same}"
        " ORDER BY {parent_columns} FOR KEY SHARE OF p),"
        " pinned AS (INSERT INTO {pin} ({held}, {pin_shard}) SELECT {held}, %s FROM parents"
        " ON CONFLICT DO NOTHING)"
        " SELECT count(*) FROM (SELECT DISTINCT {columns} FROM parents) distinct_parents"
    ).format(**names)
    lock = sql.SQL(
        "SELECT coalesce(json_agg({shadow_row}), '[]')::text, count(*)"
        " FROM (SELECT {parent_columns}{copied} FROM {pin} p{with_parent}"
        " WHERE EXISTS (SELECT FROM json_populate_recordset(NULL::{shadow}, %s) k WHERE {same})"
        " AND p.{pin_shard} = %s ORDER BY {parent_columns} FOR KEY SHARE OF p) held"
    ).format(**names)
    return insert.as_bytes(), lock.as_bytes()


async def restore_pins(
    connection: Connection, referenced: ReferencedKey, keys: str, shards: Sequence[int], claimants: Sequence[int]
) -> None:
    """Pins parents that moved here, each for the shard that stands at its place among `shards`.

    Where claims stand for parents, the shards that claim are among `claimants`, which else are none.
    """
    given = [list(shards)] if referenced.claim is None else [list(shards), list(claimants)]
    await connection.execute(_restore_text(referenced), (keys, *given))


@lru_cache
def _restore_text(referenced: ReferencedKey) -> bytes:
    given = [PIN_SHARD] if referenced.claim is None else [PIN_SHARD, CLAIMANT]
    return (
        sql.SQL(
            "INSERT INTO {pin} ({columns}, {given}) SELECT {columns}, {given} FROM ROWS FROM"
            " (json_populate_recordset(NULL::{shadow}, %s), {arrays}) AS k({shadowed}, {given})"
        )
        .format(
            pin=table_identifier(referenced.pin),
            given=column_list(given),
            arrays=sql.SQL(", ").join([sql.SQL("unnest(%s::integer[])")] * len(given)),
            shadow=table_identifier(referenced.shadow),
            columns=column_list(referenced.columns),
            shadowed=column_list((*referenced.columns, *referenced.copied)),
        )
        .as_bytes()
    )


async def add_shadows(connection: Connection, referenced: ReferencedKey, keys: str) -> None:
    """Adds the shadows of pinned parents, with the values that children copy.

    In order of their keys, so that two transactions wait and never deadlock. Children that came first get their copies
    from triggers: from a shadow that is new, or from one that another transaction has added meanwhile.
    """
    await connection.execute(_add_text(referenced), (keys,))
    if referenced.copied:
        await connection.execute(_touch_text(referenced), (keys,))


@lru_cache
def _touch_text(referenced: ReferencedKey) -> bytes:
    copied = column_list(referenced.copied, alias="s")
    return (
        sql.SQL(
            "UPDATE {shadow} s SET ({columns}) = ROW({copied}) FROM json_populate_recordset(NULL::{shadow}, %s) k"
            " WHERE {same} AND {waits}"
        )
        .format(
            shadow=table_identifier(referenced.shadow),
            columns=column_list(referenced.copied),
            copied=copied,
            same=same_key(referenced, "s", "k"),
            waits=sql.SQL(WAITS),
        )
        .as_bytes()
    )


@lru_cache
def _add_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL(
            "INSERT INTO {shadow} ({shadowed}) SELECT {shadowed} FROM json_populate_recordset(NULL::{shadow}, %s)"
            " ORDER BY {columns} ON CONFLICT DO NOTHING"
        )
        .format(
            shadow=table_identifier(referenced.shadow),
            columns=column_list(referenced.columns),
            shadowed=column_list((*referenced.columns, *referenced.copied)),
        )
        .as_bytes()
    )


async def change_shadows(connection: Connection, referenced: ReferencedKey, old_keys: str, new_keys: str) -> None:
    """Deletes shadows (no new keys) or re-keys them; PostgreSQL carries out the user's own action on the children.

    Where a third shard is home, a pin may be committed while its shadow is still prepared, and no DELETE would see it.
    Adding the shadow waits until it is there.
    """
    await add_shadows(connection, referenced, old_keys)
    if new_keys:
        await connection.execute(rekeying.call_text(referenced), (old_keys, new_keys))
    else:
        await connection.execute(_delete_text(referenced), (old_keys,))


@lru_cache
def _delete_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL("DELETE FROM {shadow} s USING json_populate_recordset(NULL::{shadow}, %s) k WHERE {same}")
        .format(shadow=table_identifier(referenced.shadow), same=same_key(referenced, "s", "k"))
        .as_bytes()
    )


async def _one_row(cursor: AsyncCursor[TupleRow]) -> TupleRow:
    row = await cursor.fetchone()
    assert row is not None, "an aggregate answers one row"
    return row
