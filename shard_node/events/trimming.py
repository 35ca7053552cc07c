"""Deleting events that nobody is to read any more: by age, and by the room that they take on the disk.

What is deleted, and how far, is one transaction: a reader either finds all events behind its position, or is told that
some are gone.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

import psycopg
import structlog

from crosskey import errors
from crosskey.shard_node.events.settled import Settled
from crosskey.shard_node.postgres.database import Connection, Database
from crosskey.shard_node.postgres.postgres_errors import translated

BATCH = 5000
"""Events that one transaction deletes."""

SETTLING_LOOKS = 20
SETTLING_SECONDS = 0.05
"""How often, and how far apart, it is looked whether what is open is done: else the next turn deletes."""

# Any number, other than those of starting and installing: one process of several deletes.
_LOCK = 4_853_921_079

_TRY_LOCK = b"SELECT pg_try_advisory_lock(%s)"
_UNLOCK = b"SELECT pg_advisory_unlock(%s)"

# Most of the time there is nothing to do, and this is all that is asked.
_IS_DUE = b"""
SELECT 1 WHERE pg_total_relation_size('crosskey.event') > %s
    OR (SELECT time FROM crosskey.event ORDER BY position LIMIT 1) < now() - make_interval(secs => %s)
"""
# The last of the first events that is too old.
_TOO_OLD = b"""
SELECT max(position) FROM (
    SELECT position, time FROM crosskey.event WHERE position <= %s ORDER BY position LIMIT %s
) AS first WHERE time < now() - make_interval(secs => %s)
"""
# The room on the disk stays taken when events are deleted. So if that is too much, events are counted: of these, it is
# the last one behind which the others fit.
_ROOM = b"SELECT pg_total_relation_size('crosskey.event')"
_TOO_MANY = b"""
SELECT max(position) FROM (
    SELECT position, sum(pg_column_size(payload) + 200) OVER (ORDER BY position DESC) AS bytes FROM crosskey.event
) sized
WHERE position <= %s AND bytes > %s
"""
_DELETE = b"""
WITH gone AS (
    DELETE FROM crosskey.event WHERE position IN (
        SELECT position FROM crosskey.event WHERE position <= %s ORDER BY position LIMIT %s
    ) RETURNING position
), last AS (
    SELECT max(position) AS position, count(*) AS count FROM gone
), noted AS (
    UPDATE crosskey.event_trimmed t SET position = greatest(t.position, last.position) FROM last WHERE last.count > 0
)
SELECT count FROM last
"""

_log = structlog.get_logger(__name__)


class Retention(NamedTuple):
    """How long events are kept, and how much room they may take."""

    seconds: float
    max_bytes: int


async def trim_regularly(database: Database, retention: Retention, interval_seconds: float) -> None:
    """Deletes what need not be kept, again and again, until it is cancelled."""
    while True:
        await asyncio.sleep(interval_seconds)
        try:
            async with database.connection() as connection:
                await trim(connection, retention)
        except (psycopg.Error, errors.CrosskeyError) as error:
            _log.warning("events not deleted", error=str(error))


async def trim(connection: Connection, retention: Retention) -> int:
    """Deletes what need not be kept; answers how many events. Does nothing while another process is at it."""
    with translated():
        if await _number(connection, _IS_DUE, retention.max_bytes, retention.seconds) is None:
            return 0
        if not await _number(connection, _TRY_LOCK, _LOCK):
            return 0
        try:
            return await _trim(connection, retention)
        finally:
            await connection.execute(_UNLOCK, (_LOCK,))


async def _trim(connection: Connection, retention: Retention) -> int:
    settled = await _settled_position(connection)
    if settled is None:
        return 0
    deleted = 0
    while (last := await _number(connection, _TOO_OLD, settled, BATCH, retention.seconds)) is not None:
        deleted += await _number(connection, _DELETE, last, BATCH) or 0
    if (await _number(connection, _ROOM) or 0) > retention.max_bytes:
        deleted += await _trim_to_size(connection, settled, retention)
    return deleted


async def _trim_to_size(connection: Connection, settled: int, retention: Retention) -> int:
    """Deletes the first events until the others fit."""
    last = await _number(connection, _TOO_MANY, settled, retention.max_bytes)
    deleted = 0
    while last is not None and (count := await _number(connection, _DELETE, last, BATCH)):
        deleted += count
    if deleted:
        _log.warning("events deleted before their time, as they took too much room", events=deleted)
    return deleted


async def _settled_position(connection: Connection) -> int | None:
    """A position up to which all is settled; None if something stays open for too long.

    No other event may be deleted: one that is not committed yet would come behind what is told to be gone.
    """
    settled = Settled(connection)
    for _ in range(SETTLING_LOOKS):
        await settled.look()
        if settled.position is not None:
            return settled.position
        await asyncio.sleep(SETTLING_SECONDS)
    return None


async def _number(connection: Connection, query: bytes, *parameters: object) -> int | None:
    cursor = await connection.execute(query, parameters)
    row = await cursor.fetchone()
    return None if row is None else row[0]
