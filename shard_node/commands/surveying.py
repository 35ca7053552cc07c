"""Reading what advice on placement is given from: a schema in a scratch database, or a live database, untouched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from crosskey.advice.survey import Statement, Survey, TableFacts
from crosskey.catalog.model import Database
from crosskey.shard_node.commands.slots_carried import MARK, could_carry_slots, read_slots_carried
from crosskey.shard_node.schema.introspection import describe, inspect_schema_with
from crosskey.shard_node.sql import load

Connection = psycopg.AsyncConnection[TupleRow]

# The most frequent ones; few databases have more that matter.
MAX_STATEMENTS = 5000

NO_DATABASE: Final = "no database was asked"
NO_EXTENSION: Final = "the extension pg_stat_statements is not in the database"
NOT_LOADED: Final = "pg_stat_statements is not in shared_preload_libraries"
FORBIDDEN: Final = "the role may not read pg_stat_statements"

_STATEMENTS_SCHEMA = """
SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements'
"""

# The same text of several users is one statement. Without the right to read others' texts, theirs are left out.
_STATEMENTS = """
SELECT query, sum(calls)::bigint
FROM {}.pg_stat_statements(true)
WHERE dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
AND toplevel AND query IS NOT NULL AND strpos(query, {}) = 0
GROUP BY query
ORDER BY 2 DESC, 1
LIMIT %s
"""


class _Facts(msgspec.Struct, frozen=True):
    """What survey.sql answers."""

    tables: tuple[TableFacts, ...]
    quoted: dict[str, str]


async def survey_schema(dsn: str, schema_sql: str) -> Survey:
    """Surveys what DDL makes of an empty database; raises as inspect_schema does."""
    inspected = await inspect_schema_with(dsn, schema_sql, _read_facts)
    facts = inspected.more
    return Survey(
        inspected.database,
        facts.tables,
        facts.quoted,
        why_no_statements=NO_DATABASE,
        skipped=inspected.run.skipped,
    )


async def survey_database(dsn: str) -> Survey:
    """Surveys a live database in one READ ONLY transaction. Raises psycopg.Error if it does not answer."""
    async with read_only(dsn) as connection:
        database = await describe(connection)
        facts = await _read_facts(connection)
        statements, why_none = await _read_statements(connection)
        tables = tuple([await _with_slots(connection, database, table) for table in facts.tables])
    return Survey(database, tables, facts.quoted, statements, why_none, live=True)


@asynccontextmanager
async def read_only(dsn: str) -> AsyncIterator[Connection]:
    """A connection in a transaction that PostgreSQL lets write nothing."""
    async with (
        await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection,
        connection.transaction(force_rollback=True),
    ):
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield connection


async def _read_facts(connection: Connection) -> _Facts:
    # Rolled back, so that the search path is as it was.
    async with connection.transaction(force_rollback=True):
        await connection.execute("SET LOCAL search_path TO pg_catalog")
        cursor = await connection.execute(load("survey").encode(), prepare=False)
        [(facts,)] = await cursor.fetchall()
    return msgspec.json.decode(facts, type=_Facts)


async def _with_slots(connection: Connection, database: Database, facts: TableFacts) -> TableFacts:
    """The facts with the columns whose slot a table's ids carry; as they were where that cannot be read."""
    table = next((table for table in database.tables if table.name == facts.name), None)
    if table is None or not could_carry_slots(table):
        return facts
    try:
        async with connection.transaction():
            carried = await read_slots_carried(connection, table)
    except psycopg.errors.InsufficientPrivilege:
        return facts
    return msgspec.structs.replace(facts, slots_carried=carried)


async def _read_statements(connection: Connection) -> tuple[tuple[Statement, ...] | None, str]:
    """The statements that were run most often; or None, and why there are none."""
    found = await (await connection.execute(_STATEMENTS_SCHEMA)).fetchone()
    if found is None:
        return None, NO_EXTENSION
    try:
        async with connection.transaction():
            statements = sql.SQL(_STATEMENTS).format(sql.Identifier(*found), sql.Literal(MARK))
            cursor = await connection.execute(statements, [MAX_STATEMENTS])
            return tuple(Statement(query, calls) for query, calls in await cursor.fetchall()), ""
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return None, NOT_LOADED
    except psycopg.errors.InsufficientPrivilege:
        return None, FORBIDDEN
