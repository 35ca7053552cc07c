"""Triggers that could never do what they say: on one shard, they would write what every shard has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crosskey.catalog.model import TableName
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.refusals import Refusal, refuse_table


def refuse_trigger_writes(tables: Mapping[TableName, TablePlan]) -> Iterator[Refusal]:
    """Triggers whose writes would be refused: of a sharded table to a reference table, and inserts the other way."""
    for plan in tables.values():
        for write in plan.table.trigger_writes:
            written = tables.get(write.table)
            if written is None or written.placement == plan.placement:
                continue
            if plan.placement == "reference" and not write.inserts:
                # Each shard changes its own rows: all of them together are all rows.
                continue
            why = _why_all(plan, written) if plan.placement == "reference" else _why_one(plan, written)
            advice = "or drop the trigger, and write both in a Transact"
            message = f'trigger "{write.trigger}" writes {write.table}, {why}; {advice}'
            yield refuse_table(plan.table, message, constraint=write.trigger)


def _why_one(plan: TablePlan, written: TablePlan) -> str:
    return (
        f"a reference table, which one shard alone cannot write; shard {written.table.name}, and let the rows of"
        f" {plan.table.name} that write it live with its own by @shard_with"
    )


def _why_all(plan: TablePlan, written: TablePlan) -> str:
    return (
        f"whose rows live on one shard, but fires on all of them, as {plan.table.name} is a reference table; shard"
        f" {plan.table.name}, and let the rows of {written.table.name} live with its own by @shard_with"
    )
