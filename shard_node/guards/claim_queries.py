"""Claiming, releasing, looking up and finding values: the DML beside the DDL of claims.py."""

from __future__ import annotations

from functools import lru_cache

from psycopg import sql

from crosskey import errors
from crosskey.catalog.plan import Claim
from crosskey.shard_node.guards.claims import CLAIMING_SHARD, same_value
from crosskey.shard_node.guards.prepared_claims import wait_for_prepared_claims
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.sql_names import column_list, table_identifier

PLACE = "crosskey_place"
"""The place of a value among those given: like the claiming shard, no column of the user's."""


# Each round waits for a transaction that claims the value for another shard; more than these are a hot row.
_HOLD_ROUNDS = 8


async def claim_values(connection: Connection, claim: Claim, for_shard: int, values: str) -> int:
    """Claims values, a JSON array, for a shard. Answers how many it had claimed already.

    In order, so that two transactions wait for each other and never deadlock. Claims that are there already are locked:
    else they could be released before this transaction ends. That no other shard has claimed the values is checked when
    the constraint is.
    """
    cursor = await connection.execute(_claim_text(claim), (for_shard, values))
    row = await cursor.fetchone()
    assert row is not None, "an aggregate answers one row"
    (present,) = row
    return int(present)


async def release_values(connection: Connection, claim: Claim, for_shard: int, values: str) -> None:
    """Releases values, a JSON array, of a shard.

    The row may be committed while its claim is still prepared, and no DELETE would see it. So this waits for it.
    """
    await connection.execute(_wait_text(claim), (for_shard, values))
    await connection.execute(_release_text(claim), (values, for_shard))


async def look_up_claims(connection: Connection, claim: Claim, values: str) -> list[tuple[int | None, int]]:
    """For each of the values, a JSON array, the shard that has claimed it, and the place of the first equal value."""
    cursor = await connection.execute(_look_up_text(claim), (values,))
    return [(shard, first) for shard, first in await cursor.fetchall()]


async def look_up_and_hold(connection: Connection, claim: Claim, values: str) -> list[tuple[int | None, int]]:
    """The same, for good: the claims stay locked FOR KEY SHARE, and claims that are prepared are waited for.

    A claim may be prepared although its row is committed; so may a release, which the lock waits for. What is claimed
    anew by then must be locked in its turn. Raises Conflict if that goes on and on.
    """
    waited = False
    for _ in range(_HOLD_ROUNDS):
        cursor = await connection.execute(_hold_text(claim), (values,))
        held = {(place, shard) for place, shard in await cursor.fetchall()}
        found = await look_up_claims(connection, claim, values)
        claimed = {(place, shard) for place, (shard, _) in enumerate(found) if shard is not None}
        if not claimed <= held:
            continue
        if waited or len(claimed) == len(found):
            return found
        await wait_for_prepared_claims(connection, claim, values)
        waited = True
    raise errors.Conflict(f'rows of "{claim.table}" move again and again', table=str(claim.table))


@lru_cache
def _hold_text(claim: Claim) -> bytes:
    return (
        sql.SQL(
            "SELECT k.{place}::integer - 1, c.{shard}"
            " FROM json_populate_recordset(NULL::{claims}, %s) WITH ORDINALITY AS k({columns}, {shard}, {place})"
            " JOIN {claims} c ON {same} ORDER BY {columns_of_k}, c.{shard} FOR KEY SHARE OF c"
        )
        .format(
            place=identifier(PLACE),
            shard=identifier(CLAIMING_SHARD),
            claims=table_identifier(claim.claims),
            columns=column_list(claim.columns),
            same=same_value(claim, "c", "k"),
            columns_of_k=column_list(claim.columns, alias="k"),
        )
        .as_bytes()
    )


@lru_cache
def _claim_text(claim: Claim) -> bytes:
    # A row that was there before has been updated by this transaction, which xmax then tells.
    return _text(
        claim,
        "WITH claimed AS ({insert} DO UPDATE SET {shard} = EXCLUDED.{shard} RETURNING xmax <> 0 AS present)"
        " SELECT count(*) FILTER (WHERE present) FROM claimed",
    )


@lru_cache
def _wait_text(claim: Claim) -> bytes:
    return _text(claim, "{insert} DO NOTHING")


@lru_cache
def _release_text(claim: Claim) -> bytes:
    return _text(claim, "DELETE FROM {claims} c USING {given} WHERE {same} AND c.{shard} = %s")


@lru_cache
def _look_up_text(claim: Claim) -> bytes:
    # While the constraint waits, two shards may have claimed one value.
    place = identifier(PLACE)
    return (
        sql.SQL(
            "SELECT (SELECT min(c.{shard}) FROM {claims} c WHERE {same}),"
            " (min(k.{place}) OVER (PARTITION BY {values}))::integer - 1"
            " FROM json_populate_recordset(NULL::{claims}, %s) WITH ORDINALITY AS k({columns}, {shard}, {place})"
            " ORDER BY k.{place}"
        )
        .format(
            shard=identifier(CLAIMING_SHARD),
            claims=table_identifier(claim.claims),
            same=same_value(claim, "c", "k"),
            place=place,
            values=column_list(claim.columns, alias="k"),
            columns=column_list(claim.columns),
        )
        .as_bytes()
    )


def _text(claim: Claim, template: str) -> bytes:
    claims = table_identifier(claim.claims)
    names = {
        "claims": claims,
        "columns": column_list(claim.columns),
        "columns_of_k": column_list(claim.columns, alias="k"),
        "shard": identifier(CLAIMING_SHARD),
        "given": sql.SQL("json_populate_recordset(NULL::{}, %s) k").format(claims),
        "same": same_value(claim, "c", "k"),
    }
    insert = sql.SQL(
        # Without an alias, claims on a table called excluded would be taken for the proposed row.
        "INSERT INTO {claims} AS written ({columns}, {shard}) SELECT DISTINCT {columns}, %s::integer FROM {given}"
        " ORDER BY {columns} ON CONFLICT ({columns}, {shard})"
    )
    return sql.SQL(template).format(insert=insert.format(**names), **names).as_bytes()
