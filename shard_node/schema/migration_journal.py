"""The journal of migrations, on the first shard: what was asked for, and how far it has come."""

from __future__ import annotations

from typing import Any

import psycopg

from crosskey import errors
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.internal.v1.transactions_pb2 import FlipSchema
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.schema.installation import INSTALLATION_LOCK
from crosskey.shard_node.schema.shard_schema import read_epoch
from crosskey.v1 import admin_pb2

_States = admin_pb2.MigrationDescription.State
_OVER = (_States.STATE_DONE, _States.STATE_ABORTED)
_BEFORE_FLIP = {_States.STATE_FINISHING: _States.STATE_PREPARING, _States.STATE_ABORTED: _States.STATE_GOING_BACK}

_BEGIN = """
INSERT INTO crosskey.migration (migration, epoch, state, old_sql)
SELECT %s, %s, %s, sql FROM crosskey.schema RETURNING id
"""
_NOTE = """
UPDATE crosskey.migration SET state = %(state)s, message = %(message)s, ended_at = CASE WHEN %(over)s THEN now() END
WHERE id = %(id)s AND ended_at IS NULL AND state = %(before)s
"""
_NOTE_FLIP = """
UPDATE crosskey.migration SET state = %(state)s, ended_at = CASE WHEN %(over)s THEN now() END
WHERE id = %(id)s AND ended_at IS NULL AND state = %(before)s
"""
_READ = """
SELECT id, migration, epoch, state, message, began_at, ended_at, old_sql
FROM crosskey.migration ORDER BY id DESC LIMIT %s
"""


async def note(connection: Connection, request: proto.NoteMigrationRequest) -> int:
    """Begins a migration, or notes how far it has come; answers its number.

    Raises MigrationUnderWay if one is to begin and another one is under way; Conflict if it has come elsewhere
    meanwhile, or another schema is in force than the one that it was planned for.
    """
    if not request.id:
        return await _begin(connection, request)
    parameters = {
        "id": request.id,
        "state": request.state,
        "message": request.message,
        "over": request.state in _OVER,
        "before": request.state_before,
    }
    cursor = await connection.execute(_NOTE, parameters)
    if not cursor.rowcount:
        raise _elsewhere(request.id)
    return request.id


async def note_flip(connection: Connection, flip: FlipSchema) -> None:
    """Notes in a flip's own transaction what it is for its migration: it happens only if nobody gave that up.

    Raises Conflict.
    """
    parameters = {
        "id": flip.migration,
        "state": flip.state_after,
        "over": flip.state_after in _OVER,
        "before": _BEFORE_FLIP[flip.state_after],
    }
    if not (await connection.execute(_NOTE_FLIP, parameters)).rowcount:
        raise _elsewhere(flip.migration)


def _elsewhere(number: int) -> errors.Conflict:
    return errors.Conflict(
        f"migration {number} is not where it was: another client gave it up, or went on with it",
        hint="`crosskey migrate status` shows where it is.",
    )


async def read_journal(connection: Connection, limit: int) -> list[proto.JournalEntry]:
    """The migrations that were begun, the newest first."""
    cursor = await connection.execute(_READ, (limit,))
    return [_entry(row) for row in await cursor.fetchall()]


async def _begin(connection: Connection, request: proto.NoteMigrationRequest) -> int:
    asked = request.migration.SerializeToString()
    try:
        async with connection.transaction():
            # No flip comes in between.
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (INSTALLATION_LOCK,))
            if await read_epoch(connection) != request.epoch:
                raise errors.Conflict("another migration came into force since this one was planned")
            cursor = await connection.execute(_BEGIN, (asked, request.epoch, _States.STATE_PREPARING))
            [(number,)] = await cursor.fetchall()
    except psycopg.errors.UniqueViolation as error:
        raise errors.MigrationUnderWay(
            "another migration is under way",
            hint="`crosskey migrate status` shows it. Wait for it, `migrate apply --resume`, or `migrate abort`.",
        ) from error
    return int(number)


def _entry(row: tuple[Any, ...]) -> proto.JournalEntry:
    number, migration, epoch, state, message, began_at, ended_at, old_sql = row
    described = admin_pb2.MigrationDescription(
        id=number, state=state, migration=admin_pb2.Migration.FromString(migration), message=message
    )
    described.began_at.FromDatetime(began_at)
    if ended_at is not None:
        described.ended_at.FromDatetime(ended_at)
    return proto.JournalEntry(description=described, epoch=epoch, old_sql=old_sql)
