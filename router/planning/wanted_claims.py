"""Which values of unique keys an insert must claim on other shards, as far as the request alone tells.

A value is claimed in advance only if all its columns have a canonical text, which then is the text that the shard will
see, or if what an index computes of the row can be foreseen. What is left out (a default, a date, an expression that is
not simple) is found by the shard's node when the statement runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from crosskey.catalog.plan import Claim
from crosskey.router.planning.claimed_values import ClaimedValue, value_to_insert
from crosskey.router.planning.foreseen_values import Unforeseen, Value
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import WritePlan


@dataclass(frozen=True, slots=True)
class WantedClaims:
    """Values that rows on `shard` have and that are claimed on `claim_shard`, each once."""

    claim: Claim
    claim_shard: int
    shard: int
    values: Sequence[Value]


def wanted_claims(view: SchemaView, plans: Iterable[WritePlan]) -> list[WantedClaims]:
    """The values to claim before the plans run, those on the rows' own shards too.

    Rows that may conflict with others claim nothing in advance: they may not be inserted at all.
    """
    found: dict[tuple[str, int, int], dict[tuple[str, ...], ClaimedValue]] = {}
    for plan in plans:
        if plan.kind == "insert" and plan.on_conflict is None:
            for shard, value in _values(view, plan):
                group = found.setdefault((value.claim.id, value.claim_shard, shard), {})
                group[tuple(value.columns.values())] = value
    return [_wanted(shard, list(values.values())) for (_, _, shard), values in found.items()]


def _values(view: SchemaView, plan: WritePlan) -> Iterator[tuple[int, ClaimedValue]]:
    """The values that can be told, each with the shard of its row."""
    for claim in view.claims_of(plan.table.table.name):
        for part in plan.parts:
            for row in part.rows:
                value = value_to_insert(view, claim, row)
                if isinstance(value, ClaimedValue):
                    yield part.shard, value


def _wanted(shard: int, values: Sequence[ClaimedValue]) -> WantedClaims:
    return WantedClaims(values[0].claim, values[0].claim_shard, shard, [value.columns for value in values])


def claims_unforeseen(view: SchemaView, plans: Iterable[WritePlan]) -> bool:
    """Whether rows are inserted with values that only PostgreSQL can compute: most are claimed on other shards."""
    return view.shards > 1 and any(
        value_to_insert(view, claim, row) is Unforeseen.UNKNOWN
        for plan in plans
        if plan.kind == "insert"
        for claim in view.claims_of(plan.table.table.name)
        if claim.computed is not None
        for part in plan.parts
        for row in part.rows
    )


def surely_claims_elsewhere(view: SchemaView, plans: Iterable[WritePlan]) -> bool:
    """Whether a plan is to release values, most of which other shards hold: no node needs to be asked."""
    return view.shards > 1 and any(
        plan.kind != "insert" and any(_releases(plan, claim) for claim in view.claims_of(plan.table.table.name))
        for plan in plans
    )


def _releases(plan: WritePlan, claim: Claim) -> bool:
    return plan.changed_columns is None or not plan.changed_columns.isdisjoint(claim.reads)
