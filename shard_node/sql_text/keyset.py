"""Positions in an ordered list of rows: what lies after a row, without counting rows before it.

Orders are PostgreSQL's own: ascending has NULLs last, descending has NULLs first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from catalog.model import Column, Table
from crosskey.internal.v1 import reads_pb2
from shard_node.sql_text.conditions import Fragment, known_column
from shard_node.sql_text.identifiers import identifier

ROW_PLACE = "ctid"
"""The pseudo-column that makes the order of a table without a key total: where the row lies."""

Position = Sequence[str | None]
"""The text of each order column of a row; None for NULL."""


@dataclass(frozen=True)
class OrderColumn:
    """A column of an order; `column` is None for ROW_PLACE."""

    name: str
    column: Column | None
    descending: bool

    @property
    def nullable(self) -> bool:
        """Whether NULLs must be thought of."""
        return self.column is not None and not self.column.not_null


def order_columns(table: Table, order: Sequence[reads_pb2.Order]) -> tuple[OrderColumn, ...]:
    """The order, checked. Raises UnknownColumn."""
    return tuple(
        OrderColumn(one.column, None if one.column == ROW_PLACE else known_column(table, one.column), one.descending)
        for one in order
    )


def order_clause(order: Sequence[OrderColumn], alias: str) -> sql.Composed:
    """The clause ORDER BY; empty for no order."""
    if not order:
        return sql.Composed([])
    return sql.SQL("ORDER BY {}").format(
        sql.SQL(", ").join(
            sql.SQL("{} {}").format(identifier(alias, one.name), sql.SQL("DESC" if one.descending else "ASC"))
            for one in order
        )
    )


def position_expression(order: Sequence[OrderColumn], alias: str) -> sql.Composed:
    """An SQL expression of type json: the position of a row."""
    values = sql.SQL(", ").join(sql.SQL("{}::text").format(identifier(alias, one.name)) for one in order)
    return sql.SQL("to_json(ARRAY[{}]::text[])").format(values)


def after(order: Sequence[OrderColumn], position: Position, alias: str) -> Fragment:
    """A boolean expression that is true for the rows after a position, and its parameters."""
    if _one_comparison_suffices(order, position):
        return _row_comparison(order, position, alias)
    alternatives = [_after_at(order, position, place, alias) for place in range(len(order))]
    expressions = sql.SQL(" OR ").join(expression for expression, _ in alternatives)
    # The first column alone bounds a scan of an index on it, which the alternatives do not.
    bound, bound_parameters = _leading_bound(order[0], position[0], alias)
    parameters = [parameter for _, values in alternatives for parameter in values]
    return sql.SQL("{}({})").format(bound, expressions), [*bound_parameters, *parameters]


def _one_comparison_suffices(order: Sequence[OrderColumn], position: Position) -> bool:
    """Whether PostgreSQL's comparison of rows, which an index serves, is the order.

    A comparison with a NULL is not true. Descending, that is right: rows with NULL lie before every other one.
    """
    if None in position:
        return False
    if all(one.descending for one in order):
        return True
    return not any(one.descending or one.nullable for one in order)


def _row_comparison(order: Sequence[OrderColumn], position: Position, alias: str) -> Fragment:
    names = sql.SQL(", ").join(identifier(alias, one.name) for one in order)
    places = sql.SQL(", ").join(sql.SQL("%s") for _ in order)
    operator = sql.SQL("<" if order[0].descending else ">")
    return sql.SQL("({}) {} ({})").format(names, operator, places), list(position)


def _leading_bound(first: OrderColumn, value: str | None, alias: str) -> Fragment:
    if value is None or (first.nullable and not first.descending):
        return sql.SQL(""), []
    operator = sql.SQL("<=" if first.descending else ">=")
    return sql.SQL("{} {} %s AND ").format(identifier(alias, first.name), operator), [value]


def _after_at(order: Sequence[OrderColumn], position: Position, place: int, alias: str) -> Fragment:
    """True for the rows that equal the position before `place` and lie after it at `place`."""
    parts = [_equal(one, value, alias) for one, value in zip(order[:place], position[:place], strict=True)]
    parts.append(_beyond(order[place], position[place], alias))
    expression = sql.SQL("({})").format(sql.SQL(" AND ").join(part for part, _ in parts))
    return expression, [parameter for _, parameters in parts for parameter in parameters]


def _equal(one: OrderColumn, value: str | None, alias: str) -> Fragment:
    name = identifier(alias, one.name)
    if value is None:
        return sql.SQL("{} IS NULL").format(name), []
    return sql.SQL("{} = %s").format(name), [value]


def _beyond(one: OrderColumn, value: str | None, alias: str) -> Fragment:
    name = identifier(alias, one.name)
    if value is None:
        return sql.SQL("{} IS NOT NULL").format(name) if one.descending else sql.SQL("FALSE"), []
    if one.descending:
        return sql.SQL("{} < %s").format(name), [value]
    if one.nullable:
        return sql.SQL("({0} > %s OR {0} IS NULL)").format(name), [value]
    return sql.SQL("{} > %s").format(name), [value]
