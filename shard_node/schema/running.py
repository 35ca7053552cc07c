"""Running the text of a schema: statement by statement, each in a message of its own, and nothing but a schema."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import ExecStatus, TransactionStatus
from psycopg.rows import tuple_row

from crosskey import errors
from crosskey.catalog.model import Table
from crosskey.catalog.skipped import Skipped, shortened
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import is_passing
from crosskey.shard_node.schema.admission import check_statement
from crosskey.shard_node.schema.fingerprint import Fingerprint
from crosskey.shard_node.schema.skipping import Taken, begins_anew, take
from crosskey.shard_node.sql import load
from crosskey.shard_node.sql_text.sql_script import Statement, next_statement


@dataclass(frozen=True)
class _Text:
    """The text of a schema, and how many of its lines are not counted."""

    sql: str
    lines_before: int = 0

    def line(self, position: int) -> int:
        """The line of a position."""
        return self.sql.count("\n", 0, position) + 1 - self.lines_before


@dataclass(frozen=True)
class RunSchema:
    """What was made of a text: what was skipped of it, and the fingerprint of the rest."""

    skipped: tuple[Skipped, ...]
    fingerprint: str


async def run_schema(connection: Connection, schema_sql: str, *, lines_before: int = 0) -> RunSchema:
    """Runs a schema in the transaction that is open, and sets back what it has set. Lines count behind `lines_before`.

    Raises SchemaRefused with the line for a statement that fails or is none of a schema's; for what touches more than a
    schema does, however it is put; and for one that writes rows. Errors of psycopg that say nothing of the schema pass.
    """
    before = await _footprint(connection)
    skipped: list[Skipped] = []
    fingerprint = Fingerprint()
    text = _Text(schema_sql, lines_before)
    async for statement, line, taken in _statements(connection, text):
        if taken.skipped and line > 0:
            skipped.append(Skipped(line, shortened(statement.text), taken.skipped))
        if taken.tokens:
            await _refuse_what_is_no_schema(connection, statement, line, text)
            await _run(connection, statement, taken, text)
            fingerprint.take_in(taken, schema_sql)
        if begins_anew(statement):
            await connection.execute("RESET ALL")
            fingerprint.forget_settings()
    # A dump sets its own search path and the like.
    await connection.execute("RESET ALL")
    await _refuse_touched(connection, before)
    return RunSchema(tuple(skipped), fingerprint.hexdigest())


async def run_trusted(connection: Connection, schema_sql: str) -> None:
    """Runs a schema that is in force once more, elsewhere; errors of psycopg pass."""
    async for statement, _, taken in _statements(connection, _Text(schema_sql)):
        if taken.tokens:
            await _execute(connection, taken.text)
        if begins_anew(statement):
            await connection.execute("RESET ALL")
    await connection.execute("RESET ALL")


async def refuse_rows(connection: Connection, tables: Iterable[Table]) -> None:
    """Raises SchemaRefused if there are rows: those that DDL makes would be on every shard at once."""
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
        raise _writes_rows(name)


async def _statements(connection: Connection, text: _Text) -> AsyncIterator[tuple[Statement, int, Taken]]:
    """Each statement, its line and what is left of it, split as the session would read it when it comes to it."""
    position, line, counted, empty = 0, 1 - text.lines_before, 0, True
    while True:
        backslashes = connection.info.parameter_status("standard_conforming_strings") == "off"
        statement, position = next_statement(text.sql, position, backslashes=backslashes)
        if statement is None:
            return
        line += text.sql.count("\n", counted, statement.start)
        counted = statement.start
        taken = take(statement, line, empty=empty)
        empty = empty and taken.words[:1] not in (("create",), ("do",))
        yield statement, line, taken


async def _refuse_what_is_no_schema(connection: Connection, statement: Statement, line: int, text: _Text) -> None:
    try:
        check_statement(statement, line)
    except errors.SchemaRefused:
        # It may only be misspelt; then PostgreSQL says it better.
        await _parse(connection, statement, text)
        raise


async def _parse(connection: Connection, statement: Statement, text: _Text) -> None:
    """Has PostgreSQL read a statement, which does not run it. Raises SchemaRefused for a syntax error."""
    connection.pgconn.send_prepare(b"", statement.text.encode())
    [result] = await connection.wait(execute(connection.pgconn))
    if result.status == ExecStatus.FATAL_ERROR:
        error = error_from_result(result)
        raise _refusal(error, statement, text) from error


async def _run(connection: Connection, statement: Statement, taken: Taken, text: _Text) -> None:
    try:
        await _execute(connection, taken.text)
    except psycopg.Error as error:
        if connection.broken or is_passing(error):
            raise
        raise _refusal(error, statement, text) from error
    if connection.info.transaction_status != TransactionStatus.INTRANS:
        raise errors.SchemaRefused("the schema ends its transaction")


async def _execute(connection: Connection, text: str) -> None:
    # A binary answer is asked for in the protocol in which a message is one statement, whatever it looks like.
    await connection.execute(text.encode(), prepare=False, binary=True)
    if connection.info.parameter_status("client_encoding") != "UTF8":
        # The text is UTF-8, whatever the file was from which it comes.
        await connection.execute("SET client_encoding = 'UTF8'")


async def _footprint(connection: Connection) -> set[tuple[str, ...]]:
    async with connection.cursor(row_factory=tuple_row) as cursor:
        await cursor.execute(load("footprint").encode(), prepare=False)
        return set(await cursor.fetchall())


async def _refuse_touched(connection: Connection, before: set[tuple[str, ...]]) -> None:
    for touched, name, _ in sorted(before ^ await _footprint(connection)):
        if touched == "rows":
            raise _writes_rows(name)
        if touched == "a schema of Crosskey's":
            raise errors.SchemaRefused(f'schema "{name}": names that start with crosskey are Crosskey\'s own')
        raise errors.SchemaRefused(
            f"the schema touches {touched}", hint="A schema makes tables, types, functions and the like, and no more."
        )


def _writes_rows(table: str) -> errors.SchemaRefused:
    return errors.SchemaRefused(f'table "{table}": the schema writes rows; insert them through the router', table=table)


def _refusal(error: psycopg.Error, statement: Statement, text: _Text) -> errors.SchemaRefused:
    position = statement.start + int(error.diag.statement_position or 1) - 1
    message = error.diag.message_primary or str(error)
    return errors.SchemaRefused(
        f"line {text.line(position)}: {message}, in: {shortened(statement.text)}",
        table=error.diag.table_name,
        constraint=error.diag.constraint_name,
        sqlstate=error.sqlstate,
        detail=error.diag.message_detail,
        hint=_hint_on_extension(error, statement) or error.diag.message_hint,
    )


def _hint_on_extension(error: psycopg.Error, statement: Statement) -> str | None:
    """What to do about an extension that cannot be made; None if it is none."""
    if statement.words[:2] != ("create", "extension"):
        return None
    name = next(word for word in statement.words[2:] if word not in ("if", "not", "exists"))
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return (
            f"Only a superuser may make it. Run `python -m crosskey.shard_node provision` with --extension {name} for"
            f" every shard; `crosskey up`, `plan` and `advise` take --extension {name} too."
        )
    if isinstance(error, psycopg.errors.FeatureNotSupported | psycopg.errors.UndefinedFile):
        return (
            "This PostgreSQL does not have it: install it on the server of every shard, or name a PostgreSQL that has"
            " it with --postgres-bin."
        )
    return None
