"""Waiting for claims that no statement can see yet although their rows are committed: those that are prepared.

A claim that is merely open is as good as none: its row is not committed either, and one PostgreSQL would not see it.
"""

from __future__ import annotations

import time
from functools import lru_cache

from psycopg import errors as postgres
from psycopg import sql

from crosskey import errors
from crosskey.catalog.plan import Claim
from crosskey.shard_node.guards.claims import CLAIMING_SHARD, same_value
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.sql_names import column_list, table_identifier

# How long a look at one value may wait before it is seen whether what is waited for is still prepared. Whoever holds
# the value ends the look by ending, so that a claim that is finished soon is not waited for any longer than it takes.
_LOOK_TIMEOUT_MS = 20

# A prepared transaction has no process. Its locks hang together by its virtual transaction.
_PREPARED_CLAIMERS = b"""
SELECT p.transaction::text FROM pg_prepared_xacts p
JOIN pg_locks own ON own.pid IS NULL AND own.locktype = 'transactionid' AND own.transactionid = p.transaction
WHERE p.database = current_database() AND EXISTS (
    SELECT FROM pg_locks claiming WHERE claiming.pid IS NULL AND claiming.locktype = 'relation'
    AND claiming.relation = %s::regclass AND claiming.mode = 'RowExclusiveLock'
    AND claiming.virtualtransaction = own.virtualtransaction
    AND claiming.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""
_LOCK_TIMEOUT = b"SELECT setting::integer FROM pg_settings WHERE name = 'lock_timeout'"


async def wait_for_prepared_claims(connection: Connection, claim: Claim, values: str) -> None:
    """Waits for every transaction that is prepared now and may have claimed one of the values, a JSON array.

    What is prepared later is not waited for: it was not committed when this began. Look again in any case: what was
    prepared may be committed by now without a wait. Raises Conflict if it takes longer than the lock time-out.
    """
    waited_for = await _prepared_claimers(connection, claim)
    if not waited_for:
        return
    deadline = await _deadline(connection)
    while waited_for and await _somebody_claims(connection, claim, values):
        if time.monotonic() > deadline:
            raise errors.Conflict(
                f'a value of "{claim.table}" is claimed by a transaction that is not finished', table=str(claim.table)
            )
        waited_for &= await _prepared_claimers(connection, claim)


async def _prepared_claimers(connection: Connection, claim: Claim) -> set[str]:
    """The prepared transactions that have written claims of that table."""
    claims = sql.Identifier(claim.claims.schema, claim.claims.name).as_string()
    cursor = await connection.execute(_PREPARED_CLAIMERS, (claims,))
    return {transaction for (transaction,) in await cursor.fetchall()}


async def _deadline(connection: Connection) -> float:
    """When the wait is over, by time.monotonic: a lock time-out of 0 is none."""
    cursor = await connection.execute(_LOCK_TIMEOUT)
    [(timeout_ms,)] = await cursor.fetchall()
    return time.monotonic() + timeout_ms / 1000 if timeout_ms else float("inf")


async def _somebody_claims(connection: Connection, claim: Claim, values: str) -> bool:
    """Whether some transaction, open or prepared, still holds one of the values that nobody is seen to claim.

    It claims them for all shards, which waits for whoever has claimed them, and takes that back.
    """
    await connection.execute(
        f"SAVEPOINT crosskey_waiting; SET LOCAL lock_timeout = {_LOOK_TIMEOUT_MS}".encode(), prepare=False
    )
    try:
        await connection.execute(_claim_for_all_text(claim), (values,))
    except postgres.LockNotAvailable:
        return True
    finally:
        await connection.execute(b"ROLLBACK TO crosskey_waiting; RELEASE crosskey_waiting", prepare=False)
    return False


@lru_cache
def _claim_for_all_text(claim: Claim) -> bytes:
    return (
        sql.SQL(
            "INSERT INTO {claims} ({columns}, {shard}) SELECT DISTINCT {columns_of_k}, place FROM {given},"
            " generate_series(0, (SELECT shards - 1 FROM crosskey.shard)) place"
            " WHERE NOT EXISTS (SELECT FROM {claims} c WHERE {same})"
            " ORDER BY {columns_of_k}, place ON CONFLICT ({columns}, {shard}) DO NOTHING"
        )
        .format(
            claims=table_identifier(claim.claims),
            columns=column_list(claim.columns),
            columns_of_k=column_list(claim.columns, alias="k"),
            shard=identifier(CLAIMING_SHARD),
            given=sql.SQL("json_populate_recordset(NULL::{}, %s) k").format(table_identifier(claim.claims)),
            same=same_value(claim, "c", "k"),
        )
        .as_bytes()
    )
