"""The flip of a migration on this shard, and its other steps.

The flip is part of one distributed transaction, with which the new schema comes into force on all shards. It is there
at once or not at all, and only if the shard then is as if the new schema had been installed. What an interrupted step
beside it leaves is taken away by whoever takes the step again.
"""

from __future__ import annotations

import asyncio
import random

import msgspec
import psycopg

from crosskey import errors
from crosskey.catalog.changes.pieces import Piece, by_key
from crosskey.internal.v1 import maintenance_pb2 as maintenance
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.shard_node.postgres.database import Connection, Database
from crosskey.shard_node.postgres.epochs import FENCE
from crosskey.shard_node.postgres.postgres_errors import is_passing
from crosskey.shard_node.schema.installation import INSTALLATION_LOCK
from crosskey.shard_node.schema.migration_journal import note_flip
from crosskey.shard_node.schema.piece_reading import differences, read_pieces
from crosskey.shard_node.schema.shard_schema import read_epoch
from crosskey.v1 import admin_pb2

_SET = b"SET search_path TO pg_catalog; SET check_function_bodies TO off"
_SET_LOCALLY = b"SET LOCAL search_path TO pg_catalog; SET LOCAL check_function_bodies TO off"
_IN_FORCE = "UPDATE crosskey.schema SET sql = %s, fingerprint = %s, description = %s::json, installed_at = now()"
_NEXT_EPOCH = "INSERT INTO crosskey.epoch (epoch, fingerprint) VALUES (%s, %s)"
_OLDER = f"coalesce(nullif(current_setting('crosskey.epoch', true), ''), '{2**63 - 1}')::bigint < "
"""Sessions that say nothing are no router's, and have no plan."""

_IS_GIVEN_UP = "SELECT FROM crosskey.given_up_migration WHERE id = %s"
_GIVE_UP = "INSERT INTO crosskey.given_up_migration (id) VALUES (%s) ON CONFLICT DO NOTHING"

STEP_LOCK_TIMEOUT_MS = 200
"""How long others wait behind a step that waits for a lock; it then makes way, and tries again."""

_UNVALIDATED = """
SELECT
    format('ALTER TABLE %I.%I VALIDATE CONSTRAINT %I', n.nspname, t.relname, k.conname),
    n.nspname || '.' || t.relname,
    k.conname
FROM pg_constraint k
JOIN pg_class t ON t.oid = k.conrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE NOT k.convalidated AND k.contype IN ('c', 'f') AND k.conparentid = 0 AND n.nspname !~ '^(pg_|crosskey)'
ORDER BY 2, 1
"""


async def flip_schema(connection: Connection, flip: proto.FlipSchema, shard: int) -> None:
    """Changes the schema in the transaction that is open on the connection.

    Raises Conflict if another flip was faster, the migration is given up, a clean-up is under way or a lock is not to
    be had; SchemaRefused if a statement fails here, a table has rows that must have none, or the shard would not be as
    the new schema says.
    """
    try:
        await connection.execute("SELECT set_config('lock_timeout', %s, true)", (f"{flip.lock_timeout_ms}ms",))
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (INSTALLATION_LOCK,))
        if await read_epoch(connection) != flip.epoch:
            raise errors.Conflict("another migration was faster")
        if flip.migration:
            await note_flip(connection, flip)
        locked = dict.fromkeys([*flip.locked, *(each.table for each in flip.must_be_empty)])
        if locked:
            text = f"LOCK TABLE {', '.join(locked)} IN ACCESS EXCLUSIVE MODE"
            await connection.execute(text.encode(), prepare=False)
        await _refuse_rows(connection, flip, shard)
        await connection.execute(_SET_LOCALLY)
        for statement in flip.statements:
            await connection.execute(statement.encode(), prepare=False)
        await _refuse_differences(connection, flip, shard)
        await connection.execute(_IN_FORCE, (flip.sql, flip.fingerprint, flip.description_json.decode()))
        await connection.execute(_NEXT_EPOCH, (flip.epoch + 1, flip.fingerprint))
    except psycopg.Error as error:
        if is_passing(error) or connection.broken:
            raise
        message = error.diag.message_primary or "the connection was lost"
        raise errors.SchemaRefused(
            f"the schema cannot be changed on shard {shard}: {message}",
            shard=shard,
            table=error.diag.table_name,
            constraint=error.diag.constraint_name,
            detail=error.diag.message_detail,
        ) from error


async def _refuse_rows(connection: Connection, flip: proto.FlipSchema, shard: int) -> None:
    """Looks at what must be empty, under the locks: clients wrote since it was planned."""
    for each in flip.must_be_empty:
        cursor = await connection.execute(f"SELECT FROM {each.table} LIMIT 1".encode(), prepare=False)
        if cursor.rowcount:
            kind = errors.Conflict if each.passing else errors.SchemaRefused
            raise kind(each.why, shard=shard)


async def _refuse_differences(connection: Connection, flip: proto.FlipSchema, shard: int) -> None:
    wanted = by_key(msgspec.json.decode(flip.pieces_json, type=list[Piece]))
    # A migration that was given up cannot take back the labels that it had added for its other steps.
    for difference in differences(wanted, await read_pieces(connection), more_labels=True):
        raise errors.SchemaRefused(
            f"shard {shard} would not be as the new schema says: {difference}",
            shard=shard,
            hint="`crosskey audit` shows what was changed there by hand. Set it right, then migrate.",
        )


def fence(table: str, epoch: int) -> str:
    """The statement by which a table refuses what plans of an older epoch write. The table is as SQL."""
    return (
        f'CREATE OR REPLACE TRIGGER "{FENCE}" BEFORE INSERT OR UPDATE OR DELETE ON {table} FOR EACH STATEMENT'
        f" WHEN ({_OLDER}{epoch}) EXECUTE FUNCTION crosskey.refuse_old_plan()"
    )


async def run_step(database: Database, request: maintenance.RunMigrationStepRequest) -> None:
    """Carries out a step beside the flip, or takes it back, while clients go on.

    No flip comes in between: what is in force then is not the step's. Raises Conflict if another epoch is in force, or
    the migration was given up here; SchemaRefused if rows forbid it, and what Database.connect raises.
    """
    async with await database.connect() as connection:
        await connection.execute(_SET)
        try:
            await _keep_flips_out(connection)
            if await read_epoch(connection) != request.epoch:
                raise errors.Conflict("another migration was faster")
            await (_undo if request.undo else _do)(connection, request)
        except psycopg.Error as error:
            if is_passing(error) or connection.broken:
                raise
            raise _refused(error, request.step.step) from error


async def _do(connection: Connection, request: maintenance.RunMigrationStepRequest) -> None:
    step = request.step
    if (await connection.execute(_IS_GIVEN_UP, (request.migration,))).rowcount:
        raise errors.Conflict(f"migration {request.migration} was given up")
    if step.done and await _answers_true(connection, step.done):
        return
    if step.clear:
        await _patiently(connection, step.clear)
    await _patiently(connection, step.step.sql)


async def _undo(connection: Connection, request: maintenance.RunMigrationStepRequest) -> None:
    """Takes a step back; if the migration is told, no step of it that comes late is taken any more."""
    if request.migration:
        await connection.execute(_GIVE_UP, (request.migration,))
    if request.step.step.undo:
        await _patiently(connection, request.step.step.undo)


async def _keep_flips_out(connection: Connection) -> None:
    """Returns once no flip is under way here; none is until the connection is closed.

    It asks again and again: an index that is made CONCURRENTLY would wait for whoever waits.
    """
    query = f"SELECT pg_try_advisory_lock({INSTALLATION_LOCK})"
    while True:
        if await _answers_true(connection, query):
            return
        await asyncio.sleep(random.uniform(0.5, 1.5) * STEP_LOCK_TIMEOUT_MS / 1000)  # no secret


async def list_unvalidated(connection: Connection) -> list[maintenance.ShardMigrationStep]:
    """The steps that validate what a flip has left to be validated."""
    cursor = await connection.execute(_UNVALIDATED.encode(), prepare=False)
    return [
        maintenance.ShardMigrationStep(
            step=admin_pb2.MigrationStep(
                phase=admin_pb2.MigrationStep.PHASE_AFTER,
                what="validate",
                table=table,
                sql=sql,
                lock="SHARE UPDATE EXCLUSIVE",
            ),
            constraint=constraint,
        )
        for sql, table, constraint in await cursor.fetchall()
    ]


async def _patiently(connection: Connection, text: str) -> None:
    """Runs a statement; one that waits for a lock for which others would wait behind it makes way again and again."""
    waits_for_nobody = " CONCURRENTLY " in text or " VALIDATE CONSTRAINT " in text
    timeout_ms = 0 if waits_for_nobody else STEP_LOCK_TIMEOUT_MS
    await connection.execute(f"SET lock_timeout = {timeout_ms}".encode())
    while True:
        try:
            await connection.execute(text.encode(), prepare=False)
            return
        except psycopg.errors.LockNotAvailable:
            await asyncio.sleep(random.uniform(0.5, 1.5) * STEP_LOCK_TIMEOUT_MS / 1000)  # no secret


async def _answers_true(connection: Connection, query: str) -> bool:
    cursor = await connection.execute(query.encode(), prepare=False)
    [(answer,)] = await cursor.fetchall()
    return bool(answer)


def _refused(error: psycopg.Error, step: admin_pb2.MigrationStep) -> errors.SchemaRefused:
    message = error.diag.message_primary or str(error)
    return errors.SchemaRefused(
        f"{message}, in: {step.sql}",
        table=error.diag.table_name or step.table,
        constraint=error.diag.constraint_name,
        sqlstate=error.sqlstate,
        detail=error.diag.message_detail,
        hint="Rows that are there do not meet it: mend them, and then apply it again, with --resume if need be.",
    )
