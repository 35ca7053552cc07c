"""Carrying out single statements on a connection, and operations that nothing may stop halfway."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple, TypeVar

from psycopg import sql

from catalog.model import Table
from crosskey.v1 import shard_node_pb2 as proto
from shard_node.guards.reference_guards import written_everywhere
from shard_node.postgres.database import Connection
from shard_node.postgres.postgres_errors import naming_table
from shard_node.schema.shard_schema import ShardSchema
from shard_node.sql_text.sql_names import table_identifier
from shard_node.writing import statements
from shard_node.writing.loading import copy_rows

Answer = TypeVar("Answer")


class Executed(NamedTuple):
    """What a statement answers, and the id of its transaction, as text, if that has one and the statement tells it."""

    result: proto.CommandResult
    transaction: str | None


async def execute_statement(connection: Connection, schema: ShardSchema, run: proto.RunStatement) -> Executed:
    """Runs a statement: how many rows it changed, and them as JSON arrays. Effects are left to the caller."""
    table = schema.table(run.table)
    with naming_table(table.name):
        if not run.lock_table:
            return await _execute(connection, table, run)
        await _lock(connection, table)
        async with written_everywhere(connection):
            return await _execute(connection, table, run)


async def _execute(connection: Connection, table: Table, run: proto.RunStatement) -> Executed:
    if run.WhichOneof("statement") == "load":
        return Executed(proto.CommandResult(count=await copy_rows(connection, table, run.load)), None)
    text, parameters = statements.build(table, run)
    cursor = await connection.execute(text, parameters)
    row = await cursor.fetchone()
    assert row is not None, "an aggregate answers one row"
    transaction, count, rows, verbatim, *places = row
    result = proto.CommandResult(count=count, rows_json=_json_array(rows))
    if places:
        result.places.extend(places[0] or ())
    if run.lock_table:
        result.verbatim_json = _json_array(verbatim)
    return Executed(result, transaction)


def _json_array(aggregated: str | None) -> bytes:
    """What json_agg answered; of no rows that is NULL."""
    return b"[]" if aggregated is None else aggregated.encode()


async def _lock(connection: Connection, table: Table) -> None:
    """Keeps other writers from a reference table, so that all shards run the same statements in the same order.

    Readers and foreign-key checks go on.
    """
    lock = sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(table_identifier(table.name))
    await connection.execute(lock, ())


async def uninterrupted(operation: Coroutine[Any, Any, Answer]) -> Answer:
    """Runs an operation to its end even if the caller is cancelled meanwhile: nothing stops a commit halfway."""
    task = asyncio.ensure_future(operation)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        if not task.cancelled():
            # Nobody is left to be told of an error.
            task.exception()
        raise
