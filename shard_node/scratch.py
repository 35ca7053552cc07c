"""Scratch databases: made for one schema, and always dropped again."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from shard_node.sql import load

PREFIX = "crosskey_scratch_"


@asynccontextmanager
async def scratch_database(dsn: str) -> AsyncIterator[str]:
    """Makes an empty UTF-8 database with the locale of the one that `dsn` names, and answers its DSN and drops it.

    Its name is also the gid that a transaction in it may be prepared under. Raises psycopg.Error if the role may not
    create databases or the server does not answer.
    """
    name = PREFIX + uuid.uuid4().hex
    try:
        await _create(dsn, name)
        yield make_conninfo(dsn, dbname=name)
    finally:
        # Also when this task is cancelled, once or again and again.
        await asyncio.shield(_drop(dsn, name))


async def _create(dsn: str, name: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        cursor = await connection.execute(load("create_scratch").encode(), {"name": name})
        for (statement,) in await cursor.fetchall():
            await connection.execute(statement.encode(), prepare=False)


async def _drop(dsn: str, name: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await _roll_back_prepared(connection, make_conninfo(dsn, dbname=name), name)
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
