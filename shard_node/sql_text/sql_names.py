"""Table and column names as composable SQL, for statements that are executed with parameters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from crosskey.catalog.model import Column, TableName
from crosskey.catalog.naming import shorten
from crosskey.shard_node.sql_text.identifiers import identifier, literal


def table_identifier(name: TableName) -> sql.Identifier:
    """The quoted, qualified name."""
    return identifier(name.schema, name.name)


def function_identifier(purpose: str, table: TableName) -> sql.Identifier:
    """The name of a function of ours that serves one table."""
    return identifier("crosskey", shorten(f"{purpose}_{table.qualified}"))


def column_list(columns: Sequence[str], *, alias: str | None = None) -> sql.Composed:
    """The quoted columns, comma-separated, each behind the alias if there is one."""
    return sql.SQL(", ").join(column_reference(column, alias) for column in columns)


def column_reference(column: str, alias: str | None = None) -> sql.Identifier:
    """One quoted column."""
    return identifier(column) if alias is None else identifier(alias, column)


def columns_equal(columns: Sequence[str], left: str, right: str) -> sql.Composed:
    """`left.a = right.a AND left.b = right.b`, of columns that have the same types.

    By PostgreSQL's own operators: the search path may lead to others. A key onto columns of an extension's types has
    its own (key_columns.same_key).
    """
    return sql.SQL(" AND ").join(
        sql.SQL("{} OPERATOR(pg_catalog.=) {}").format(identifier(left, column), identifier(right, column))
        for column in columns
    )


def as_record(values: Iterable[sql.Composable]) -> sql.Composed:
    """Values as a record: records are compared as indexes compare their fields, whatever the operators are called."""
    return sql.SQL("ROW({})::record").format(sql.SQL(", ").join(values))


def typed_columns(columns: Sequence[Column]) -> sql.Composed:
    """The column definitions of a json_to_recordset: `"a" bigint, "b" text`."""
    # The type is PostgreSQL's own spelling of it (format_type), already quoted where it must be.
    return sql.SQL(", ").join(
        sql.SQL("{} {}").format(identifier(column.name), sql.SQL(column.type.replace("%", "%%"))) for column in columns
    )


def json_object(columns: Sequence[str], alias: str) -> sql.Composed:
    """`json_build_object('a', alias.a, ...)`: a key as JSON."""
    pairs = sql.SQL(", ").join(
        sql.SQL("{}, {}").format(literal(column), identifier(alias, column)) for column in columns
    )
    return sql.SQL("json_build_object({})").format(pairs)
