"""How a branch ends: its constraints are checked, and it is prepared or committed."""

from __future__ import annotations

import re
import time

import psycopg
from psycopg import sql

from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto
from shard_node.postgres.postgres_errors import unknown_if_lost
from shard_node.writing.branch import Branch
from shard_node.writing.effects import retry_absent, settle
from shard_node.writing.execution import uninterrupted

# A gid carries its time. A router that was paused for longer than this finds its decision refused, and abort decisions
# are kept for much longer than this, so that none is forgotten while a transaction could still commit.
MAX_GID_AGE_SECONDS = 600

_GID = re.compile(r"crosskey:[A-Za-z0-9_.-]{1,64}:[0-9]{1,5}:(?P<id>[0-9a-f]{32})(?::[0-9]{1,5})?")


async def check(branch: Branch, _: proto.CheckConstraints, result: proto.CommandResult) -> None:
    """Checks what waited for the end of the statement."""
    await retry_absent(branch, result)
    if branch.modes.check_statement:
        await branch.connection.execute(branch.modes.check_statement, prepare=False)
    branch.checked = True
    await settle(branch, result)


async def prepare(branch: Branch, command: proto.Prepare, result: proto.CommandResult) -> None:
    """Prepares, unless there are effects left."""
    _gid_time(command.gid)
    await _check_all(branch, result)
    if not result.effects:
        text = sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(command.gid))
        await uninterrupted(_finish(branch, text.as_bytes()))


async def commit(branch: Branch, command: proto.Commit, result: proto.CommandResult) -> None:
    """Commits, unless there are effects left or claims that were taken in advance in vain."""
    decision = _decision(command.decision_gid) if command.decision_gid else sql.SQL("")
    await _check_all(branch, result)
    if result.effects or not branch.expected.all_met:
        return
    try:
        await uninterrupted(_finish(branch, (decision + sql.SQL("COMMIT")).as_bytes()))
    except psycopg.OperationalError as error:
        told = unknown_if_lost(error)
        if told is error:
            raise
        raise told from error


async def _check_all(branch: Branch, result: proto.CommandResult) -> None:
    """Checks every constraint that still waits, those that the user deferred too."""
    if not branch.holds_back_checks:
        return
    await retry_absent(branch, result)
    modes = branch.modes
    if modes.check_others:
        await branch.connection.execute(modes.check_statement + modes.check_others, prepare=False)
        await settle(branch, result)
        if result.effects:
            return
    if modes.check_keys:
        await branch.connection.execute(modes.check_keys, prepare=False)
    await settle(branch, result)


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
    age = time.time() - _gid_time(gid)
    if abs(age) > MAX_GID_AGE_SECONDS:
        raise errors.Conflict(
            f"the transaction {gid} is too old to be committed",
            hint="Compare the clocks of router and node if this comes at once.",
        )
    # A trigger of the user's may have asked for a commit in haste; a lost decision would tear the transaction apart.
    return sql.SQL(
        "SET LOCAL synchronous_commit = on; INSERT INTO crosskey.decision (gid, committed) VALUES ({}, true); "
    ).format(sql.Literal(gid))


def _gid_time(gid: str) -> float:
    """When the gid was made, in seconds since 1970: its id is a UUIDv7. Raises InvalidRequest if it is no gid."""
    match = _GID.fullmatch(gid)
    if match is None:
        raise errors.InvalidRequest("a gid is malformed")
    return int(match["id"][:12], 16) / 1000
