"""A branch that needs nothing of ours: PostgreSQL's own foreign keys, shadows and all, do the work."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg import sql

from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.serving.answer_size import AnswerSize
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import needs_coordination, translated, unknown_if_lost
from crosskey.shard_node.schema.shard_schema import ShardSchema
from crosskey.shard_node.writing.execution import execute_statement, tagged, uninterrupted
from crosskey.shard_node.writing.index_words import in_words_of_index
from crosskey.shard_node.writing.kept_answers import is_kept, keeping, roll_back_and_find
from crosskey.shard_node.writing.lost_commits import FindOut, known_if_lost
from crosskey.shard_node.writing.request_ids import own_request_id


async def run_plainly(
    connection: Connection, schema: ShardSchema, commands: Sequence[proto.Command], find_out: FindOut
) -> proto.RunResponse | None:
    """Runs statements and a commit with PostgreSQL's foreign keys alone, none of them deferred.

    This is what nearly every request needs. Answers None, with everything rolled back, if a foreign key, the check of
    the shard, an error guard or a claim refused: it may do so only because a shadow is missing, a pin is left, a row
    must move to another shard, or a value is claimed on one. So the commands must be run again as those of a branch
    that notes effects, which can tell. Raises InvalidRequest for other commands.
    """
    runs = [command for command in commands if command.HasField("run")]
    _check_plain(commands, len(runs))
    keep = commands[-1].commit.keep if commands[-1].commit.HasField("keep") else None
    in_block = len(runs) != 1 or runs[0].run.lock_table or keep is not None
    tag = commands[-1].tag
    request_ids = own_request_id() if schema.tells_events else ""
    response = proto.RunResponse(finished=True)
    transaction: str | None = None
    try:
        if in_block:
            await connection.execute(b"BEGIN")
        answer_size = AnswerSize() if in_block else None
        for command in runs:
            tag = command.tag
            table = schema.table(command.run.table)
            result = response.results.add(tag=tag)
            transaction = await execute_statement(connection, table, command.run, result, request_ids) or transaction
            if answer_size is not None:
                answer_size.add(result.rows_json, str(table.name))
        if in_block:
            tag = commands[-1].tag
            async with known_if_lost(find_out, transaction):
                if keep is None:
                    await uninterrupted(connection.execute(b"COMMIT"))
                else:
                    await _commit_keeping(connection, keep, response)
    except (psycopg.Error, errors.CrosskeyError) as error:
        if isinstance(error, psycopg.Error) and needs_coordination(error):
            with translated():
                await connection.rollback()
            return None
        # A single statement commits by itself.
        told = in_words_of_index(schema, tagged(error if in_block else unknown_if_lost(error), tag))
        if told is error:
            raise
        raise told from error
    return response


async def _commit_keeping(connection: Connection, keep: proto.Keep, response: proto.RunResponse) -> None:
    """Commits with the answer; or rolls back, and makes the response the answer that is kept already."""
    text = (keeping(keep, response.results) + sql.SQL("COMMIT")).as_bytes()
    try:
        await uninterrupted(connection.execute(text, prepare=False))
    except psycopg.errors.UniqueViolation as error:
        if not is_kept(error):
            raise
        del response.results[:]
        response.kept.CopyFrom(await roll_back_and_find(connection, keep))


def _check_plain(commands: Sequence[proto.Command], statements: int) -> None:
    """Raises InvalidRequest unless these are statements, checks, which PostgreSQL does by itself, and a commit."""
    checks = sum(command.HasField("check") for command in commands)
    commits = bool(commands) and commands[-1].HasField("commit") and not commands[-1].commit.decision_gid
    if not commits or statements + checks + 1 != len(commands):
        raise errors.InvalidRequest("a branch that begins plain has statements, checks and a commit of its own only")
