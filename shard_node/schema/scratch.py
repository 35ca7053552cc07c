"""Scratch databases: made for one schema, and always dropped again; those of a node that died, by the next.

A planner owns each, a role that owns nothing else and that a schema's text runs as.
"""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import psycopg
import structlog
from psycopg import sql
from psycopg.conninfo import make_conninfo

from crosskey.shard_node.postgres.database import SESSION_OPTIONS, Connection
from crosskey.shard_node.postgres.planner import find_planner, planner_statement
from crosskey.shard_node.sql import load

PREFIX = "crosskey_scratch_"

_TEMPLATE_SUFFIX = "_template"

# Their names say when they were made. Longer than the clocks of two nodes may differ: one that was only just made, and
# that nobody has connected to yet, is not left over.
LEFT_OVER_AGE_SECONDS = 900

# A session of a planner ends long before it is so old, unless its node was killed. Autovacuum, which has no user, makes
# way for a DROP DATABASE.
_LEFT_OVER = """
SELECT datname FROM pg_database AS d
WHERE datname ~ ('^' || %(prefix)s || '[0-9]{10}_') AND pg_has_role(current_user, datdba, 'USAGE')
AND (NOT %(superuser)s OR starts_with(pg_get_userbyid(datdba), %(prefix)s))
AND split_part(datname, '_', 3)::bigint < extract(epoch FROM clock_timestamp()) - %(age)s
AND NOT EXISTS (
    SELECT FROM pg_stat_activity AS a WHERE a.datid = d.oid AND a.usesysid IS NOT NULL
    AND (a.usesysid <> d.datdba OR a.backend_start > clock_timestamp() - %(age)s * interval '1 second')
)
"""
_END_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = %s AND usename IS NOT NULL AND pg_has_role(current_user, usesysid, 'USAGE')
"""

_DROP_ATTEMPTS = 3
# A text may lift these; the limit of whoever runs it, and the end of the database, hold whatever it sets.
_TIMEOUTS = "-c statement_timeout=60s -c lock_timeout=10s -c idle_in_transaction_session_timeout=60s"

_log = structlog.get_logger(__name__)


def template_name(database: str) -> str:
    """The name of what scratch databases beside a database are copies of, if it is there."""
    return f"{database}{_TEMPLATE_SUFFIX}"


@dataclass(frozen=True)
class Scratch:
    """A scratch database: how its planner connects to it, and how its maker does elsewhere."""

    name: str
    dsn: str
    maker_dsn: str

    async def connect(self) -> Connection:
        """A connection of the planner's, in autocommit mode. Raises psycopg.OperationalError."""
        options = f"{SESSION_OPTIONS} {_TIMEOUTS}"
        return await psycopg.AsyncConnection.connect(self.dsn, autocommit=True, options=options)

    async def end_sessions(self) -> None:
        """Ends every session in it; no text can hold that up. Raises psycopg.Error."""
        async with await psycopg.AsyncConnection.connect(self.maker_dsn, autocommit=True) as connection:
            await connection.execute(_END_SESSIONS, (self.name,))


@asynccontextmanager
async def scratch_database(dsn: str) -> AsyncIterator[Scratch]:
    """Makes a UTF-8 database with the locale of the one that `dsn` names, answers it, and drops it.

    It has nothing but the extensions of the template beside that one, if there is one.

    Its name is also the gid that a transaction in it may be prepared under. Raises NotSupported if the role has no
    planner, psycopg.Error if it may not create databases or the server does not answer.
    """
    await drop_left_over(dsn)
    name = f"{PREFIX}{int(time.time())}_{uuid.uuid4().hex}"
    password = secrets.token_hex()
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        planner = await find_planner(connection)
    login = {"user": name, "password": password} if planner is None else {"user": planner}
    scratch = Scratch(name, make_conninfo(dsn, **{**login, "dbname": name}), dsn)
    try:
        await _create(scratch, login["user"], None if planner else password)
        yield scratch
    finally:
        # Also when this task is cancelled, once or again and again.
        await asyncio.shield(_drop(dsn, name))


async def drop_left_over(dsn: str) -> None:
    """Drops the scratch databases of this role that a process left which was killed, with what is prepared in them.

    One that cannot be dropped is logged. Raises psycopg.Error if the server does not answer.
    """
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        superuser = connection.info.parameter_status("is_superuser") == "on"
        parameters = {"prefix": PREFIX, "age": LEFT_OVER_AGE_SECONDS, "superuser": superuser}
        names = [name for (name,) in await (await connection.execute(_LEFT_OVER, parameters)).fetchall()]
    for name in names:
        try:
            await _drop(dsn, name)
        except psycopg.Error as error:
            # Another node may be at it.
            _log.warning("scratch database not dropped", database=name, error=str(error))


async def _create(scratch: Scratch, owner: str, password: str | None) -> None:
    """With a password, the owner is made too."""
    async with await psycopg.AsyncConnection.connect(scratch.maker_dsn, autocommit=True) as connection:
        if password is not None:
            await connection.execute(planner_statement(owner, password, exists=False), prepare=False)
        names = {"name": scratch.name, "owner": owner, "template": template_name(connection.info.dbname)}
        cursor = await connection.execute(load("create_scratch").encode(), names)
        for (statement,) in await cursor.fetchall():
            await connection.execute(statement.encode(), prepare=False)


async def _drop(dsn: str, name: str) -> None:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await _roll_back_prepared(connection, dsn, name)
        for _ in range(_DROP_ATTEMPTS - 1):
            # A connection whose making was cancelled may be there only now; an attempt waits some seconds for its end.
            with suppress(psycopg.errors.ObjectInUse):
                await _drop_database(connection, name)
                return
        await _drop_database(connection, name)


async def _drop_database(connection: Connection, name: str) -> None:
    await connection.execute(_END_SESSIONS, (name,))
    # Not WITH (FORCE): it fails where autovacuum is at work, which PostgreSQL ends and waits for by itself.
    await connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
    if connection.info.parameter_status("is_superuser") == "on":
        # The planner that was made for it.
        await connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))


async def _roll_back_prepared(connection: Connection, dsn: str, name: str) -> None:
    """Ends the transactions that a cancellation left prepared: no database with one can be dropped."""
    cursor = await connection.execute("SELECT gid, owner::text FROM pg_prepared_xacts WHERE database = %s", (name,))
    prepared = await cursor.fetchall()
    if not prepared:
        return
    async with await psycopg.AsyncConnection.connect(dsn, dbname=name, autocommit=True) as scratch:
        for gid, owner in prepared:
            await scratch.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner)))
            await scratch.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
