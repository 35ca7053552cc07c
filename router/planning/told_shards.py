"""The shard that a request tells by itself: pure, and the same whatever is stored, and for every repeat."""

from __future__ import annotations

from collections.abc import Sequence

from crosskey.catalog.generated_keys import mints_shard_key
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.transactions import AnsweredStep, Step
from crosskey.router.planning.writes import WritePlan


def told_shard(view: SchemaView, steps: Sequence[Step]) -> int | None:
    """The shard of the first row that the first step writes, if the request tells it; else None.

    A request tells it by the row's shard key, or by its own id, from which slots are drawn. It does not where a row
    lives with one that is to be looked up, where another shard makes the shard key, and where an update or delete may
    concern rows of several shards.
    """
    first = next(iter(steps), None)
    if isinstance(first, AnsweredStep):
        first = first.write
    if not isinstance(first, WritePlan) or not _is_told(view, first):
        return None
    shards = first.shards
    return first.parts[0].shard if first.kind == "insert" or len(shards) == 1 else None


def all_told(view: SchemaView, steps: Sequence[Step]) -> bool:
    """Whether the plans of a repeat have the same parts, in the same order: the request tells all their shards."""
    return view.shards == 1 or all(isinstance(step, WritePlan) and _is_told(view, step) for step in steps)


def _is_told(view: SchemaView, plan: WritePlan) -> bool:
    """Whether the request tells the shards of a plan's rows.

    An absent shard key may be drawn or computed by the first shard; the plan does not say whether it was.
    """
    table = plan.table
    if plan.reference or table.anchor is not None:
        return False
    if plan.kind != "insert" or mints_shard_key(table):
        return True
    return table.shard_key_column not in view.columns_to_generate(table)
