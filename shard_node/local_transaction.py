"""One local transaction that needs nothing of ours: PostgreSQL's own foreign keys, shadows and all, do the work."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from crosskey.v1 import shard_node_pb2 as proto
from shard_node.database import Connection
from shard_node.execution import execute_statement, uninterrupted
from shard_node.postgres_errors import PLACEMENT_CHECK, translated, unknown_if_lost
from shard_node.shard_schema import ShardSchema


async def run_locally(
    connection: Connection, schema: ShardSchema, commands: Sequence[proto.Command]
) -> list[proto.CommandResult] | None:
    """Runs statements and a plain commit with PostgreSQL's foreign keys alone, none of them deferred.

    This is what nearly every request needs. Answers None, with everything rolled back, if a foreign key or the check of
    the shard refused: it may do so only because a shadow is missing, a pin is left, or a row must move to another
    shard. So the commands must be run again as a ShardTransaction, which can tell.
    """
    runs = [command.run for command in commands if command.WhichOneof("command") == "run"]
    single = len(runs) == 1 and not runs[0].lock_table
    with translated():
        try:
            if single:
                with unknown_if_lost():
                    count, rows = await execute_statement(connection, schema, runs[0])
                return _with_blanks(commands, [proto.CommandResult(count=count, rows_json=rows)])
            return await _run_in_block(connection, schema, commands, runs)
        except (psycopg.errors.ForeignKeyViolation, psycopg.errors.CheckViolation) as error:
            if isinstance(error, psycopg.errors.CheckViolation) and error.diag.constraint_name != PLACEMENT_CHECK:
                raise
            await connection.rollback()
            return None


async def _run_in_block(
    connection: Connection,
    schema: ShardSchema,
    commands: Sequence[proto.Command],
    runs: Sequence[proto.RunStatement],
) -> list[proto.CommandResult]:
    results = []
    await connection.execute(b"BEGIN")
    for run in runs:
        count, rows = await execute_statement(connection, schema, run)
        results.append(proto.CommandResult(count=count, rows_json=rows))
    with unknown_if_lost():
        await uninterrupted(connection.execute(b"COMMIT"))
    return _with_blanks(commands, results)


def _with_blanks(
    commands: Sequence[proto.Command], results: Sequence[proto.CommandResult]
) -> list[proto.CommandResult]:
    """One result a command: an empty one for those that answer nothing."""
    remaining = iter(results)
    return [
        next(remaining) if command.WhichOneof("command") == "run" else proto.CommandResult() for command in commands
    ]
