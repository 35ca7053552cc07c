"""Total orders of rows, and how many rows a page has: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from crosskey import errors
from crosskey.catalog.key_values import keys_without_nulls
from crosskey.catalog.model import Column, Table
from crosskey.internal.v1 import reads_pb2
from crosskey.router.planning.predicates import existing_column
from crosskey.v1 import rows_pb2

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


def order_digests(order: Iterable[OrderColumn]) -> Iterator[bytes]:
    """What a page token remembers of an order, so that it outlives changes of the schema which leave this alone."""
    for one in order:
        yield one.to_order().SerializeToString(deterministic=True)
        yield (one.column.type if one.column is not None else "").encode()


def total_order(table: Table, order_by: Iterable[rows_pb2.OrderBy]) -> tuple[OrderColumn, ...]:
    """The order, followed by what makes it total: the primary key, another key without NULLs, or ROW_PLACE.

    What follows has the direction of the column before, so that one index can serve both. Raises UnknownColumn.
    """
    order: dict[str, OrderColumn] = {}
    for one in order_by:
        # A column that comes twice orders nothing the second time.
        order.setdefault(one.column, OrderColumn(one.column, existing_column(table, one.column), one.descending))
    if not any(order.keys() >= set(key) for key in _keys(table)):
        descending = bool(order) and list(order.values())[-1].descending
        for name in _tie_break(table):
            order.setdefault(name, OrderColumn(name, table.column(name), descending))
    return tuple(order.values())


def page_size(asked: int, field: str = "page_size") -> int:
    """How many rows a page has for what a request asks. Raises InvalidRequest if that is negative."""
    if asked < 0:
        raise errors.InvalidRequest(f"{field} must not be negative, it is {asked}")
    return min(asked or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)


def _tie_break(table: Table) -> Sequence[str]:
    return next(iter(_keys(table)), (ROW_PLACE,))


def _keys(table: Table) -> Sequence[Sequence[str]]:
    """The column lists of which no two rows of a shard have the same values."""
    if not table.is_view:
        return keys_without_nulls(table)
    return [table.primary_key] if table.primary_key else []
