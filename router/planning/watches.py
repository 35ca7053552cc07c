"""From a request to watch to what each shard is asked: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crosskey import errors
from crosskey.catalog.plan import TablePlan
from crosskey.internal.v1 import events_pb2
from crosskey.router.planning import resume_token
from crosskey.router.planning.predicates import (
    Checked,
    JoinedPredicates,
    RelatedPredicate,
    check_predicates,
    to_conditions,
)
from crosskey.router.planning.schema_view import SchemaView
from crosskey.v1 import router_pb2, rows_pb2

DEFAULT_RESOLVED_INTERVAL_MS = 1000
MIN_RESOLVED_INTERVAL_MS = 10
"""More often, a stream without events would be as much work as one with many."""

_FORMS = (rows_pb2.ROW_FORM_UNSPECIFIED, rows_pb2.ROW_FORM_JSON)


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """What all shards are asked for, and from where on; `positions` is None for from now on."""

    tables: tuple[events_pb2.WatchedTable, ...]
    positions: Mapping[int, int] | None
    as_structs: bool
    resolved_interval_seconds: float


def plan_watch(view: SchemaView, request: router_pb2.WatchRequest) -> WatchPlan:
    """What to ask. Raises UnknownTable, UnknownColumn, NumberNotExact, InvalidRequest and InvalidPageToken."""
    if not request.tables:
        raise errors.InvalidRequest("a Watch names at least one table")
    if request.row_form not in _FORMS:
        raise errors.InvalidRequest("events have rows as Structs or as JSON: row_form takes no other form")
    plans = [view.table(one.table) for one in request.tables]
    for name, count in Counter(plan.table.name for plan in plans).items():
        if count > 1:
            raise errors.InvalidRequest(f'a Watch names a table once, not "{name}" {count} times', table=str(name))
    interval_ms = request.resolved_interval_ms or DEFAULT_RESOLVED_INTERVAL_MS
    return WatchPlan(
        tuple(_watched(plan, one.where) for plan, one in zip(plans, request.tables, strict=True)),
        resume_token.decode(view, request.resume_token) if request.resume_token else None,
        request.row_form == rows_pb2.ROW_FORM_UNSPECIFIED,
        max(interval_ms, MIN_RESOLVED_INTERVAL_MS) / 1000,
    )


def _watched(plan: TablePlan, where: Sequence[rows_pb2.Predicate]) -> events_pb2.WatchedTable:
    name = plan.table.name
    if not plan.events:
        raise errors.InvalidRequest(
            f'changes of "{name}" are not told as events',
            table=str(name),
            hint=f"Say @events in a line of COMMENT ON TABLE {name}, and apply it by `crosskey migrate`.",
        )
    predicates = check_predicates(plan.table, where)
    _refuse_related(predicates, str(name))
    return events_pb2.WatchedTable(table=name.qualified, where=to_conditions(predicates))


def _refuse_related(predicates: Sequence[Checked], table: str) -> None:
    for one in predicates:
        if isinstance(one, RelatedPredicate):
            raise errors.InvalidRequest(
                f'the predicate on the relation "{one.related.relation}" cannot be watched: an event has its own row',
                table=table,
            )
        if isinstance(one, JoinedPredicates):
            _refuse_related(one.parts, table)
