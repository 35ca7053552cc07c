"""From a request to read to what each shard is asked: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from crosskey import errors
from crosskey.catalog.model import Column, Table
from crosskey.catalog.plan import TablePlan
from crosskey.internal.v1 import reads_pb2
from crosskey.router.planning import page_token
from crosskey.router.planning.given_values import given_key, is_text_form
from crosskey.router.planning.page_token import Places
from crosskey.router.planning.predicates import (
    CheckedPredicate,
    check_key,
    check_predicates,
    existing_column,
    to_conditions,
)
from crosskey.router.planning.schema_view import SchemaView
from crosskey.v1 import router_pb2, rows_pb2

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000

ROW_PLACE = "ctid"
"""What makes the order of rows without a unique key total, on each shard: where the row lies."""


@dataclass(frozen=True, slots=True)
class OrderColumn:
    """A column of an order; `column` is None for ROW_PLACE."""

    name: str
    column: Column | None
    descending: bool

    def to_order(self) -> reads_pb2.Order:
        """The column as nodes take it."""
        return reads_pb2.Order(column=self.name, descending=self.descending)


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """Which shards to ask for the rows of a table that meet the conditions."""

    table: TablePlan
    shards: tuple[int, ...]
    predicates: tuple[CheckedPredicate, ...]
    conditions: tuple[reads_pb2.Condition, ...]
    as_text: bool = False
    """Whether values are answered as PostgreSQL's own text."""


@dataclass(frozen=True, slots=True)
class ListPlan:
    """A page to read: its total order, where it begins on each shard, and what its token must remember."""

    table: TablePlan
    predicates: tuple[CheckedPredicate, ...]
    conditions: tuple[reads_pb2.Condition, ...]
    order: tuple[OrderColumn, ...]
    places: Places
    page_size: int
    query: bytes
    token_key: bytes
    as_text: bool
    """Whether values are answered as PostgreSQL's own text."""

    def token(self, places: Places) -> str:
        """The token of the page that begins at those places; empty if there is none."""
        return page_token.encode(self.token_key, self.query, places)

    @property
    def shards(self) -> tuple[int, ...]:
        """The shards to ask, in order."""
        return tuple(sorted(self.places))

    @property
    def can_follow(self) -> bool:
        """Whether one shard may be asked for all shards: the page begins at the same place everywhere.

        So it does not where rows lie only in a place of their shard.
        """
        first, *others = self.places.values()
        return all(place == first for place in others) and self.order[-1].name != ROW_PLACE


def plan_get(view: SchemaView, request: router_pb2.GetRequest, copy: int = 0) -> ReadPlan:
    """Where the row of a key is. `copy` as in SchemaView.shards_for_where.

    Raises UnknownTable, UnknownColumn, NumberNotExact and, if the key is none of the table, InvalidRequest.
    """
    table = view.table(request.table)
    plan = _read_plan(view, table, check_key(table.table, given_key(request)), copy)
    return replace(plan, as_text=is_text_form(request.row_form))


def plan_count(view: SchemaView, request: router_pb2.CountRequest, copy: int = 0) -> ReadPlan:
    """Where the rows to count are. `copy` as in SchemaView.shards_for_where.

    Raises UnknownTable, UnknownColumn, NumberNotExact and InvalidRequest.
    """
    table = view.table(request.table)
    return _read_plan(view, table, check_predicates(table.table, request.where), copy)


def plan_list(view: SchemaView, request: router_pb2.ListRequest, copy: int = 0) -> ListPlan:
    """Where the rows of a page are. `copy` as in SchemaView.shards_for_where; a page token knows its own.

    Raises UnknownTable, UnknownColumn, NumberNotExact, InvalidRequest and InvalidPageToken.
    """
    table = view.table(request.table)
    where = _read_plan(view, table, check_predicates(table.table, request.where), copy)
    order = total_order(table.table, request.order_by)
    query = _query_of(view, where, order)
    places = (
        page_token.decode(view.token_key, request.page_token, query)
        if request.page_token
        else dict.fromkeys(where.shards)
    )
    as_text = is_text_form(request.row_form)
    size = _page_size(request.page_size)
    return ListPlan(table, where.predicates, where.conditions, order, places, size, query, view.token_key, as_text)


def total_order(table: Table, order_by: Iterable[rows_pb2.OrderBy]) -> tuple[OrderColumn, ...]:
    """The order, followed by what makes it total: the primary key, another key without NULLs, or ROW_PLACE.

    What follows has the direction of the column before, so that one index can serve both. Raises UnknownColumn.
    """
    order: dict[str, OrderColumn] = {}
    for one in order_by:
        # A column that comes twice orders nothing the second time.
        order.setdefault(one.column, OrderColumn(one.column, existing_column(table, one.column), one.descending))
    if not any(order.keys() >= set(key) for key in _keys_without_nulls(table)):
        descending = bool(order) and list(order.values())[-1].descending
        for name in _tie_break(table):
            order.setdefault(name, OrderColumn(name, table.column(name), descending))
    return tuple(order.values())


def _tie_break(table: Table) -> Sequence[str]:
    return next(iter(_keys_without_nulls(table)), (ROW_PLACE,))


def _keys_without_nulls(table: Table) -> list[tuple[str, ...]]:
    """The column lists of which no two rows have the same values, the primary key first."""
    nullable = {column.name for column in table.columns if not column.not_null}
    keys = [key for key in table.unique_keys if key.plain and nullable.isdisjoint(key.columns)]
    return [key.columns for key in sorted(keys, key=lambda key: not key.primary)]


def _read_plan(view: SchemaView, table: TablePlan, predicates: Sequence[CheckedPredicate], copy: int) -> ReadPlan:
    shards = view.shards_for_where(table, predicates, copy)
    return ReadPlan(table, shards, tuple(predicates), tuple(to_conditions(predicates)))


def _page_size(asked: int) -> int:
    if asked < 0:
        raise errors.InvalidRequest(f"page_size must not be negative, it is {asked}")
    return min(asked or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def _query_of(view: SchemaView, where: ReadPlan, order: Sequence[OrderColumn]) -> bytes:
    """What a page token must be sent back with."""
    return page_token.query_digest(
        f"{view.fingerprint} {view.shards} {where.table.table.name.qualified}".encode(),
        *(condition.SerializeToString(deterministic=True) for condition in where.conditions),
        b"ORDER BY",
        *(column.to_order().SerializeToString(deterministic=True) for column in order),
    )
