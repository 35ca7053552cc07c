"""From a request to read to what each shard is asked: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from crosskey.catalog.plan import TablePlan
from crosskey.internal.v1 import reads_pb2
from crosskey.router.planning import page_token
from crosskey.router.planning.given_values import given_key, is_text_form
from crosskey.router.planning.includes import ALL_COLUMNS, IncludePlan, Shape, plan_includes, shape_of
from crosskey.router.planning.orders import ROW_PLACE, OrderColumn, page_size, total_order
from crosskey.router.planning.page_token import Places
from crosskey.router.planning.predicates import Checked, check_key, check_predicates, refuse_related, to_conditions
from crosskey.router.planning.row_locks import UNLOCKED, RowLock, checked_lock
from crosskey.router.planning.schema_view import SchemaView
from crosskey.v1 import router_pb2, rows_pb2


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """Which shards to ask for the rows of a table that meet the conditions."""

    table: TablePlan
    shards: tuple[int, ...]
    predicates: tuple[Checked, ...]
    conditions: tuple[reads_pb2.Condition, ...]
    as_text: bool = False
    """Whether values are answered as PostgreSQL's own text."""
    shape: Shape = ALL_COLUMNS
    includes: tuple[IncludePlan, ...] = ()
    lock: RowLock = UNLOCKED


@dataclass(frozen=True, slots=True)
class ListPlan:
    """A page to read: its total order, where it begins on each shard, and what its token must remember."""

    table: TablePlan
    predicates: tuple[Checked, ...]
    conditions: tuple[reads_pb2.Condition, ...]
    order: tuple[OrderColumn, ...]
    places: Places
    page_size: int
    query: bytes
    token_key: bytes
    as_text: bool
    """Whether values are answered as PostgreSQL's own text."""
    shape: Shape = ALL_COLUMNS
    includes: tuple[IncludePlan, ...] = ()
    lock: RowLock = UNLOCKED

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


def plan_get(
    view: SchemaView, request: router_pb2.GetRequest, copy: int = 0, also: Sequence[rows_pb2.Predicate] = ()
) -> ReadPlan:
    """Where the row of a key is that meets more predicates, if there are any. `copy` as in SchemaView.shards_for_where.

    Raises UnknownTable, UnknownColumn, NumberNotExact and, if the key is none of the table or an include is none of its
    relations, InvalidRequest.
    """
    table = view.table(request.table)
    key = check_key(table.table, given_key(request))
    more = check_predicates(table.table, also)
    refuse_related(more)
    plan = _read_plan(view, table, (*key, *more), copy)
    includes = plan_includes(view, table, request.include, of_one_row=True)
    shape = shape_of(view, table, request.columns, includes)
    lock = checked_lock(request.lock)
    return replace(plan, as_text=is_text_form(request.row_form), shape=shape, includes=includes, lock=lock)


def plan_count(
    view: SchemaView, request: router_pb2.CountRequest, copy: int = 0, resolved: Sequence[Checked] | None = None
) -> ReadPlan:
    """Where the rows to count are. `copy` as in SchemaView.shards_for_where, `resolved` as for plan_list.

    Raises UnknownTable, UnknownColumn, NumberNotExact and InvalidRequest.
    """
    table = view.table(request.table)
    where = check_predicates(table.table, request.where) if resolved is None else resolved
    return _read_plan(view, table, where, copy)


def plan_list(
    view: SchemaView, request: router_pb2.ListRequest, copy: int = 0, resolved: Sequence[Checked] | None = None
) -> ListPlan:
    """Where the rows of a page are. `copy` as in SchemaView.shards_for_where; a page token knows its own.

    `resolved` are the request's predicates once those over relations are resolved. Raises UnknownTable, UnknownColumn,
    NumberNotExact, InvalidRequest and InvalidPageToken.
    """
    table = view.table(request.table)
    predicates = check_predicates(table.table, request.where) if resolved is None else resolved
    where = _read_plan(view, table, predicates, copy)
    order = total_order(table.table, request.order_by)
    query = _query_of(view, where, order)
    places = (
        page_token.decode(view.token_key, request.page_token, query)
        if request.page_token
        else dict.fromkeys(where.shards)
    )
    as_text = is_text_form(request.row_form)
    size = page_size(request.page_size)
    includes = plan_includes(view, table, request.include)
    shape = shape_of(view, table, request.columns, includes)
    return ListPlan(
        table=table,
        predicates=where.predicates,
        conditions=where.conditions,
        order=order,
        places=places,
        page_size=size,
        query=query,
        token_key=view.token_key,
        as_text=as_text,
        shape=shape,
        includes=includes,
        lock=checked_lock(request.lock),
    )


def _read_plan(view: SchemaView, table: TablePlan, predicates: Sequence[Checked], copy: int) -> ReadPlan:
    shards = view.shards_for_where(table, predicates, copy)
    return ReadPlan(table, shards, tuple(predicates), tuple(to_conditions(predicates)))


def _query_of(view: SchemaView, where: ReadPlan, order: Sequence[OrderColumn]) -> bytes:
    """What a page token must be sent back with."""
    return page_token.query_digest(
        f"{view.fingerprint} {view.shards} {where.table.table.name.qualified}".encode(),
        *(predicate.digest() for predicate in where.predicates),
        b"ORDER BY",
        *(column.to_order().SerializeToString(deterministic=True) for column in order),
    )
