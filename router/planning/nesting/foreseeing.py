"""The writes of a script as they may come, for those who only want to know what would be done: pure."""

from __future__ import annotations

from typing import Any

from crosskey.router.planning.generated_values import GeneratedValues, stand_ins
from crosskey.router.planning.nesting.actions import Find, Generate, WaitForPrepared, Write
from crosskey.router.planning.nesting.scripts import NestedStep
from crosskey.router.planning.nesting.write_plans import plan_write
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import WritePlan


def foreseen_writes(view: SchemaView, step: NestedStep) -> tuple[list[WritePlan], bool]:
    """The writes up to the first look-up, and whether these are all. Raises what the script and planning raise."""
    script = step.begin()
    answer: Any = None
    plans: list[WritePlan] = []
    while True:
        try:
            action = script.send(answer)
        except StopIteration:
            return plans, True
        answer = None
        match action:
            case Find() | WaitForPrepared():
                script.close()
                return plans, False
            case Generate():
                answer = GeneratedValues(
                    {column.name: stand_ins(column, count) for column, count in action.need.columns}
                )
            case Write():
                plans.append(plan_write(view, action))
