"""How a branch ends: its constraints are checked, and it is prepared or committed."""

from __future__ import annotations

import time

import psycopg
from psycopg import sql

from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.shard_node.writing.branch import Branch
from crosskey.shard_node.writing.effects import apply_noted, retry_absent
from crosskey.shard_node.writing.execution import uninterrupted
from crosskey.shard_node.writing.kept_answers import is_kept, keeping, roll_back_and_find
from crosskey.shard_node.writing.lost_commits import known_if_lost
from crosskey.shard_node.writing.own_gids import time_of
from crosskey.shard_node.writing.recovery import at_work

# A gid carries its time. A router that was paused for longer than this finds its decision refused, and abort decisions
# are kept for much longer than this, so that none is forgotten while a transaction could still commit.
MAX_GID_AGE_SECONDS = 600


async def check(branch: Branch, _: proto.CheckConstraints, result: proto.CommandResult) -> None:
    """Checks what waited for the end of the statement."""
    await retry_absent(branch, result)
    await apply_noted(branch, result, after=branch.modes.check_statement)
    branch.checked = True


async def prepare(branch: Branch, command: proto.Prepare, result: proto.CommandResult) -> None:
    """Prepares, unless there are effects left."""
    branch.gids.check_branches([command.gid])
    await _check_all(branch, result)
    if not result.effects:
        text = sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(command.gid))
        await uninterrupted(_finish(branch, text.as_bytes()))


async def commit(branch: Branch, command: proto.Commit, result: proto.CommandResult) -> None:
    """Commits, unless there are effects left or claims that were taken in advance in vain."""
    decision: sql.Composable = sql.SQL("")
    first = b""
    if command.decision_gid:
        branch.gids.check_decisions([command.decision_gid])
        decision = _decision(command.decision_gid)
        # Others are prepared already, and checks may take longer than a resolver waits.
        first = at_work(command.decision_gid)
    await _check_all(branch, result, first)
    if result.effects or not branch.expected.all_met:
        return
    kept = sql.Composed([])
    if command.HasField("keep"):
        kept = keeping(command.keep, branch.response.results[:-1])
    try:
        async with known_if_lost(branch.find_out, branch.transaction):
            await uninterrupted(_finish(branch, sql.Composed([decision, kept, sql.SQL("COMMIT")]).as_bytes()))
    except psycopg.errors.UniqueViolation as error:
        if not is_kept(error):
            raise
        branch.response.kept.CopyFrom(await roll_back_and_find(branch.connection, command.keep))
    branch.finished = True


async def _check_all(branch: Branch, result: proto.CommandResult, first: bytes = b"") -> None:
    """Checks every constraint that still waits, those that the user deferred too; `first` is SQL on the same way."""
    if not branch.holds_back_checks:
        return
    await retry_absent(branch, result)
    modes = branch.modes
    if modes.check_others:
        await apply_noted(branch, result, after=first + modes.check_statement + modes.check_others)
        if result.effects:
            return
    await apply_noted(branch, result, after=first + modes.check_keys)


async def _finish(branch: Branch, text: bytes) -> None:
    cursor = await branch.connection.execute(text, prepare=False)
    while cursor.nextset():
        pass
    # In a transaction that failed, PREPARE and COMMIT roll back and call it no error.
    if cursor.statusmessage == "ROLLBACK":
        raise errors.Conflict("the transaction had failed before its end")
    branch.finished = True


def _decision(gid: str) -> sql.Composed:
    """The commit decision. Raises Conflict if the gid is so old that an abort decision may be forgotten already."""
    age = time.time() - time_of(gid)
    if abs(age) > MAX_GID_AGE_SECONDS:
        raise errors.Conflict(
            f"the transaction {gid} is too old to be committed",
            hint="Compare the clocks of router and node if this comes at once.",
        )
    # A trigger of the user's may have asked for a commit in haste; a lost decision would tear the transaction apart.
    return sql.SQL(
        "SET LOCAL synchronous_commit = on; INSERT INTO crosskey.decision (gid, committed) VALUES ({}, true); "
    ).format(sql.Literal(gid))
