"""Carrying out the scripts of nested writes: within a transaction, or planned beforehand where nothing is looked up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from crosskey import errors
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.planning.anchors import NO_ANCHORS, anchor_keys, anchors_of_rows
from crosskey.router.planning.nesting.actions import Action, Find, Generate, Outcome, Script, WaitForPrepared, Write
from crosskey.router.planning.nesting.scripts import NestedStep
from crosskey.router.planning.nesting.write_plans import plan_write
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import WritePlan
from crosskey.router.writing.anchor_lookup import AnchorLookup
from crosskey.router.writing.finding_rows import find_rows
from crosskey.router.writing.nested_errors import name_row, naming_row
from crosskey.router.writing.nested_results import NestedResult, take_stored, to_result
from crosskey.router.writing.value_generator import ValueGenerator
from crosskey.router.writing.write_results import WriteResult

CarryOut = Callable[[WritePlan], Awaitable[WriteResult]]


@dataclass(frozen=True)
class Preparing:
    """What comes before the writes of one script: values made, parents found that rows live with, and planning."""

    view: SchemaView
    value_generator: ValueGenerator
    anchor_lookup: AnchorLookup
    _anchor_shards: dict[tuple[str, str], int] = field(default_factory=dict)

    async def plan(self, write: Write) -> WritePlan:
        """The plan of a write: rows live with parents that were there before, or that the script has inserted.

        Raises what planning raises, and what nodes raise.
        """
        if write.kind != "insert":
            return plan_write(self.view, write)
        parents = anchors_of_rows(self.view, write.table, write.rows)
        anchor_shards = {**await self.anchor_lookup.find(parents), **self._anchor_shards} if parents else NO_ANCHORS
        plan = plan_write(self.view, write, anchor_shards)
        for part in plan.parts:
            for key in anchor_keys(self.view, write.table, part.rows):
                self._anchor_shards.setdefault(key, part.shard)
        return plan


@dataclass(frozen=True)
class Outline:
    """A script whose writes are all known: they are a transaction of plain statements."""

    view: SchemaView
    outcome: Outcome
    writes: Sequence[Write]
    plans: Sequence[WritePlan]

    def result(self, results: Sequence[Any]) -> NestedResult:
        """What the script came to, from what its writes did."""
        for write, result in zip(self.writes, results, strict=True):
            take_stored(write, result)
        return to_result(self.outcome)

    def name_path(self, error: errors.CrosskeyError) -> None:
        """Has an error that names one of the statements name the path in its place."""
        number = error.metadata.pop("statement", "")
        if number.isdecimal() and int(number) < len(self.writes):
            name_row(self.view, self.writes[int(number)], error)


async def outline(preparing: Preparing, step: NestedStep) -> Outline | None:
    """The writes of a script; None if it looks something up. Raises what the script and planning raise."""
    script, answer = step.begin(), None
    writes: list[Write] = []
    plans: list[WritePlan] = []
    while True:
        action, outcome = _next(script, answer)
        match action:
            case None:
                return Outline(preparing.view, outcome or Outcome(), writes, plans) if plans else None
            case Generate():
                answer = await preparing.value_generator.for_load(preparing.view, action.need)
            case Find() | WaitForPrepared():
                script.close()
                return None
            case Write():
                answer = None
                writes.append(action)
                with naming_row(preparing.view, action):
                    plans.append(await preparing.plan(action))


async def run_script(
    preparing: Preparing, transaction: DistributedTransaction, write: CarryOut, step: NestedStep
) -> NestedResult:
    """Carries a script out within a transaction. Raises what the script, planning and shards raise."""
    script: Script[Outcome] = step.begin()
    answer: Any = None
    while True:
        action, outcome = _next(script, answer)
        match action:
            case None:
                return to_result(outcome or Outcome())
            case Generate():
                answer = await preparing.value_generator.for_load(preparing.view, action.need)
            case Find():
                answer = await find_rows(preparing.view, transaction, action.rows)
            case WaitForPrepared():
                answer = None
                await transaction.wait_for_prepared(action.shards)
            case Write():
                with naming_row(preparing.view, action):
                    result = await write(await preparing.plan(action))
                    await transaction.check()
                take_stored(action, result)
                answer = result.count


def _next(script: Script[Outcome], answer: Any) -> tuple[Action | None, Outcome | None]:
    """The next action of a script, or what it came to."""
    try:
        return script.send(answer), None
    except StopIteration as end:
        return None, end.value
