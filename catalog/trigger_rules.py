"""Triggers that could never do what they say: on one shard, they would write what every shard has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from crosskey.catalog.model import TableName
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.refusals import Refusal, refuse_table


def refuse_trigger_writes(tables: Mapping[TableName, TablePlan]) -> Iterator[Refusal]:
    """Triggers of sharded tables whose functions write a reference table: every such write would be refused."""
    for plan in tables.values():
        if plan.placement == "reference":
            continue
        for write in plan.table.trigger_writes:
            written = tables.get(write.table)
            if written is not None and written.placement == "reference":
                why = (
                    f'trigger "{write.trigger}" writes {write.table}, a reference table, which one shard alone cannot'
                    f" write; shard {write.table}, and let the rows of {plan.table.name} that write it live with its"
                    " own by @shard_with; or drop the trigger, and write both in a Transact"
                )
                yield refuse_table(plan.table, why, constraint=write.trigger)
