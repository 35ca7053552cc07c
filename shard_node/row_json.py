"""Rows as JSON, as the API shows them."""

from __future__ import annotations

from psycopg import sql

from catalog.model import Column, Table
from shard_node.identifiers import identifier

EXACT_TYPES = frozenset({"int8", "numeric"})
"""Types whose values a double may not hold: they are shown as text."""


def row_expression(table: Table, alias: str) -> sql.Composed:
    """An SQL expression of type json: one row of `alias`, an object with every column by name in order.

    bigint and numeric, and arrays of them, are text; everything else is in PostgreSQL's own to_json form. `alias` must
    have the table's columns; it may have more. Aggregate it with json_agg: nothing is faster.
    """
    # json_build_object takes 100 arguments at most, and copying each name into each row costs a third more.
    row = identifier(_name_of_no_column(table))
    columns = sql.SQL(", ").join(_shown(column, alias) for column in table.columns)
    return sql.SQL("row_to_json((SELECT {row} FROM (SELECT {columns}) AS {row}))").format(row=row, columns=columns)


def _shown(column: Column, alias: str) -> sql.Composed:
    """The column in the form that is shown, under its own name."""
    name = identifier(alias, column.name)
    if column.base_type in EXACT_TYPES:
        return sql.SQL("{}::text AS {}").format(name, identifier(column.name))
    if column.base_type.removeprefix("_") in EXACT_TYPES:
        return sql.SQL("{}::text[] AS {}").format(name, identifier(column.name))
    return sql.SQL("{}").format(name)


def _name_of_no_column(table: Table) -> str:
    """A name that means the whole row, and not a column of it."""
    name = "row"
    while table.column(name) is not None:
        name += "_"
    return name
