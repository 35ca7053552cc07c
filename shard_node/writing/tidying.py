"""Has PostgreSQL clear away what effects leave behind once they are taken.

Each effect is a row that its own transaction deletes: the table is always empty, and its file may be large. After a
load of many first references, every search for effects would read the dead rows of that load.
"""

from __future__ import annotations

import asyncio

import psycopg
import structlog

from crosskey import errors
from crosskey.shard_node.postgres.database import Connection, Database

TIDY_SECONDS = 10.0
"""How often it is looked at: one look costs a statement."""

_IS_LARGE = "SELECT pg_relation_size('crosskey.effect') > 1024 * 1024"
"""Some thousand dead rows. Those of single requests are cleared away by the next ones, page by page."""

# Nobody who writes waits for it: it gives back the room at the end only if nobody is using the table at that moment.
_VACUUM = "VACUUM crosskey.effect"

_log = structlog.get_logger(__name__)


async def tidy_regularly(database: Database) -> None:
    """Looks again and again, until it is cancelled."""
    while True:
        await asyncio.sleep(TIDY_SECONDS)
        try:
            async with database.connection() as connection:
                await tidy(connection)
        except (psycopg.Error, errors.CrosskeyError) as error:
            _log.warning("effects not cleared away", error=str(error))


async def tidy(connection: Connection) -> None:
    """Clears away what is left of effects if it is much. What an open transaction may see stays for another time."""
    cursor = await connection.execute(_IS_LARGE)
    if await cursor.fetchone() == (True,):
        await connection.execute(_VACUUM)
