"""Reading a schema from PostgreSQL: the database of a shard, or DDL loaded into a scratch database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias, TypeVar

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, tuple_row

from catalog.model import Database, Table
from crosskey import errors
from shard_node.postgres.postgres_errors import is_passing
from shard_node.schema.scratch import scratch_database
from shard_node.sql import load

Connection = psycopg.AsyncConnection[TupleRow]

T = TypeVar("T")
Read: TypeAlias = Callable[[Connection], Awaitable[T]]

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
        await cursor.execute("SET LOCAL search_path TO pg_catalog")
        await cursor.execute(load("describe").encode(), prepare=False)
        [(description,)] = await cursor.fetchall()
    return Database.from_json(description.encode())


async def inspect_schema(dsn: str, schema_sql: str) -> Database:
    """Describes what DDL makes of an empty database, without leaving a trace of it.

    The DDL runs verbatim, in a transaction of a scratch database beside the one that `dsn` names. Raises SchemaRefused
    with PostgreSQL's message and the line if it fails, and if it could not be installed in one distributed transaction:
    it ends the transaction, does what cannot be prepared, writes rows, or makes a schema with a name of Crosskey's own.
    Raises psycopg.OperationalError if the server does not answer, or has no room.
    """
    database, _ = await inspect_schema_with(dsn, schema_sql, _nothing_more)
    return database


async def inspect_schema_with(dsn: str, schema_sql: str, read: Read[T]) -> tuple[Database, T]:
    """As inspect_schema; and answers what `read` reads of the loaded schema as well."""
    if "\0" in schema_sql:
        raise errors.SchemaRefused("the schema contains a NUL character")
    async with (
        scratch_database(dsn) as scratch_dsn,
        await psycopg.AsyncConnection.connect(scratch_dsn, autocommit=True) as connection,
    ):
        try:
            return await _load_and_describe(connection, schema_sql, read)
        except psycopg.Error as error:
            if connection.broken or is_passing(error):
                raise
            # Not left to the connection's own exit, which would try a rollback in the middle of a COPY.
            await connection.close()
            raise _refusal(error, schema_sql) from error


async def _nothing_more(_connection: Connection) -> None:
    pass


async def _load_and_describe(connection: Connection, schema_sql: str, read: Read[T]) -> tuple[Database, T]:
    await connection.execute("BEGIN")
    transaction_id = await _transaction_id(connection)
    # Without parameters, PostgreSQL takes several statements at once.
    await connection.execute(schema_sql.encode(), prepare=False)
    status = connection.info.transaction_status
    if status != TransactionStatus.INTRANS or await _transaction_id(connection) != transaction_id:
        raise errors.SchemaRefused(
            "the schema ends its transaction: leave out BEGIN, COMMIT and ROLLBACK, it is installed whole or not at all"
        )
    database = await describe(connection)
    more = await read(connection)
    await _refuse_own_schemas(connection)
    await _refuse_constraint_modes(connection)
    await _refuse_rows(connection, database.tables)
    await _refuse_unpreparable(connection)
    return database, more


async def _transaction_id(connection: Connection) -> object:
    return await (await connection.execute("SELECT pg_catalog.pg_current_xact_id()::text")).fetchone()


async def _refuse_own_schemas(connection: Connection) -> None:
    cursor = await connection.execute("SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname ^@ 'crosskey'")
    for (name,) in await cursor.fetchall():
        raise errors.SchemaRefused(f'schema "{name}": names that start with crosskey are Crosskey\'s own')


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


async def _refuse_rows(connection: Connection, tables: tuple[Table, ...]) -> None:
    """Rows that the DDL inserts would be on every shard at once."""
    probes = [
        sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(
            sql.Literal(str(table.name)), sql.Identifier(table.name.schema, table.name.name)
        )
        for table in tables
        if table.kind == "r"
    ]
    if not probes:
        return
    cursor = await connection.execute(sql.SQL(" UNION ALL ").join(probes))
    for (name,) in await cursor.fetchall():
        raise errors.SchemaRefused(
            f'table "{name}": the schema writes rows; insert them through the router', table=name
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


def _refusal(error: psycopg.Error, schema_sql: str) -> errors.SchemaRefused:
    # The one error here that is psycopg's own.
    message = error.diag.message_primary or "a schema cannot COPY from or to its client"
    if error.diag.statement_position is not None:
        line = schema_sql.count("\n", 0, int(error.diag.statement_position) - 1) + 1
        message = f"line {line}: {message}"
    return errors.SchemaRefused(
        message,
        table=error.diag.table_name,
        constraint=error.diag.constraint_name,
        sqlstate=error.sqlstate,
        detail=error.diag.message_detail,
        hint=error.diag.message_hint,
    )
