"""What requests see of a table whose rows are cleaned up later: not the rows of dead parents, and not their keys.

A key with `@enforce eventual` leaves a dead shadow behind when its parent is deleted, until the key's action is carried
out. CASCADE hides the rows meanwhile. SET NULL and SET DEFAULT show them as they are to be. Dead shadows are a table of
their own, which is nearly always empty: then a look at it is all that this costs. A table without such a key is read as
ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
from psycopg import sql

from crosskey.catalog.model import Table
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.sql_text.conditions import Fragment, where_clause
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_ends import KeyEnds
from crosskey.shard_node.sql_text.sql_names import column_list, table_identifier
from crosskey.v1 import rows_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

ROW = "\0"
"""Stands in the SQL of conditions for the row that they are about: no SQL has a NUL. See `about`."""

_ALIAS = "crosskey_row"


class Bereaved(msgspec.Struct, frozen=True, cache_hash=True):
    """Of one key: whether a row's parent is dead (SQL about ROW), and what becomes of which columns then, as SQL."""

    condition: str
    columns: tuple[tuple[str, str], ...]


class HidingTable(Table, frozen=True, cache_hash=True):
    """A table with such keys: whether a row is hidden (SQL about ROW; empty if none ever is), and what else changes."""

    hidden: str = ""
    bereaved: tuple[Bereaved, ...] = ()


def about(condition: str, row: sql.Composable) -> sql.SQL:
    """A condition about ROW, about a row of that name."""
    return sql.SQL(condition.replace(ROW, row.as_string()))


def rows_of(table: Table, *, locked: bool = False) -> sql.Composable:
    """What FROM takes for the table's rows as requests see them; to be given an alias.

    Each part of a union is searched by the table's indexes, and joins the dead shadows first, of which there are few.
    Rows of a union cannot be `locked`.
    """
    if not isinstance(table, HidingTable):
        return table_identifier(table.name)
    if not table.bereaved:
        return sql.SQL("({})").format(_selection(table, {}, []))
    if locked:
        return sql.SQL("({})").format(_selection(table, {c: _either(table, c) for c in _changing(table)}, []))
    return sql.SQL("({})").format(sql.SQL(" UNION ALL ").join(_parts(table)))


def _parts(table: HidingTable) -> Iterator[sql.Composed]:
    """The rows of which nothing changes, and for each key those of a dead parent that no part before has."""
    row = sql.Identifier(_ALIAS)
    alive = [sql.SQL("NOT {}").format(about(key.condition, row)) for key in table.bereaved]
    yield _selection(table, {}, alive)
    for number, key in enumerate(table.bereaved):
        later = {column for other in table.bereaved[number + 1 :] for column, _ in other.columns}
        shown: dict[str, sql.Composable] = {column: _either(table, column) for column in later}
        shown |= {column: about(value, row) for column, value in key.columns}
        yield _selection(table, shown, [*alive[:number], about(key.condition, row)])


def _changing(table: HidingTable) -> set[str]:
    return {column for key in table.bereaved for column, _ in key.columns}


def _either(table: HidingTable, column: str) -> sql.Composable:
    """A column as it is to be, of a row of which it is not known whether a parent is dead."""
    row = sql.Identifier(_ALIAS)
    value: sql.Composable = identifier(_ALIAS, column)
    for key in table.bereaved:
        for changed, by in key.columns:
            if changed == column:
                value = sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(
                    about(key.condition, row), about(by, row), value
                )
    return value


def _selection(
    table: HidingTable, shown: dict[str, sql.Composable], conditions: Sequence[sql.Composable]
) -> sql.Composed:
    columns = [
        sql.SQL("{} AS {}").format(shown[column.name], identifier(column.name))
        if column.name in shown
        else identifier(_ALIAS, column.name)
        for column in table.columns
    ]
    columns.append(sql.SQL("{} AS {}").format(sql.Identifier(_ALIAS, "ctid"), sql.Identifier("ctid")))
    visible = [sql.SQL("NOT ({})").format(about(table.hidden, sql.Identifier(_ALIAS)))] if table.hidden else []
    where = [*visible, *conditions]
    return sql.SQL("SELECT {columns} FROM {table} AS {alias}{where}").format(
        columns=sql.SQL(", ").join(columns),
        table=table_identifier(table.name),
        alias=sql.Identifier(_ALIAS),
        where=sql.SQL(" WHERE {}").format(sql.SQL(" AND ").join(where)) if where else sql.SQL(""),
    )


def where_seen(table: Table, conditions: Sequence[reads_pb2.Condition], ends: KeyEnds | None = None) -> Fragment:
    """The condition of an UPDATE or DELETE, without an alias: only rows that requests see, compared as these see them.

    `ends` are for conditions over foreign keys. Raises what where_clause raises.
    """
    if not isinstance(table, HidingTable):
        return where_clause(table, conditions, ends=ends)
    parts: list[sql.Composable] = [sql.SQL("TRUE")]
    parameters: list[object] = []
    for condition in conditions:
        part, values = _seen(table, condition, ends)
        parts.append(part)
        parameters.extend(values)
    if table.hidden:
        parts.append(sql.SQL("NOT ({})").format(about(table.hidden, table_identifier(table.name))))
    return sql.SQL(" AND ").join(parts), parameters


def _seen(table: HidingTable, condition: reads_pb2.Condition, ends: KeyEnds | None) -> Fragment:
    """One condition; one about a column that changes is about what the column is to be."""
    named = set(_named(condition))
    keys = [key for key in table.bereaved if any(column in named for column, _ in key.columns)]
    plain = where_clause(table, [condition], ends=ends)
    if not keys:
        return plain
    # One alternative serves an index on the column, the other the few rows of dead parents.
    dead = sql.SQL(" OR ").join(about(key.condition, table_identifier(table.name)) for key in keys)
    shown = where_clause(table, [condition], "crosskey_shown", ends)
    columns = column_list([column.name for column in table.columns])
    changed = _select_one(table)
    text = sql.SQL(
        "(CASE WHEN {dead} THEN EXISTS (SELECT FROM (SELECT {changed}) AS crosskey_shown({columns}) WHERE {shown})"
        " ELSE {plain} END)"
    ).format(dead=dead, changed=changed, columns=columns, shown=shown[0], plain=plain[0])
    if _is_strict(condition) and all(by == "NULL" for key in keys for _, by in key.columns):
        alive = sql.SQL("NOT ({})").format(dead)
        return sql.SQL("({} AND {})").format(plain[0], alive), plain[1]
    return text, [*shown[1], *plain[1]]


def _select_one(table: HidingTable) -> sql.Composed:
    """The columns of the row that is looked at, as they are to be."""
    name = table_identifier(table.name)
    values: list[sql.Composable] = []
    for column in table.columns:
        value: sql.Composable = identifier(table.name.schema, table.name.name, column.name)
        for key in table.bereaved:
            for changed, by in key.columns:
                if changed == column.name:
                    value = sql.SQL("CASE WHEN {} THEN {} ELSE {} END").format(
                        about(key.condition, name), about(by, name), value
                    )
        values.append(value)
    return sql.SQL(", ").join(values)


def _is_strict(condition: reads_pb2.Condition) -> bool:
    """Whether it is a comparison that no NULL meets."""
    return not condition.HasField("joined") and condition.op != rows_pb2.Predicate.IS_NULL


def _named(condition: reads_pb2.Condition) -> Iterator[str]:
    """The columns that a condition compares."""
    if condition.HasField("joined"):
        for one in condition.joined.conditions:
            yield from _named(one)
    yield condition.column
    yield condition.other_column
