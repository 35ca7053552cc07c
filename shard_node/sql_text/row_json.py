"""Rows as JSON: as the API shows them, and verbatim, as they travel from one shard to another.

JSON has one null, where a jsonb value may be `null` without being NULL, and its arrays begin nowhere; some types are
shown in a form that they do not take back. So a row that is stored again is written in PostgreSQL's own text of each
value, which is what a dump relies on as well.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import msgspec
from psycopg import sql

from crosskey.catalog.model import Column, Table
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.sql_names import typed_columns

EXACT_TYPES = frozenset({"int8", "numeric"})
"""Types whose values a double may not hold: they are shown as text."""

JSON_TYPES = frozenset({"json", "jsonb"})
"""Types that take a JSON string for a value of their own, and not for the text of one."""


def row_expression(table: Table, alias: str, columns: Sequence[Column] = ()) -> sql.Composed:
    """An SQL expression of type json: one row of `alias`, an object with its columns by name in order.

    They are all columns unless some are given. bigint and numeric, and arrays of them, are text; everything else is in
    PostgreSQL's own to_json form. `alias` must have the table's columns; it may have more. Aggregate it with json_agg:
    nothing is faster.
    """
    return _object(table, (_shown(column, alias) for column in columns or table.columns))


def text_expression(table: Table, alias: str, columns: Sequence[Column] = ()) -> sql.Composed:
    """An SQL expression of type json: one row of `alias`, an object with its columns by name in order.

    They are all columns unless some are given. Each is its text or null.
    """
    return _object(table, (_verbatim(column, alias) for column in columns or table.columns))


def verbatim_expression(table: Table, alias: str) -> sql.Composed:
    """An SQL expression of type json: one row of `alias` verbatim, an object with every column that can be given.

    Each is its text or null. What given_values makes of them is the very same row.
    """
    return _object(table, (_verbatim(column, alias) for column in table.columns if not column.generated))


def given_values(columns: Sequence[Column], json_text: Collection[str]) -> sql.Composed:
    """A query with one parameter, a JSON array of rows, that answers them with each column of its own type.

    In the columns `json_text`, JSON is given as its text; in verbatim rows that is every one of JSON_TYPES.
    """
    return sql.SQL("SELECT {values} FROM json_to_recordset(%s) AS given({given})").format(
        values=sql.SQL(", ").join(map(own_type, columns)), given=typed_columns(read_given(columns, json_text))
    )


def json_columns(columns: Iterable[Column]) -> frozenset[str]:
    """Those of JSON_TYPES."""
    return frozenset(column.name for column in columns if column.base_type in JSON_TYPES)


def read_given(columns: Sequence[Column], json_text: Collection[str]) -> list[Column]:
    """The columns as a row is to be read that gives the text of some; `own_type` then gives each its own type."""
    # A JSON string for an array or a composite is read as its text; only for a JSON value it is one itself.
    return [_as_text(column) if column.name in json_text else column for column in columns]


def _object(table: Table, columns: Iterable[sql.Composable]) -> sql.Composed:
    # json_build_object takes 100 arguments at most, and copying each name into each row costs a third more.
    return sql.SQL("row_to_json((SELECT {row} FROM (SELECT {columns}) AS {row}))").format(
        row=identifier(name_of_no_column(table, "row")), columns=sql.SQL(", ").join(columns)
    )


def _shown(column: Column, alias: str) -> sql.Composed:
    """The column in the form that is shown, under its own name."""
    name = identifier(alias, column.name)
    if column.base_type in EXACT_TYPES:
        return sql.SQL("{}::text AS {}").format(name, identifier(column.name))
    if column.base_type.removeprefix("_") in EXACT_TYPES:
        return sql.SQL("{}::text[] AS {}").format(name, identifier(column.name))
    return sql.SQL("{}").format(name)


def _verbatim(column: Column, alias: str) -> sql.Composed:
    """The column's text, under its own name."""
    return sql.SQL("{} AS {}").format(text_of(identifier(alias, column.name)), identifier(column.name))


def text_of(value: sql.Composable) -> sql.Composed:
    """PostgreSQL's own text of a value, as an SQL expression; NULL for NULL."""
    # Not a cast: that of char(n) drops spaces, and users make casts, and functions, of their own. IS NULL would also be
    # true of a composite value whose fields are all NULL.
    return sql.SQL("CASE WHEN num_nulls({value}) = 0 THEN pg_catalog.concat({value}) END").format(value=value)


def own_type(column: Column) -> sql.Composed:
    """The value of a row called given, which was read verbatim."""
    value = identifier("given", column.name)
    if column.base_type not in JSON_TYPES:
        return sql.SQL("{}").format(value)
    return sql.SQL("{}::{}").format(value, sql.SQL(column.type.replace("%", "%%")))


def _as_text(column: Column) -> Column:
    return msgspec.structs.replace(column, type="text")


def name_of_no_column(table: Table, name: str) -> str:
    """The name, longer if need be, that no column of the table has."""
    while table.column(name) is not None:
        name += "_"
    return name
