"""Positions in an ordered list of rows: what lies after a row, without counting rows before it.

Orders are PostgreSQL's own: ascending has NULLs last, descending has NULLs first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import LiteralString

from psycopg import sql

from crosskey.catalog.model import Column, Table
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.sql_text.conditions import Fragment, known_column
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.sql_names import as_record

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
    if None in position or any(one.column is not None and one.column.oddly_ordered for one in order):
        return False
    if all(one.descending for one in order):
        return True
    return not any(one.descending or one.nullable for one in order)


def _row_comparison(order: Sequence[OrderColumn], position: Position, alias: str) -> Fragment:
    names = sql.SQL(", ").join(identifier(alias, one.name) for one in order)
    places = sql.SQL(", ").join(map(_parameter, order))
    operator = sql.SQL("<" if order[0].descending else ">")
    return sql.SQL("({}) {} ({})").format(names, operator, places), list(position)


def _leading_bound(first: OrderColumn, value: str | None, alias: str) -> Fragment:
    if value is None or (first.nullable and not first.descending):
        return sql.SQL(""), []
    comparison = _comparison(first, "<=" if first.descending else ">=", alias)
    return sql.SQL("{} AND ").format(comparison), [value]


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
    return _comparison(one, "=", alias), [value]


def _beyond(one: OrderColumn, value: str | None, alias: str) -> Fragment:
    name = identifier(alias, one.name)
    if value is None:
        return sql.SQL("{} IS NOT NULL").format(name) if one.descending else sql.SQL("FALSE"), []
    if one.descending:
        return _comparison(one, "<", alias), [value]
    if one.nullable:
        return sql.SQL("({} OR {} IS NULL)").format(_comparison(one, ">", alias), name), [value]
    return _comparison(one, ">", alias), [value]


def _comparison(one: OrderColumn, operator: LiteralString, alias: str) -> sql.Composed:
    """The column of a row compared with a parameter, as the type is ordered."""
    name = identifier(alias, one.name)
    if one.column is None or not one.column.oddly_ordered:
        return sql.SQL("{} {} {}").format(name, sql.SQL(operator), _parameter(one))
    return sql.SQL("{} {} {}").format(as_record([name]), sql.SQL(operator), as_record([_parameter(one)]))


def _parameter(one: OrderColumn) -> sql.Composable:
    """A parameter of the column's type: beside a composite column PostgreSQL would not find that out."""
    if one.column is None or "." not in one.column.base_type:
        return sql.SQL("%s")
    return sql.SQL("%s::{}").format(sql.SQL(one.column.type.replace("%", "%%")))
