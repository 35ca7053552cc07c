"""Pins on claims, when the parents that these stand for go, move or get other values.

All is done on the shard of the claims, in coordinated transactions, after what was done to the claims themselves: so a
child that was about to pin them has done so, or will find them gone.
"""

from __future__ import annotations

from functools import lru_cache

from psycopg import sql

from crosskey.catalog.model import Table
from crosskey.catalog.plan import Claim, ReferencedKey
from crosskey.internal.v1.effects_pb2 import Effect
from crosskey.shard_node.guards.claims import CLAIMING_SHARD, claim_shard
from crosskey.shard_node.guards.pin_places import CLAIMANT, PIN_SHARD
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.key_columns import same_key
from crosskey.shard_node.sql_text.sql_names import column_list, table_identifier
from crosskey.shard_node.sql_text.travelling_keys import travelling_key

_DELETED = Effect.DELETE_SHADOWS_FIELD_NUMBER
_REKEYED = Effect.REKEY_SHADOWS_FIELD_NUMBER
_PINS_MOVED = Effect.RESTORE_PINS_FIELD_NUMBER


async def take_pins(connection: Connection, referenced: ReferencedKey, claimant: int, keys: str) -> None:
    """Takes away the pins of parents that were deleted on the shard `claimant`, and notes that as effects."""
    await connection.execute(_take_text(referenced), (keys, claimant))


async def adopt_pins(connection: Connection, referenced: ReferencedKey, claimant: int, keys: str) -> None:
    """Has the pins of parents that moved to the shard `claimant` hold the claims that it has now."""
    assert referenced.claim is not None, f"no claim stands for rows with {referenced.id}"
    await connection.execute(_adopt_text(referenced, referenced.claim), (claimant, keys))


async def change_values(
    connection: Connection,
    referenced: ReferencedKey,
    table: Table,
    claimant: int,
    keys: tuple[str, str],
    shards: int,
) -> None:
    """Takes away the pins of parents of `table` on the shard `claimant` that got new keys, and notes effects.

    `keys` are two JSON arrays, the old keys and the new one of each. The effects are that shadows get the new keys, and
    that the pins move to where those are claimed.
    """
    assert referenced.claim is not None, f"no claim stands for rows with {referenced.id}"
    text = _change_text(referenced, referenced.claim, table, shards)
    await connection.execute(text, (*keys, claimant))


@lru_cache
def _take_text(referenced: ReferencedKey) -> bytes:
    return _text(
        referenced,
        "WITH gone AS (DELETE FROM {pin} p USING {given} WHERE {same} AND p.{claimant} = %s RETURNING p.*)"
        " INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)"
        " SELECT {deleted}, {id}, gone.{pin_shard}, {key} FROM gone",
        deleted=literal(_DELETED),
        key=travelling_key(referenced, "gone"),
    )


@lru_cache
def _adopt_text(referenced: ReferencedKey, claim: Claim) -> bytes:
    return _text(
        referenced,
        "UPDATE {pin} p SET {claimant} = %s FROM {given} WHERE {same}"
        " AND NOT EXISTS (SELECT FROM {claims} c WHERE {same_claim} AND c.{claiming} = p.{claimant})",
        claims=table_identifier(claim.claims),
        same_claim=same_key(referenced, "c", "p"),
        claiming=identifier(CLAIMING_SHARD),
    )


@lru_cache
def _change_text(referenced: ReferencedKey, claim: Claim, table: Table, shards: int) -> bytes:
    return _text(
        referenced,
        # Keys go on as they were written: whoever puts them in order compares their texts.
        "WITH changed AS (SELECT crosskey_place, crosskey_old, crosskey_new FROM ROWS FROM"
        " (json_array_elements(%s), json_array_elements(%s)) WITH ORDINALITY"
        " AS k(crosskey_old, crosskey_new, crosskey_place)),"
        " gone AS (DELETE FROM {pin} p"
        " USING changed CROSS JOIN json_populate_record(NULL::{shadow}, crosskey_old) k"
        " WHERE {same} AND p.{claimant} = %s"
        " RETURNING changed.*, p.{pin_shard}, p.{claimant})"
        " INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)"
        " SELECT kind, {id}, shard, old_key, new_key FROM ("
        "SELECT crosskey_place AS place, {rekeyed} AS kind, {pin_shard} AS shard, crosskey_old AS old_key,"
        " crosskey_new AS new_key FROM gone"
        " UNION ALL SELECT crosskey_place, {pins_moved}, {new_place}, crosskey_new,"
        " json_build_array({pin_shard}, {claimant})"
        " FROM gone CROSS JOIN json_populate_record(NULL::{shadow}, crosskey_new) k WHERE num_nulls({of_k}) = 0"
        ") effects ORDER BY place",
        rekeyed=literal(_REKEYED),
        pins_moved=literal(_PINS_MOVED),
        new_place=claim_shard(claim, table, "k", shards),
        of_k=column_list(referenced.columns, alias="k"),
    )


def _text(referenced: ReferencedKey, template: str, **names: sql.Composable) -> bytes:
    shadow = table_identifier(referenced.shadow)
    return (
        sql.SQL(template)
        .format(
            pin=table_identifier(referenced.pin),
            shadow=shadow,
            given=sql.SQL("json_populate_recordset(NULL::{}, %s) k").format(shadow),
            same=same_key(referenced, "p", "k"),
            id=literal(referenced.id),
            pin_shard=identifier(PIN_SHARD),
            claimant=identifier(CLAIMANT),
            **names,
        )
        .as_bytes()
    )
