"""Which calls the includes and conditions of a read take, said without taking them: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from crosskey.router.planning.includes import IncludePlan, Step
from crosskey.router.planning.predicates import Checked, JoinedPredicates, RelatedPredicate
from crosskey.router.planning.schema_view import SchemaView

WHOLE_NOTE = "If a parent that is included is missing, it is read once more, and then everything is."


def include_notes(view: SchemaView, includes: Sequence[IncludePlan]) -> list[str]:
    """A sentence for each step of each include, in the order of the tree."""
    notes = list(_notes(view, includes, ""))
    return [*notes, WHOLE_NOTE] if notes else []


def condition_notes(predicates: Sequence[Checked]) -> list[str]:
    """A sentence for each predicate over a relation."""
    found = [
        f'First ShardNode.ReadKeys, for the rows that the condition on "{one.related.relation}" is about, on each shard'
        " that may have any."
        for one in predicates
        if isinstance(one, RelatedPredicate)
    ]
    inner = [one.parts for one in predicates if isinstance(one, JoinedPredicates)]
    return [*found, *(note for parts in inner for note in condition_notes(parts))]


def _notes(view: SchemaView, includes: Sequence[IncludePlan], within: str) -> Iterator[str]:
    for include in includes:
        path = within + include.name
        if include.join is not None:
            yield f'"{path}", its join table: {_calls(view, include.join)}'
        yield f'"{path}": {_calls(view, include.step)}'
        yield from _notes(view, include.includes, f"{path}.")


def _calls(view: SchemaView, step: Step) -> str:
    """Which nodes are asked for what a step leads to."""
    key = step.key.foreign_key
    each = "then ShardNode.ReadLinked, one call to each"
    if step.key.kind == "local" and view.table(key.parent.qualified).placement != "reference":
        return f"{each} of the same shards, as {key.name} is local."
    if step.to_parent:
        if step.key.kind == "local":
            return f"{each} of the same shards, which have all of {key.parent}."
        how = f"as {', '.join(key.columns)} tells" if _located(view, step) else "which ShardNode.FindClaims tells first"
        return f"{each} shard that has such rows of {key.parent}, {how}."
    if step.key.kind == "local":
        return f"{each} shard, as any may have rows that name one of {key.parent}."
    if step.target.placement == "reference":
        return f"{each} of the same shards, which have all of {key.table}."
    how = "as they answer themselves" if _located(view, step) else "which ShardNode.FindPins tells first"
    return f"{each} shard that holds a pin on one of these rows of {key.parent}, {how}."


def _located(view: SchemaView, step: Step) -> bool:
    """Whether no claim stands for the parents."""
    return view.plan.referenced_key(step.key.referenced_key or "").claim is None
