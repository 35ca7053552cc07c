"""Carrying out single statements on a connection, and operations that nothing may stop halfway."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import psycopg
from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import Table
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.shard_node.guards.reference_guards import written_everywhere
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import from_postgres, naming_table
from crosskey.shard_node.sql_text.key_ends import KeyEnds
from crosskey.shard_node.sql_text.sql_names import table_identifier
from crosskey.shard_node.writing import statements
from crosskey.shard_node.writing.loading import copy_rows

Answer = TypeVar("Answer")


async def execute_statement(
    connection: Connection,
    table: Table,
    statement: proto.Statement,
    result: proto.CommandResult,
    request_ids: str = "",
    lock_timeout_ms: int = 0,
    ends: KeyEnds | None = None,
) -> str | None:
    """Runs a statement; the result gets how many rows it changed, and them as JSON arrays.

    `request_ids` are for triggers, where the transaction does not have them yet. `lock_timeout_ms` is how long an
    insert, and what follows in its transaction, waits for a row's lock, if not as long as others. `ends` are for
    conditions over relations. Answers the id of its transaction, as text, if that has one and the statement tells it.
    Effects are left to the caller. Raises psycopg.Error and CrosskeyError.
    """
    try:
        if statement.lock_table:
            await _lock(connection, table)
            async with written_everywhere(connection):
                return await _execute(connection, table, statement, result, request_ids, ends=ends)
        return await _execute(connection, table, statement, result, request_ids, lock_timeout_ms, ends)
    except (psycopg.Error, errors.CrosskeyError) as error:
        named = naming_table(error, table.name)
        if named is error:
            raise
        raise named from error


async def _execute(
    connection: Connection,
    table: Table,
    statement: proto.Statement,
    result: proto.CommandResult,
    request_ids: str,
    lock_timeout_ms: int = 0,
    ends: KeyEnds | None = None,
) -> str | None:
    if statement.WhichOneof("statement") == "load":
        result.count = await copy_rows(connection, table, statement.load)
        return None
    text, parameters = statements.build(table, statement, request_ids, lock_timeout_ms, ends)
    cursor = await connection.execute(text, parameters)
    row = await cursor.fetchone()
    assert row is not None, "an aggregate answers one row"
    transaction, count, rows, verbatim, unmet, *places = row
    # Of no rows, json_agg is NULL.
    result.count, result.rows_json = count, (rows or "[]").encode()
    if unmet is not None:
        result.unmet_json = unmet.encode()
    if places:
        result.places.extend(places[0] or ())
    if statement.lock_table:
        result.verbatim_json = (verbatim or "[]").encode()
    assert transaction is None or isinstance(transaction, str), "an id is told as text"
    return transaction


async def _lock(connection: Connection, table: Table) -> None:
    """Keeps other writers from a reference table, so that all shards run the same statements in the same order.

    Readers and foreign-key checks go on.
    """
    lock = sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table_identifier(table.name))
    await connection.execute(lock, ())


async def uninterrupted(operation: Coroutine[Any, Any, Answer]) -> Answer:
    """Runs an operation to its end however often the caller is cancelled meanwhile: nothing stops a commit halfway."""
    task = asyncio.ensure_future(operation)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return task.result()
    if not task.cancelled():
        # Nobody is left to be told of an error.
        task.exception()
    raise cancelled


def tagged(error: Exception, tag: str) -> Exception:
    """The error of the command with that tag as it is answered: with the tag, if it is not empty, and in our words."""
    known = from_postgres(error) if isinstance(error, psycopg.Error) else error
    if known is None:
        return error
    if tag and isinstance(known, errors.CrosskeyError):
        known.metadata["tag"] = tag
    return known
