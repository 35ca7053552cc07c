"""Writing reference tables: the same rows on all shards, or none."""

from __future__ import annotations

from collections.abc import Sequence

from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.planning.writes import FIRST_SHARD, WritePlan
from crosskey.router.writing.write_results import WriteResult, collect, split_rows


async def run_on_all_shards(transaction: DistributedTransaction, plan: WritePlan, shards: int) -> WriteResult:
    """Runs a write of a reference table on the first shard, then on all others.

    Each locks the table against other writers, the first shard first, so that all shards run the writes of a table in
    the same order. Raises Conflict if a shard answered other rows than the first.
    """
    on_first = [part.statement for part in plan.parts if part.shard == FIRST_SHARD]
    others = [shard for shard in range(shards) if shard != FIRST_SHARD]
    first = (await transaction.run({FIRST_SHARD: on_first}))[FIRST_SHARD]
    result = collect(_first_part_of(plan), {FIRST_SHARD: first})
    if not others:
        return result
    statements = [_copy(plan, first)] if plan.kind == "insert" else on_first
    for shard, answers in (await transaction.run(dict.fromkeys(others, statements))).items():
        if _rows(answers) != _rows(first) or sum(answer.count for answer in answers) != result.count:
            raise _differs(plan, shard)
    return result


def _first_part_of(plan: WritePlan) -> WritePlan:
    return plan.on({FIRST_SHARD})


def _copy(plan: WritePlan, stored: Sequence[proto.CommandResult]) -> proto.Statement:
    """Inserts rows as the first shard stored them, so that defaults and sequences give one value on all shards.

    A row that was updated there conflicts here as well, and its columns are set to what they became there.
    """
    verbatim = [
        proto.CommandResult(count=answer.count, rows_json=answer.verbatim_json, places=answer.places)
        for answer in stored
    ]
    insert = proto.InsertRows(
        columns=[column.name for column in plan.table.table.columns if not column.generated],
        rows_json=collect(_first_part_of(plan), {FIRST_SHARD: verbatim}).rows_json,
        overriding_system_value=True,
        verbatim=True,
        on_conflict=plan.on_conflict,
    )
    return proto.Statement(
        table=plan.table.table.name.qualified,
        lock_table=True,
        insert=insert,
        as_text=plan.forms.as_text,
        columns=plan.forms.columns,
    )


def _rows(answers: Sequence[proto.CommandResult]) -> list[tuple[bytes, bytes]]:
    """The rows, as shown and verbatim, in an order of their own: an update answers them in that of the table.

    Only the former have generated columns, and only the latter tell a jsonb `null` from NULL.
    """
    return sorted(
        (bytes(shown), bytes(verbatim))
        for answer in answers
        for shown, verbatim in zip(split_rows(answer.rows_json), split_rows(answer.verbatim_json), strict=True)
    )


def _differs(plan: WritePlan, shard: int) -> errors.Conflict:
    table = str(plan.table.table.name)
    return errors.Conflict(
        f'shard {shard} would store other rows in the reference table "{table}" than shard {FIRST_SHARD}',
        table=table,
        shard=shard,
        hint="A statement on a reference table must do the same everywhere: look for triggers that use the time or"
        " random values, and run the audit.",
    )
