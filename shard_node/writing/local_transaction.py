"""One local transaction that needs nothing of ours: PostgreSQL's own foreign keys, shadows and all, do the work."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg

from crosskey import errors
from crosskey.v1 import shard_node_pb2 as proto
from serving.answer_size import AnswerSize
from shard_node.postgres.database import Connection
from shard_node.postgres.postgres_errors import only_others_can_tell, translated, unknown_if_lost
from shard_node.schema.shard_schema import ShardSchema
from shard_node.writing.execution import execute_statement, uninterrupted
from shard_node.writing.lost_commits import FindOut, known_if_lost


async def run_locally(
    connection: Connection, schema: ShardSchema, commands: Sequence[proto.Command], find_out: FindOut
) -> list[proto.CommandResult] | None:
    """Runs statements and a plain commit with PostgreSQL's foreign keys alone, none of them deferred.

    This is what nearly every request needs. Answers None, with everything rolled back, if a foreign key, the check of
    the shard, an error guard or a claim refused: it may do so only because a shadow is missing, a pin is left, a row
    must move to another shard, or a value is claimed on one. So the commands must be run again as a ShardTransaction,
    which can tell.
    """
    runs = [command.run for command in commands if command.WhichOneof("command") == "run"]
    results: list[proto.CommandResult] = []
    try:
        with translated():
            allowed = await _run_unless_refused(connection, schema, runs, results, find_out)
    except errors.CrosskeyError as error:
        error.metadata["command"] = str(_place_of_failure(commands, len(results)))
        raise
    return _with_blanks(commands, results) if allowed else None


async def _run_unless_refused(
    connection: Connection,
    schema: ShardSchema,
    runs: Sequence[proto.RunStatement],
    results: list[proto.CommandResult],
    find_out: FindOut,
) -> bool:
    """Adds a result for each statement. False, with everything rolled back, if only other shards can tell."""
    try:
        if len(runs) == 1 and not runs[0].lock_table:
            with unknown_if_lost():
                await _run(connection, schema, runs[0], results)
        else:
            await _run_in_block(connection, schema, runs, results, find_out)
    except psycopg.Error as error:
        if not only_others_can_tell(error):
            raise
        await connection.rollback()
        return False
    return True


async def _run_in_block(
    connection: Connection,
    schema: ShardSchema,
    runs: Sequence[proto.RunStatement],
    results: list[proto.CommandResult],
    find_out: FindOut,
) -> None:
    answer_size = AnswerSize()
    transaction: str | None = None
    await connection.execute(b"BEGIN")
    for run in runs:
        transaction = await _run(connection, schema, run, results) or transaction
        answer_size.add(results[-1].rows_json, str(schema.table(run.table).name))
    async with known_if_lost(find_out, transaction):
        await uninterrupted(connection.execute(b"COMMIT"))


async def _run(
    connection: Connection, schema: ShardSchema, run: proto.RunStatement, results: list[proto.CommandResult]
) -> str | None:
    """Adds a result. Answers the id of the transaction."""
    result, transaction = await execute_statement(connection, schema, run)
    results.append(result)
    return transaction


def _place_of_failure(commands: Sequence[proto.Command], done: int) -> int:
    """The place of the statement after those that were done, or of the commit."""
    places = [place for place, command in enumerate(commands) if command.WhichOneof("command") == "run"]
    return places[done] if done < len(places) else len(commands) - 1


def _with_blanks(
    commands: Sequence[proto.Command], results: Sequence[proto.CommandResult]
) -> list[proto.CommandResult]:
    """One result a command: an empty one for those that answer nothing."""
    remaining = iter(results)
    return [
        next(remaining) if command.WhichOneof("command") == "run" else proto.CommandResult() for command in commands
    ]
