"""From a request to aggregate to what each shard is asked, and what puts their answers together: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from crosskey import errors
from crosskey.catalog.aggregates import average_type, sum_type
from crosskey.catalog.model import Column, Table
from crosskey.catalog.plan import TablePlan
from crosskey.internal.v1 import reads_pb2
from crosskey.router.planning.given_values import is_text_form
from crosskey.router.planning.orders import OrderColumn
from crosskey.router.planning.predicates import (
    Checked,
    check_predicates,
    existing_column,
    refuse_related,
    to_conditions,
)
from crosskey.router.planning.schema_view import SchemaView
from crosskey.v1 import router_pb2

DEFAULT_GROUPS = 1000
MAX_GROUPS = 10_000

Aggregate = router_pb2.AggregateRequest.Aggregate
AggregatePart = reads_pb2.AggregateRequest.Part

_NAMES = {
    Aggregate.FUNCTION_UNSPECIFIED: "count",
    Aggregate.FUNCTION_COUNT_DISTINCT: "count_distinct",
    Aggregate.FUNCTION_SUM: "sum",
    Aggregate.FUNCTION_AVG: "avg",
    Aggregate.FUNCTION_MIN: "min",
    Aggregate.FUNCTION_MAX: "max",
}


@dataclass(frozen=True, slots=True)
class AggregatePlan:
    """Which shards have rows to aggregate, and the request as nodes take it."""

    table: TablePlan
    shards: tuple[int, ...]
    predicates: tuple[Checked, ...]
    request: reads_pb2.AggregateRequest

    def part(self, part: AggregatePart.ValueType, rows_json: bytes = b"") -> reads_pb2.AggregateRequest:
        """The request for one part of it."""
        message = reads_pb2.AggregateRequest()
        message.CopyFrom(self.request)
        message.part, message.rows_json = part, rows_json
        return message


def plan_aggregate(
    view: SchemaView, request: router_pb2.AggregateRequest, copy: int = 0, resolved: Sequence[Checked] | None = None
) -> AggregatePlan:
    """Where the rows are. `copy` as in SchemaView.shards_for_where, `resolved` as for plan_list.

    Raises UnknownTable, UnknownColumn, NumberNotExact and InvalidRequest: nothing to answer, a name that is taken, a
    column that has no sum.
    """
    table = view.table(request.table)
    predicates = tuple(check_predicates(table.table, request.where) if resolved is None else resolved)
    groups = [existing_column(table.table, name) for name in dict.fromkeys(request.group_by)]
    aggregates = [_named(one) for one in request.aggregates]
    answer = _answer(table.table, groups, aggregates)
    having = check_predicates(answer, request.having)
    refuse_related(having)
    shards = view.shards_for_where(table, predicates, copy)
    message = reads_pb2.AggregateRequest(
        table=table.table.name.qualified,
        where=to_conditions(predicates),
        group_by=[column.name for column in groups],
        aggregates=aggregates,
        having=to_conditions(having),
        order_by=[one.to_order() for one in _order(answer, groups, request)],
        limit=_limit(request.limit),
        as_text=is_text_form(request.row_form),
        moves_values=len(shards) > 1 and _share_values(table, groups, aggregates),
    )
    return AggregatePlan(table, shards, predicates, message)


def _named(asked: Aggregate) -> Aggregate:
    """The aggregate, with a name."""
    if asked.function not in _NAMES:
        raise errors.InvalidRequest(f"there is no function {asked.function} to aggregate by")
    function = _NAMES[asked.function]
    name = asked.name or (f"{function}_{asked.column}" if asked.column else function)
    return Aggregate(function=asked.function, column=asked.column, name=name)


def _answer(table: Table, groups: Sequence[Column], aggregates: Sequence[Aggregate]) -> Table:
    """The answer as a table. Raises InvalidRequest and UnknownColumn."""
    columns = [*groups, *(_column(table, one) for one in aggregates)]
    names = [column.name for column in columns]
    if not names:
        raise errors.InvalidRequest("there is nothing to answer: give aggregates or group_by", table=str(table.name))
    for name in names:
        if names.count(name) > 1:
            raise errors.InvalidRequest(f'the answer would have two columns "{name}"; name one', table=str(table.name))
    return msgspec.structs.replace(table, columns=tuple(columns), unique_keys=())


def _column(table: Table, asked: Aggregate) -> Column:
    """The column of the answer."""
    if asked.function == Aggregate.FUNCTION_UNSPECIFIED and not asked.column:
        return Column(asked.name, "bigint", "int8", not_null=True)
    column = existing_column(table, asked.column)
    match asked.function:
        case Aggregate.FUNCTION_UNSPECIFIED | Aggregate.FUNCTION_COUNT_DISTINCT:
            return Column(asked.name, "bigint", "int8", not_null=True)
        case Aggregate.FUNCTION_MIN | Aggregate.FUNCTION_MAX:
            return msgspec.structs.replace(column, name=asked.name, not_null=False)
    average = asked.function == Aggregate.FUNCTION_AVG
    kind = average_type(column.base_type) if average else sum_type(column.base_type)
    if kind is None:
        what = "average" if average else "sum"
        raise errors.InvalidRequest(
            f'column "{column.name}" is {column.type}, which has no {what}', table=str(table.name), columns=column.name
        )
    return Column(asked.name, kind, kind, not_null=False)


def _share_values(table: TablePlan, groups: Sequence[Column], aggregates: Sequence[Aggregate]) -> bool:
    """Whether rows of several shards may share a value whose different ones are to be counted."""
    grouped = {column.name for column in groups}
    return any(
        one.function == Aggregate.FUNCTION_COUNT_DISTINCT and not {one.column, *grouped} & {*table.colocating}
        for one in aggregates
    )


def _order(answer: Table, groups: Sequence[Column], request: router_pb2.AggregateRequest) -> list[OrderColumn]:
    order: dict[str, OrderColumn] = {}
    for one in request.order_by:
        order.setdefault(one.column, OrderColumn(one.column, existing_column(answer, one.column), one.descending))
    for column in groups:
        order.setdefault(column.name, OrderColumn(column.name, column, descending=False))
    return list(order.values())


def _limit(asked: int) -> int:
    if asked < 0:
        raise errors.InvalidRequest(f"limit must not be negative, it is {asked}")
    return min(asked or DEFAULT_GROUPS, MAX_GROUPS)
