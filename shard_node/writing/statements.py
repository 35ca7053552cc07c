"""INSERT, UPDATE and DELETE statements, set-based: one statement for all rows of a request on this shard.

The text depends on the shape of the request alone, so that PostgreSQL plans it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec
from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import Column, Table
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.serving.answer_size import MAX_ROWS_BYTES
from crosskey.shard_node.sql_text.conditions import known_column, operand, where_clause
from crosskey.shard_node.sql_text.hidden_rows import where_seen
from crosskey.shard_node.sql_text.key_ends import KeyEnds
from crosskey.shard_node.sql_text.row_json import (
    given_values,
    json_columns,
    name_of_no_column,
    own_type,
    read_given,
    row_expression,
    text_expression,
    verbatim_expression,
)
from crosskey.shard_node.sql_text.sql_names import column_list, column_reference, table_identifier, typed_columns
from crosskey.shard_node.writing.kept_columns import keeping, kept_columns
from crosskey.shard_node.writing.upserts import PLACE, conflict_clause, proposed_rows
from crosskey.v1 import rows_pb2

_CACHED_SHAPES = 1024

_OPERATORS: dict[int, sql.SQL] = {
    rows_pb2.Assignment.ADD: sql.SQL("+"),
    rows_pb2.Assignment.SUBTRACT: sql.SQL("-"),
    rows_pb2.Assignment.MULTIPLY: sql.SQL("*"),
    rows_pb2.Assignment.CONCATENATE: sql.SQL("||"),
}

Changes = tuple[list[sql.Composed], list[object]]
"""Assignments of a SET clause, and their parameters."""

Statement = tuple[sql.Composed | bytes, list[object]]
"""A statement and its parameters.

It answers one row: the id of the transaction as text, how many rows it changed, these as JSON text or NULL, of a
command with `lock_table` the same verbatim, as JSON text the first of them that is not as expected, and of an insert
with `on_conflict` their places as upserts.PLACE tells them.
"""


_TRANSACTION = sql.SQL("pg_current_xact_id_if_assigned()::text")

# The triggers that write events, and find the ids, fire when the query has come to its end.
_TELLING_REQUESTS = sql.SQL("CASE WHEN set_config('crosskey.request_id', %s, true) IS NOT NULL THEN {} END").format(
    _TRANSACTION
)


def _transaction(*, tells_requests: bool) -> sql.Composable:
    """The id of the transaction; with a last parameter that tells triggers the ids of the requests."""
    return _TELLING_REQUESTS if tells_requests else _TRANSACTION


class _Answer(NamedTuple):
    """What of the changed rows is answered beside their number: as they are shown, be it as text, and verbatim."""

    rows: bool
    as_text: bool
    verbatim: bool
    columns: tuple[str, ...] = ()
    """Those that are shown; all if there are none."""
    expected: bytes = b""
    """What each row is to meet, as SQL; its parameters are the last of the statement."""
    tells_requests: bool = False

    def of(self, table: Table) -> sql.Composed:
        """The columns that answer of the rows `changed`."""
        shown = text_expression if self.as_text else row_expression
        columns = [known_column(table, name) for name in self.columns]
        return sql.SQL("{transaction}, count(*), {rows}, {verbatim}, {unmet}").format(
            transaction=_transaction(tells_requests=self.tells_requests),
            rows=_aggregated(shown(table, "changed", columns)) if self.rows else sql.NULL,
            verbatim=_aggregated(verbatim_expression(table, "changed")) if self.verbatim else sql.NULL,
            unmet=_first_unmet(row_expression(table, "changed"), self.expected) if self.expected else sql.NULL,
        )


def _first_unmet(row: sql.Composable, expected: bytes) -> sql.Composed:
    condition = sql.SQL(expected.decode())
    return sql.SQL("(array_agg({}) FILTER (WHERE ({}) IS NOT TRUE))[1]::text").format(row, condition)


def _aggregated(row: sql.Composable) -> sql.Composed:
    return sql.SQL("crosskey.answer(json_agg({row})::text, {limit})").format(row=row, limit=sql.Literal(MAX_ROWS_BYTES))


def build(
    table: Table,
    command: proto.Statement,
    request_ids: str = "",
    lock_timeout_ms: int = 0,
    ends: KeyEnds | None = None,
) -> Statement:
    """The SQL of a command, with what execute_statement has beside it.

    Raises UnknownColumn, InvalidRequest and InvalidValue.
    """
    expected, last = where_clause(table, command.expected, "changed")
    answer = _Answer(
        rows=not command.count_only,
        as_text=command.as_text,
        verbatim=command.lock_table,
        columns=tuple(command.columns),
        expected=expected.as_bytes() if command.expected else b"",
        tells_requests=bool(request_ids),
    )
    text, parameters = _build(table, command, answer, lock_timeout_ms, ends)
    return text, [*parameters, *([request_ids] if request_ids else []), *last]


def _build(
    table: Table, command: proto.Statement, answer: _Answer, lock_timeout_ms: int, ends: KeyEnds | None
) -> Statement:
    kind = command.WhichOneof("statement")
    if kind == "insert":
        return _insert(table, command.insert, answer, lock_timeout_ms)
    if kind == "update":
        return _update(table, command.update, answer, ends)
    if kind == "delete":
        return _delete(table, command.delete, answer, ends)
    raise errors.InvalidRequest("a statement is neither insert, update nor delete")


def _insert(table: Table, insert: proto.InsertRows, answer: _Answer, lock_timeout_ms: int) -> Statement:
    if insert.HasField("on_conflict"):
        return _upsert(table, insert, answer), [insert.rows_json.decode()]
    if not insert.columns:
        return _insert_defaults(table, len(msgspec.json.decode(insert.rows_json)), answer)
    columns = tuple(insert.columns)
    json_text, overriding = _json_text(table, insert), insert.overriding_system_value
    return _insert_text(table, columns, overriding, json_text, answer, lock_timeout_ms), [insert.rows_json.decode()]


def _json_text(table: Table, insert: proto.InsertRows) -> frozenset[str]:
    """The columns whose JSON is given as its text."""
    return json_columns(table.columns) if insert.verbatim else frozenset(insert.json_text_columns)


@lru_cache(maxsize=_CACHED_SHAPES)
def _insert_text(
    table: Table,
    columns: tuple[str, ...],
    overriding: bool,
    json_text: frozenset[str],
    answer: _Answer,
    lock_timeout_ms: int,
) -> bytes:
    # Rows come out in the order in which they went in: PostgreSQL inserts a query's rows one by one and RETURNING
    # answers each at once.
    return (
        sql.SQL(
            "WITH changed AS (INSERT INTO {table} ({columns}) {overriding} {values}{patience} RETURNING *)"
            " SELECT {answer} FROM changed"
        )
        .format(
            table=table_identifier(table.name),
            columns=column_list(columns),
            overriding=sql.SQL("OVERRIDING SYSTEM VALUE" if overriding else ""),
            values=given_values(_columns(table, columns), json_text),
            patience=_patience(lock_timeout_ms),
            answer=answer.of(table),
        )
        .as_bytes()
    )


def _patience(lock_timeout_ms: int) -> sql.Composed:
    """A condition on given rows that sets, before the first is inserted, how long the transaction waits for locks."""
    if not lock_timeout_ms:
        return sql.SQL("").format()
    # It changes something, so PostgreSQL evaluates it for each row as it comes, and never for all of them beforehand.
    setting = sql.SQL(" WHERE set_config('lock_timeout', {}, true) IS NOT NULL")
    return setting.format(sql.Literal(f"{lock_timeout_ms}ms"))


def _upsert(table: Table, insert: proto.InsertRows, answer: _Answer) -> bytes:
    return _upsert_text(
        table,
        tuple(insert.columns),
        tuple(insert.sometimes_absent),
        insert.on_conflict.SerializeToString(deterministic=True),
        insert.overriding_system_value,
        _json_text(table, insert),
        answer,
    )


@lru_cache(maxsize=_CACHED_SHAPES)
def _upsert_text(
    table: Table,
    names: tuple[str, ...],
    absent: tuple[str, ...],
    on_conflict: bytes,
    overriding: bool,
    json_text: frozenset[str],
    answer: _Answer,
) -> bytes:
    columns = _columns(table, names)
    rows = proposed_rows(list(map(own_type, columns)), columns, read_given(columns, json_text), absent)
    place = name_of_no_column(table, "place")
    return (
        sql.SQL(
            # Without an alias, a table called excluded would be taken for the proposed row.
            "WITH changed AS (INSERT INTO {table} AS written ({columns}) {overriding} {rows} {conflict}"
            " RETURNING *, {place} AS {name}) SELECT {answer}, array_agg({name}) FROM changed"
        )
        .format(
            table=table_identifier(table.name),
            columns=column_list(names),
            overriding=sql.SQL("OVERRIDING SYSTEM VALUE" if overriding else ""),
            rows=rows,
            conflict=conflict_clause(table, rows_pb2.OnConflict.FromString(on_conflict)),
            place=PLACE,
            name=column_reference(place),
            answer=answer.of(table),
        )
        .as_bytes()
    )


def _insert_defaults(table: Table, rows: int, answer: _Answer) -> Statement:
    """Rows without any column: all defaults."""
    statement = sql.SQL(
        "WITH changed AS (INSERT INTO {table} ({first}) VALUES {defaults} RETURNING *) SELECT {answer} FROM changed"
    ).format(
        table=table_identifier(table.name),
        first=column_list([table.columns[0].name]),
        defaults=sql.SQL(", ").join([sql.SQL("(DEFAULT)")] * rows),
        answer=answer.of(table),
    )
    return statement, []


def _update(table: Table, update: proto.UpdateRows, answer: _Answer, ends: KeyEnds | None) -> Statement:
    kept = kept_columns(table, update)
    where, parameters = keeping(table, kept, update, where_seen(table, update.where, ends))
    given, given_parameters = _given_columns(table, update, kept)
    computed, computed_parameters = _computed_columns(table, update.computed)
    statement = sql.SQL(
        "WITH changed AS (UPDATE {table} SET {changes} WHERE {where} RETURNING *) SELECT {answer} FROM changed"
    ).format(
        table=table_identifier(table.name),
        changes=sql.SQL(", ").join([*given, *computed]),
        where=where,
        answer=answer.of(table),
    )
    return statement, [*given_parameters, *computed_parameters, *parameters]


def _given_columns(table: Table, update: proto.UpdateRows, kept: Sequence[Column]) -> Changes:
    columns = [column for column in _columns(table, update.columns) if column not in kept]
    if not columns:
        return [], []
    change = sql.SQL("({columns}) = (SELECT {given} FROM json_to_record(%s) AS given({typed}))").format(
        columns=column_list([column.name for column in columns]),
        given=sql.SQL(", ").join(map(own_type, columns)),
        typed=typed_columns(read_given(columns, update.json_text_columns)),
    )
    return [change], [update.set_json.decode()]


def _computed_columns(table: Table, computed: Sequence[proto.ComputedColumn]) -> Changes:
    changes: list[sql.Composed] = []
    parameters: list[object] = []
    for one in computed:
        _, source = _columns(table, [one.column, one.source])
        names = {"column": column_reference(one.column), "source": column_reference(one.source)}
        if one.op == rows_pb2.Assignment.COPY:
            changes.append(sql.SQL("{column} = {source}").format(**names))
            continue
        operator = _OPERATORS.get(one.op)
        if operator is None:
            raise errors.InvalidRequest(f"there is no assignment operator {one.op}", table=str(table.name))
        value, values = operand(source, one.value_json)
        changes.append(
            sql.SQL("{column} = {source} {operator} {value}").format(operator=operator, value=value, **names)
        )
        parameters.extend(values)
    return changes, parameters


def _delete(table: Table, delete: proto.DeleteRows, answer: _Answer, ends: KeyEnds | None) -> Statement:
    where, parameters = where_seen(table, delete.where, ends)
    statement = sql.SQL(
        "WITH changed AS (DELETE FROM {table} WHERE {where} RETURNING 1)"
        " SELECT {transaction}, count(*), NULL, NULL, NULL FROM changed"
    ).format(
        table=table_identifier(table.name),
        where=where,
        transaction=_transaction(tells_requests=answer.tells_requests),
    )
    return statement, parameters


def _columns(table: Table, names: Sequence[str]) -> list[Column]:
    found = {column.name: column for column in table.columns}
    unknown = next((name for name in names if name not in found), None)
    if unknown is not None:
        raise errors.UnknownColumn(
            f'column "{unknown}" of relation "{table.name.name}" does not exist',
            table=str(table.name),
            columns=unknown,
        )
    return [found[name] for name in names]
