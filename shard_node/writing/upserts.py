"""INSERT .. ON CONFLICT, and which of the given rows was inserted, updated another one, or neither.

PostgreSQL answers only the rows that it wrote, and not which given row each one is. So the statement keeps the place of
the row in hand in a setting: reading a given row sets it, updating another row instead makes it negative, and RETURNING
reads it. That is sound because PostgreSQL takes the rows of a query one by one: each is read, written and answered
before the next one is read. What a row looks like afterwards would not tell: triggers may change it, two given rows may
be equal, and xmax is not 0 in a new row that something locked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import Column, Table, UniqueKey
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.sql_names import column_list, typed_columns
from crosskey.v1 import rows_pb2

PLACE = sql.SQL("pg_catalog.current_setting('crosskey.place')::integer")
"""In RETURNING: the place from 1 of the given row, negative if another row was updated for it."""

_ARRIVES = sql.SQL("pg_catalog.set_config('crosskey.place', element.place::text, true) IS NOT NULL")
_UPDATES = sql.SQL(
    "pg_catalog.set_config('crosskey.place', '-' || pg_catalog.current_setting('crosskey.place'), true) IS NOT NULL"
)


def proposed_rows(
    values: Sequence[sql.Composable], columns: Sequence[Column], given: Sequence[Column], absent: Collection[str]
) -> sql.Composed:
    """A query with one parameter, a JSON array of rows, that answers `values` of each and keeps its place.

    `values` are expressions over a row called given, which has the columns `given`; of the columns in `absent`, rows
    that lack one get its default.
    """
    shown = [
        _or_default(value, column, read) if column.name in absent else value
        for value, column, read in zip(values, columns, given, strict=True)
    ]
    always_given = [column for column in given if column.name not in absent]
    record = sql.SQL(", {}").format(_given(always_given)) if always_given else sql.SQL("")
    return sql.SQL(
        "SELECT {values} FROM json_array_elements(%s) WITH ORDINALITY AS element(object, place){record} WHERE {arrives}"
    ).format(values=sql.SQL(", ").join(shown), record=record, arrives=_ARRIVES)


def conflict_clause(table: Table, on_conflict: rows_pb2.OnConflict) -> sql.Composed:
    """ON CONFLICT and what follows, up to RETURNING. Raises UnknownConstraint if the table has no such index."""
    clause = sql.SQL("ON CONFLICT {target} {action}")
    if on_conflict.WhichOneof("action") == "nothing":
        return clause.format(target=_target(table, on_conflict), action=sql.SQL("DO NOTHING"))
    changes = sql.SQL(", ").join(
        sql.SQL("{} = EXCLUDED.{}").format(identifier(column), identifier(column))
        for column in on_conflict.update.columns
    )
    update = sql.SQL("DO UPDATE SET {changes} WHERE {updates}").format(changes=changes, updates=_UPDATES)
    return clause.format(target=_target(table, on_conflict), action=update)


def _target(table: Table, on_conflict: rows_pb2.OnConflict) -> sql.Composed:
    if on_conflict.constraint:
        return sql.SQL("ON CONSTRAINT {}").format(identifier(on_conflict.constraint))
    if on_conflict.index:
        return _inference(_unique_index(table, on_conflict.index))
    if on_conflict.columns:
        return sql.SQL("({})").format(column_list(on_conflict.columns))
    return sql.SQL("").format()


def _unique_index(table: Table, name: str) -> UniqueKey:
    key = next((key for key in table.unique_keys if key.name == name), None)
    if key is None:
        raise errors.UnknownConstraint(f'there is no unique index "{name}" on "{table.name}"', table=str(table.name))
    return key


def _inference(key: UniqueKey) -> sql.Composed:
    """What PostgreSQL infers the index from."""
    if key.computed is None:
        return sql.SQL("({})").format(column_list(key.columns))
    # PostgreSQL's own spelling, with every name qualified.
    expressions = sql.SQL(", ").join(sql.SQL(one.replace("%", "%%")) for one in key.computed.expressions)
    predicate = key.computed.predicate.replace("%", "%%")
    return sql.SQL("({}){}").format(expressions, sql.SQL(f" WHERE {predicate}" if predicate else ""))


def _given(columns: Sequence[Column]) -> sql.Composed:
    """The row in hand as a table of one row."""
    return sql.SQL("json_to_record(element.object) AS given({})").format(typed_columns(columns))


def _or_default(value: sql.Composable, column: Column, given: Column) -> sql.Composed:
    # A JSON null is a value too, and NULL only when it is read as one. What is absent is not read: a domain may not
    # allow the NULL that it would be.
    return sql.SQL(
        "CASE WHEN element.object -> {name} IS NOT NULL THEN (SELECT {value} FROM {given}) ELSE {default} END"
    ).format(name=literal(column.name), value=value, given=_given([given]), default=_default(column))


def _default(column: Column) -> sql.Composed:
    """The default as an expression of the column's type. It is PostgreSQL's own spelling, with every name qualified."""
    of_type = sql.SQL(column.type.replace("%", "%%"))
    if column.identity and column.sequence is not None:
        sequence = literal(sql.Identifier(column.sequence.schema, column.sequence.name).as_string())
        return sql.SQL("nextval({}::regclass)::{}").format(sequence, of_type)
    default = "NULL" if column.default is None else column.default.replace("%", "%%")
    return sql.SQL("({})::{}").format(sql.SQL(default), of_type)
