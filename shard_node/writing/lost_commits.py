"""A commit whose connection to PostgreSQL was lost: PostgreSQL knows by the transaction's id what became of it.

The id is noted while the transaction runs, which costs nothing, and asked for only if the commit was not answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import psycopg
import structlog

from crosskey import errors
from crosskey.pauses import growing_pauses
from crosskey.shard_node.postgres.database import Database
from crosskey.shard_node.postgres.postgres_errors import unknown_if_lost

# A server that restarts is back by then.
PATIENCE_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 0.02
_LONGEST_PAUSE_SECONDS = 0.2

_STATUS = b"SELECT pg_xact_status(%s::text::xid8)"
_IN_PROGRESS = "in progress"

FindOut: TypeAlias = Callable[[str], Awaitable[bool | None]]
"""Whether the transaction with that id, as text, has committed; None if nobody can tell."""

_log = structlog.get_logger(__name__)


def asking(database: Database) -> FindOut:
    """Asks that database."""

    async def find_out(transaction: str) -> bool | None:
        pauses = growing_pauses(_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS, within=PATIENCE_SECONDS)
        while (status := await _status(database, transaction)) == _IN_PROGRESS:
            pause = next(pauses, None)
            if pause is None:
                return None
            await asyncio.sleep(pause)
        return None if status is None else status == "committed"

    return find_out


async def _status(database: Database, transaction: str) -> str | None:
    """What PostgreSQL says; while it cannot be asked, that the transaction is in progress."""
    try:
        async with database.finishing_connection() as connection:
            cursor = await connection.execute(_STATUS, (transaction,))
            [(status,)] = await cursor.fetchall()
    except (errors.ShardUnavailable, errors.Overloaded, psycopg.OperationalError):
        return _IN_PROGRESS
    except psycopg.Error as error:
        _log.warning("the outcome of a commit cannot be asked for", error=error.diag.message_primary)
        return None
    return None if status is None else str(status)


@asynccontextmanager
async def known_if_lost(find_out: FindOut, transaction: str | None) -> AsyncIterator[None]:
    """For what commits a transaction: asks for its outcome if the connection is lost meanwhile.

    Goes on as if nothing had happened if it is committed. Raises Conflict if it is not, which left no trace, and
    OutcomeUnknown if nobody can tell, or no id was noted.
    """
    try:
        yield
    except psycopg.OperationalError as error:
        told = unknown_if_lost(error)
        if told is error:
            raise
        committed = None if transaction is None else await find_out(transaction)
        if committed is None:
            raise told from error
        if not committed:
            raise errors.Conflict("the connection to the shard's PostgreSQL was lost before the commit") from error
