"""Reading a schema from PostgreSQL: the database of a shard, or DDL loaded into a scratch database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow, tuple_row

from crosskey import errors
from crosskey.catalog.model import Database
from crosskey.shard_node.postgres.postgres_errors import is_passing
from crosskey.shard_node.schema.running import RunSchema, refuse_rows, run_schema
from crosskey.shard_node.schema.scratch import Scratch, scratch_database
from crosskey.shard_node.schema.view_reading import ViewText, read_view
from crosskey.shard_node.sql import load

Connection = psycopg.AsyncConnection[TupleRow]

T = TypeVar("T")
Read: TypeAlias = Callable[[Connection], Awaitable[T]]

# More than any schema takes that a person wrote; a text that never ends must not keep a scratch database.
PLANNING_SECONDS = 120.0

_SETTING_MODES = r"""
SELECT p.oid::pg_catalog.regprocedure::text
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND p.prosrc ~* '\mset(\s|--[^\n]*|/\*.*?\*/)+constraints\M(?!\s*=)'
ORDER BY 1
"""


async def describe(connection: psycopg.AsyncConnection[TupleRow]) -> Database:
    """Reads the user's tables and foreign keys; what is in a schema of PostgreSQL's or Crosskey's own is left out.

    Works inside an open transaction, whose changes it sees, and outside of one.
    """
    # Rolled back, so that the search path is as it was, also inside a longer transaction.
    async with connection.transaction(force_rollback=True), connection.cursor(row_factory=tuple_row) as cursor:
        # Compiling the query takes a hundred times as long as running it.
        await cursor.execute("SET LOCAL jit TO off; SET LOCAL search_path TO pg_catalog")
        await cursor.execute(load("describe").encode(), prepare=False)
        [(description,)] = await cursor.fetchall()
    database = Database.from_json(description.encode())
    if not database.views:
        return database
    texts = msgspec.json.decode(description, type=_Views).view_texts
    return msgspec.structs.replace(database, view_queries=tuple(map(read_view, texts)))


class _Views(msgspec.Struct):
    """What else the description of a schema has: its views, as texts that PostgreSQL alone understands."""

    view_texts: tuple[ViewText, ...]


@dataclass(frozen=True)
class Inspected(Generic[T]):
    """What DDL makes of an empty database, what else was read of it there, and how its text was taken."""

    database: Database
    more: T
    run: RunSchema


async def inspect_schema(dsn: str, schema_sql: str) -> Inspected[None]:
    """Describes what DDL makes of an empty database, without leaving a trace of it.

    The DDL runs as it is, but for what is skipped, in a transaction of a scratch database beside the one that `dsn`
    names, as a role that owns nothing else. Raises SchemaRefused with PostgreSQL's message and the line if it fails, if
    it does more than a schema does, and if it could not be installed in one distributed transaction: it ends the
    transaction, does what cannot be prepared, writes rows, or makes a schema with a name of Crosskey's own. Raises
    NotSupported if there is no such role, psycopg.OperationalError if the server does not answer, or has no room.
    """
    return await inspect_schema_with(dsn, schema_sql, _nothing_more)


async def inspect_schema_with(dsn: str, schema_sql: str, read: Read[T]) -> Inspected[T]:
    """As inspect_schema; and answers what `read` reads of the loaded schema as well."""
    if "\0" in schema_sql:
        raise errors.SchemaRefused("the schema contains a NUL character")
    async with scratch_database(dsn) as scratch, await scratch.connect() as connection:
        loading = _load_and_describe(connection, schema_sql, read)
        return await within_time(scratch, loading, PLANNING_SECONDS)


async def within_time(scratch: Scratch, work: Coroutine[Any, Any, T], seconds: float = PLANNING_SECONDS) -> T:
    """The answer of what works in a scratch database. Raises SchemaRefused after so long.

    Then, and when it is cancelled, it ends with its session: a text may catch all else.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
        raise errors.SchemaRefused(f"the schema takes longer than {seconds:.0f} s to load")
    finally:
        if not task.done():
            await asyncio.shield(scratch.end_sessions())
            await asyncio.wait({task})
            task.exception()


async def _nothing_more(_connection: Connection) -> None:
    pass


async def _load_and_describe(connection: Connection, schema_sql: str, read: Read[T]) -> Inspected[T]:
    await connection.execute("BEGIN")
    run = await run_schema(connection, schema_sql)
    try:
        return Inspected(*await _judge(connection, read), run)
    except psycopg.Error as error:
        if connection.broken or is_passing(error):
            raise
        raise errors.SchemaRefused(error.diag.message_primary or str(error), sqlstate=error.sqlstate) from error


async def _judge(connection: Connection, read: Read[T]) -> tuple[Database, T]:
    database = await judge_schema(connection)
    more = await read(connection)
    await _refuse_unpreparable(connection)
    return database, more


async def judge_schema(connection: Connection) -> Database:
    """The description of a schema that was run in the transaction that is open. Raises SchemaRefused."""
    database = await describe(connection)
    await _refuse_constraint_modes(connection)
    await refuse_rows(connection, database.tables)
    return database


async def _refuse_constraint_modes(connection: Connection) -> None:
    """A coordinated transaction holds back every foreign key; what sets their modes behind its back undoes that.

    White space and comments may stand between the two words. One that a function puts together is not found.
    """
    cursor = await connection.execute(_SETTING_MODES)
    for (function,) in await cursor.fetchall():
        raise errors.SchemaRefused(
            f"function {function}: SET CONSTRAINTS in a function would undo what holds foreign keys back until other"
            " shards have been asked",
            hint="Say set_constraints in a Transact.",
        )


async def _refuse_unpreparable(connection: Connection) -> None:
    """Prepares the transaction as an installation does, and rolls it back."""
    cursor = await connection.execute("SELECT pg_catalog.current_setting('max_prepared_transactions')::integer > 0")
    if not all(enabled for (enabled,) in await cursor.fetchall()):
        # Good enough to plan a schema with; a shard node does not start on such a server.
        return
    gid = sql.Literal(connection.info.dbname)
    await connection.execute(sql.SQL("PREPARE TRANSACTION {}").format(gid))
    await connection.execute(sql.SQL("ROLLBACK PREPARED {}").format(gid))
