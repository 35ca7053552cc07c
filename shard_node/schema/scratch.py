"""Scratch databases: made for one schema, and always dropped again; those of a node that died, by the next."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import make_conninfo

from shard_node.sql import load

PREFIX = "crosskey_scratch_"

# Their names say when they were made. Longer than the clocks of two nodes may differ: one that was only just made, and
# that nobody has connected to yet, is not left over.
LEFT_OVER_AGE_SECONDS = 900

# Autovacuum, which has no user, makes way for a DROP DATABASE.
_LEFT_OVER = """
SELECT datname FROM pg_database AS d
WHERE datname ~ ('^' || %(prefix)s || '[0-9]{10}_') AND pg_get_userbyid(datdba) = current_user
AND split_part(datname, '_', 3)::bigint < extract(epoch FROM clock_timestamp()) - %(age)s
AND NOT EXISTS (SELECT FROM pg_stat_activity AS a WHERE a.datid = d.oid AND a.usesysid IS NOT NULL)
"""

_DROP_ATTEMPTS = 3

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def scratch_database(dsn: str) -> AsyncIterator[str]:
    """Makes an empty UTF-8 database with the locale of the one that `dsn` names, and answers its DSN and drops it.

    Its name is also the gid that a transaction in it may be prepared under. Raises psycopg.Error if the role may not
    create databases or the server does not answer.
    """
    await drop_left_over(dsn)
    name = f"{PREFIX}{int(time.time())}_{uuid.uuid4().hex}"
    try:
        await _create(dsn, name)
        yield make_conninfo(dsn, dbname=name)
    finally:
        # Also when this task is cancelled, once or again and again.
        await asyncio.shield(_drop(dsn, name))


async def drop_left_over(dsn: str) -> None:
    """Drops the scratch databases of this role that a process left which was killed, with what is prepared in them.

    One that cannot be dropped is logged. Raises psycopg.Error if the server does not answer.
    """
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(_LEFT_OVER, {"prefix": PREFIX, "age": LEFT_OVER_AGE_SECONDS})
        names = [name for (name,) in await cursor.fetchall()]
    for name in names:
        try:
            await _drop(dsn, name)
        except psycopg.Error as error:
            # Another node may be at it.
            _log.warning("scratch database not dropped", database=name, error=str(error))


async def _create(dsn: str, name: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(load("create_scratch").encode(), {"name": name})
        for (statement,) in await cursor.fetchall():
            await connection.execute(statement.encode(), prepare=False)


async def _drop(dsn: str, name: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await _roll_back_prepared(connection, make_conninfo(dsn, dbname=name), name)
        for _ in range(_DROP_ATTEMPTS - 1):
            # A connection whose making was cancelled may be there only now; an attempt waits some seconds for its end.
            with suppress(psycopg.errors.ObjectInUse):
                await _drop_database(connection, name)
                return
        await _drop_database(connection, name)


async def _drop_database(connection: psycopg.AsyncConnection, name: str) -> None:
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = current_user",
        (name,),
    )
    # Not WITH (FORCE): it fails where autovacuum is at work, which PostgreSQL ends and waits for by itself.
    await connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))


async def _roll_back_prepared(connection: psycopg.AsyncConnection, scratch_dsn: str, gid: str) -> None:
    """Ends the transaction that a cancellation left prepared: no database with one can be dropped."""
    cursor = await connection.execute("SELECT FROM pg_prepared_xacts WHERE gid = %s", (gid,))
    if cursor.rowcount:
        async with await psycopg.AsyncConnection.connect(scratch_dsn, autocommit=True) as scratch:
            await scratch.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
