"""The commands of a branch: one table tells what runs each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import psycopg

from crosskey import errors
from crosskey.catalog.model import Database
from crosskey.internal.v1 import reads_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.internal.v1.effects_pb2 import Effect
from crosskey.shard_node.guards import claim_queries
from crosskey.shard_node.reading.questions import reply, to_found_claim
from crosskey.shard_node.schema import installation
from crosskey.shard_node.schema.constraint_modes import NO_MODES, set_modes
from crosskey.shard_node.schema.flipping import flip_schema
from crosskey.shard_node.writing import cleaning, ending, filling, loading, unused_shadows
from crosskey.shard_node.writing.branch import Branch
from crosskey.shard_node.writing.computed_values import compute_values
from crosskey.shard_node.writing.effects import apply, apply_noted, leads_to_more
from crosskey.shard_node.writing.execution import execute_statement, tagged
from crosskey.v1 import rows_pb2

_CHECKING = frozenset({"check", "prepare", "commit"})
_ANSWERING = frozenset(
    {
        "run",
        "ask",
        "look_up_claims",
        "compute_values",
        "note_batch",
        "drop_unused_shadows",
        "fill_shadows",
        "mend_orphans",
        "tell_departed",
        "clean_children",
        "bury_dead",
    }
)
_CHANGING_ROWS = frozenset({"run", "apply"})
_MAKES_NOTHING_DUE = _CHECKING | {"ask"}


async def run_commands(branch: Branch, commands: Sequence[proto.Command]) -> proto.RunResponse:
    """Runs commands in order. Raises CrosskeyError; the branch can then only be rolled back.

    Behind a savepoint, an error of a statement is part of the answer: the branch goes on. Nothing is checked, prepared
    or committed while effects wait to be applied elsewhere, and nothing is run behind a check that had some.
    """
    response = branch.response = proto.RunResponse()
    for command in commands:
        kind = command.WhichOneof("command") or ""
        if kind in _CHECKING and any(map(_waits_for_others, response.results)):
            break
        result = response.results.add(tag=command.tag)
        try:
            await _run(branch, kind, command, result)
        except (psycopg.Error, errors.CrosskeyError) as error:
            told = branch.in_words_of_index(tagged(error, command.tag))
            if not isinstance(told, errors.STATEMENT_ERRORS) or not len(branch.savepoints):
                if told is error:
                    raise
                raise told from error
            response.failure.CopyFrom(errors.to_failure(told))
            del response.results[-1]
            break
        if kind in _CHECKING and (result.effects or kind == "commit"):
            # That of a commit is empty if claims were taken in advance in vain.
            if branch.finished:
                del response.results[-1]
            break
        if kind not in _ANSWERING and not result.effects and not result.parents_absent:
            del response.results[-1]
    response.finished = branch.finished
    if response.HasField("kept"):
        del response.results[:]
    return response


def _waits_for_others(result: proto.CommandResult) -> bool:
    """Whether effects are to be applied before constraints are checked; shadows of what was pinned here can wait."""
    return any(effect.WhichOneof("effect") != "add_shadows" for effect in result.effects)


async def _run(branch: Branch, kind: str, command: proto.Command, result: proto.CommandResult) -> None:
    if branch.finished:
        raise errors.InvalidRequest("the branch is finished already")
    handler = _HANDLERS.get(kind)
    if handler is None:
        raise errors.InvalidRequest("a command is empty")
    branch.checked = branch.checked and kind in _MAKES_NOTHING_DUE
    if kind in _CHANGING_ROWS:
        await branch.tell_request()
    await handler(branch, getattr(command, kind), result)


async def _run_statement(branch: Branch, statement: proto.Statement, result: proto.CommandResult) -> None:
    table = branch.schema.table(statement.table)
    transaction = await execute_statement(branch.connection, table, statement, result, ends=branch.schema)
    branch.transaction = transaction or branch.transaction
    branch.answer_size.add(result.rows_json, str(table.name))
    await apply_noted(branch, result)


async def _ask(branch: Branch, question: reads_pb2.Question, result: proto.CommandResult) -> None:
    kind = question.WhichOneof("question")
    if kind is None:
        raise errors.InvalidRequest("a question is empty")
    answer = await reply(branch.connection, branch.schema, kind, getattr(question, kind))
    getattr(result.reply, kind).CopyFrom(answer)


async def _apply(branch: Branch, effect: Effect, result: proto.CommandResult) -> None:
    await apply(branch, effect, result)
    if leads_to_more(branch, effect):
        await apply_noted(branch, result, amid_others=True)


async def _set_constraints(branch: Branch, change: rows_pb2.SetConstraints, result: proto.CommandResult) -> None:
    branch.modes = await set_modes(branch.connection, branch.modes, change.constraints, deferred=change.deferred)
    await apply_noted(branch, result)


async def _savepoint(branch: Branch, savepoint: proto.Savepoint, _: proto.CommandResult) -> None:
    match savepoint.action:
        case proto.Savepoint.ACTION_SET:
            await branch.savepoints.set(savepoint.level, branch.memory())
        case proto.Savepoint.ACTION_RELEASE:
            await branch.savepoints.release(savepoint.level)
        case proto.Savepoint.ACTION_ROLL_BACK:
            branch.restore(await branch.savepoints.roll_back(savepoint.level))
        case _:
            raise errors.InvalidRequest("a savepoint has no action")


async def _lock_early(branch: Branch, _: proto.LockEarly, __: proto.CommandResult) -> None:
    await branch.connection.execute(b"SET LOCAL crosskey.lock_early = 'on'", prepare=False)


async def _expect_claims(branch: Branch, values: proto.ExpectClaims, _: proto.CommandResult) -> None:
    branch.expected.expect(values.claim, values.values_json)


async def _look_up_claims(branch: Branch, values: proto.LookUpClaims, result: proto.CommandResult) -> None:
    claim = branch.schema.claim(values.claim)
    look_up = claim_queries.look_up_and_hold if values.hold else claim_queries.look_up_claims
    found = await look_up(branch.connection, claim, values.values_json.decode())
    result.claims.extend(map(to_found_claim, found))


async def _compute_values(branch: Branch, asked: proto.ComputeValues, result: proto.CommandResult) -> None:
    claim = branch.schema.claim(asked.claim)
    table = branch.schema.table(claim.table.qualified)
    result.computed.extend(await compute_values(branch.connection, claim, table, asked, branch.shards))


async def _note_batch(branch: Branch, note: proto.NoteBatch, result: proto.CommandResult) -> None:
    result.count = int(await loading.note_batch(branch.connection, note))


async def _install_schema(branch: Branch, install: proto.InstallSchema, _: proto.CommandResult) -> None:
    description = Database.from_json(install.description_json)
    await installation.install(branch.connection, install.sql, description, shard=branch.shard, shards=branch.shards)


async def _flip_schema(branch: Branch, flip: proto.FlipSchema, _: proto.CommandResult) -> None:
    await flip_schema(branch.connection, flip, branch.shard)
    # No row was written; and the constraints that the branch began with may be gone.
    branch.modes, branch.checked = NO_MODES, True


async def _fill_shadows(branch: Branch, fill: proto.FillShadows, result: proto.CommandResult) -> None:
    await filling.fill_shadows(branch, fill, result)


async def _mend_orphans(branch: Branch, mend: proto.MendOrphans, result: proto.CommandResult) -> None:
    await filling.mend_orphans(branch, mend, result)


async def _lock_pins(branch: Branch, lock: proto.LockPins, _: proto.CommandResult) -> None:
    referenced = branch.schema.referenced_key(lock.referenced_key)
    await unused_shadows.lock_pins(branch.connection, referenced, lock.for_shard, lock.keys_json.decode())


async def _drop_unused_shadows(branch: Branch, drop: proto.DropUnusedShadows, result: proto.CommandResult) -> None:
    referenced = branch.schema.referenced_key(drop.referenced_key)
    keys, count = await unused_shadows.drop_unused(
        branch.connection, branch.schema, referenced, drop.keys_json.decode()
    )
    result.rows_json, result.count = keys.encode(), count


async def _drop_pins(branch: Branch, drop: proto.DropPins, _: proto.CommandResult) -> None:
    referenced = branch.schema.referenced_key(drop.referenced_key)
    await unused_shadows.drop_pins(branch.connection, referenced, drop.for_shard, drop.keys_json.decode())


async def _clean_children(branch: Branch, clean: proto.CleanChildren, result: proto.CommandResult) -> None:
    await cleaning.clean_children(branch, clean, result)
    await apply_noted(branch, result, amid_others=True)


_HANDLERS: dict[str, Callable[[Branch, Any, proto.CommandResult], Awaitable[None]]] = {
    "run": _run_statement,
    "ask": _ask,
    "apply": _apply,
    "check": ending.check,
    "set_constraints": _set_constraints,
    "savepoint": _savepoint,
    "lock_early": _lock_early,
    "expect_claims": _expect_claims,
    "look_up_claims": _look_up_claims,
    "compute_values": _compute_values,
    "note_batch": _note_batch,
    "install_schema": _install_schema,
    "flip_schema": _flip_schema,
    "fill_shadows": _fill_shadows,
    "mend_orphans": _mend_orphans,
    "lock_pins": _lock_pins,
    "drop_unused_shadows": _drop_unused_shadows,
    "drop_pins": _drop_pins,
    "tell_departed": cleaning.tell_departed,
    "clean_children": _clean_children,
    "bury_dead": cleaning.bury_dead,
    "prepare": ending.prepare,
    "commit": ending.commit,
}
