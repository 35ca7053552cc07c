"""Which way a write takes over the shards, as far as the request and the schema tell: pure.

The writer carries a route out, and Explain prints it. A node may find out more (a parent without a shadow, pins of
other shards); then the transaction goes on from a local route as a distributed one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from crosskey.router.planning.parent_references import UnknownParents, unknown_parents
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.shadow_hints import ShadowHints
from crosskey.router.planning.transactions import Step, home_of, only_writes
from crosskey.router.planning.wanted_claims import (
    WantedClaims,
    claims_unforeseen,
    surely_claims_elsewhere,
    wanted_claims,
)
from crosskey.router.planning.writes import WritePlan


@dataclass(frozen=True, slots=True)
class Local:
    """One message to one shard, which commits if no other one turns out to be involved."""

    shard: int
    plans: Sequence[WritePlan]
    reason: str
    plain: bool
    """Whether it is tried without anything of Crosskey's first: nothing tells that it may concern other shards."""
    has_new_parents: bool
    """Whether it references parents on the same shard that were not seen to have a shadow there."""
    copied: Sequence[UnknownParents] = ()
    """Those of them whose values the rows copy: to be pinned before these are written."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """What the rows need of other shards is prepared there; then their own shard writes them and decides."""

    home: int
    plans: Sequence[WritePlan]
    reason: str
    parents: Sequence[UnknownParents]
    """To be pinned on other shards."""
    claims: Sequence[WantedClaims]
    """To be claimed on other shards."""
    copied: Sequence[UnknownParents] = ()
    """To be pinned at home before rows are written that copy their values."""


@dataclass(frozen=True, slots=True)
class Distributed:
    """Statements, and what follows from them, on one shard after another; `home` decides."""

    home: int
    reason: str


Route: TypeAlias = Local | Reserve | Distributed


def plan_route(view: SchemaView, hints: ShadowHints, steps: Sequence[Step]) -> Route:
    """The route of the steps of one transaction."""
    home = home_of(steps)
    plans = only_writes(steps)
    if plans is None:
        return Distributed(
            home, "it reads, looks rows up, expects something, has groups of statements or sets constraint modes"
        )
    if reason := _needs_others(view, plans):
        return Distributed(home, reason)
    unknown = unknown_parents(view, hints, plans)
    parents = [one for one in unknown if one.parent_shard != home]
    copied = [one for one in unknown if one.parent_shard == home and one.referenced_key.copied]
    claims = [one for one in wanted_claims(view, plans) if one.claim_shard != home]
    if parents or claims:
        what = " and ".join([*(["parents"] if parents else []), *(["unique values"] if claims else [])])
        return Reserve(home, plans, f"rows of one shard, whose {what} are on others", parents, claims, copied)
    acts = any(view.may_act_elsewhere(plan.table.table.name, plan.changed_columns) for plan in plans)
    reason = "rows of one shard, which others may reference" if acts else "rows of one shard"
    plain = not (acts or unknown or claims_unforeseen(view, plans))
    return Local(home, plans, reason, plain=plain, has_new_parents=bool(unknown), copied=copied)


def _needs_others(view: SchemaView, plans: Sequence[WritePlan]) -> str:
    """Why several shards take part for sure; empty if none is known to."""
    if any(plan.reference for plan in plans):
        return "a reference table is the same on all shards"
    if len({shard for plan in plans for shard in plan.shards}) > 1:
        return "it has rows on several shards"
    if any(shard not in plan.shards for plan in plans for shard in new_shards(view, plan)):
        return "a row that is there moves to another shard"
    if any(plan.arbiters for plan in plans):
        return "rows may conflict with rows of any shard"
    if surely_claims_elsewhere(view, plans):
        return "it gives up unique values, most of which are claimed on other shards"
    return ""


def new_shards(view: SchemaView, plan: WritePlan) -> Sequence[int]:
    """The shard where the rows of an update belong afterwards, if the update says so; else none."""
    key = plan.table.shard_key
    if plan.kind != "update" or key is None or plan.table.anchor is not None:
        return []
    value = plan.parts[0].rows[0].get(key) if plan.parts else None
    try:
        return [] if value is None else [view.shard_of_value(plan.table.shard_key_column, value)]
    except ValueError:
        return []  # PostgreSQL says what is wrong with it.
