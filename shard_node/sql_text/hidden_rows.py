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
    """Of one key: whether a row's parent is dead (SQL about ROW), and what becomes of which columns then, as SQL.

    `among` says the same so that PostgreSQL looks for such rows by the key's index, of which it expects few.
    """

    condition: str
    among: str
    columns: tuple[tuple[str, str], ...]


class HidingTable(Table, frozen=True, cache_hash=True):
    """A table with such keys: whether a row is hidden (SQL about ROW; empty if none ever is), and what else changes."""

    hidden: str = ""
    bereaved: tuple[Bereaved, ...] = ()


def about(condition: str, row: sql.Composable) -> sql.SQL:
    """A condition about ROW, about a row of that name."""
    return sql.SQL(condition.replace(ROW, row.as_string()))


def rows_of(table: Table) -> sql.Composable:
    """What FROM takes for the table's rows as requests see them; to be given an alias.

    Columns that change stand there as they are to be, and once more as they are stored, for `search`.
    """
    if not isinstance(table, HidingTable):
        return table_identifier(table.name)
    changing = _changing(table)
    columns = [
        sql.SQL("{} AS {}").format(_either(table, column.name), identifier(column.name))
        if column.name in changing
        else identifier(_ALIAS, column.name)
        for column in table.columns
    ]
    columns += [
        sql.SQL("{} AS {}").format(identifier(_ALIAS, column), sql.Identifier(stored))
        for column, stored in changing.items()
    ]
    columns.append(sql.SQL("{} AS {}").format(sql.Identifier(_ALIAS, "ctid"), sql.Identifier("ctid")))
    visible = sql.SQL(" WHERE {}").format(_not(table.hidden, sql.Identifier(_ALIAS))) if table.hidden else sql.SQL("")
    return sql.SQL("(SELECT {columns} FROM {table} AS {alias}{visible})").format(
        columns=sql.SQL(", ").join(columns),
        table=table_identifier(table.name),
        alias=sql.Identifier(_ALIAS),
        visible=visible,
    )


def where_read(
    table: Table, conditions: Sequence[reads_pb2.Condition], alias: str, ends: KeyEnds | None = None
) -> Fragment:
    """The conditions of a read of rows_of, with what has an index found. Raises what where_clause raises."""
    where, parameters = where_clause(table, conditions, alias, ends)
    if not isinstance(table, HidingTable):
        return where, parameters
    searches: list[sql.Composable] = []
    values: list[object] = []
    for condition in conditions:
        if _is_strict(condition):
            plain, plain_values = where_clause(table, [condition], alias, ends)
            searched = _search(table, plain, alias)
            if searched is not None:
                searches.append(searched)
                values.extend(plain_values)
    return sql.SQL(" AND ").join([where, *searches]), [*parameters, *values]


def match_read(table: Table, match: sql.Composable, alias: str) -> sql.Composable:
    """A comparison of a key of rows_of that no NULL meets, likewise. It has no parameters."""
    searched = _search(table, match, alias) if isinstance(table, HidingTable) else None
    return match if searched is None else sql.SQL("{} AND {}").format(match, searched)


def _search(table: HidingTable, condition: sql.Composable, alias: str) -> sql.Composable | None:
    """A condition about what is stored that all rows meet which meet this one; None if it is about no changing column.

    PostgreSQL finds no row by an index through a CASE. What a column is to be is NULL, which meets no comparison, or
    the default: then rows of dead parents may be meant, too.
    """
    text = condition.as_string()
    stored = text
    for column, name in _changing(table).items():
        stored = stored.replace(identifier(alias, column).as_string(), sql.Identifier(alias, name).as_string())
    if stored == text:
        return None
    others = [
        sql.SQL(among)
        for key in table.bereaved
        if any(by != "NULL" for _, by in key.columns)
        for among in [_about_stored(table, key.among, alias)]
    ]
    return sql.SQL("({})").format(sql.SQL(" OR ").join([sql.SQL(stored), *others]))


def _about_stored(table: HidingTable, condition: str, alias: str) -> str:
    """A condition about ROW, about the stored columns of an alias."""
    for column, name in _changing(table).items():
        condition = condition.replace(
            f"{ROW}.{identifier(column).as_string()}", sql.Identifier(alias, name).as_string()
        )
    return condition.replace(ROW, sql.Identifier(alias).as_string())


def _not(condition: str, row: sql.Composable) -> sql.Composed:
    """The opposite, as a filter of rows that are found otherwise.

    Of NOT EXISTS PostgreSQL would make a join, and plan it for the thousands of rows that it supposes in empty tables.
    """
    return sql.SQL("({}) IS NOT TRUE").format(about(condition, row))


def _changing(table: HidingTable) -> dict[str, str]:
    """The columns that change, and how rows_of calls what is stored in them."""
    columns = sorted({column for key in table.bereaved for column, _ in key.columns})
    return {column: f"crosskey_stored_{number}" for number, column in enumerate(columns)}


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
        parts.append(_not(table.hidden, table_identifier(table.name)))
    return sql.SQL(" AND ").join(parts), parameters


def _seen(table: HidingTable, condition: reads_pb2.Condition, ends: KeyEnds | None) -> Fragment:
    """One condition; one about a column that changes is about what the column is to be."""
    named = set(_named(condition, ends))
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
    if condition.HasField("linked"):
        return not condition.linked.negated
    return not condition.HasField("joined") and condition.op != rows_pb2.Predicate.IS_NULL


def _named(condition: reads_pb2.Condition, ends: KeyEnds | None) -> Iterator[str]:
    """The columns that a condition compares."""
    if condition.HasField("joined"):
        for one in condition.joined.conditions:
            yield from _named(one, ends)
    if condition.HasField("linked") and ends is not None:
        yield from ends.key_end(condition.linked.end).columns
    if condition.HasField("one_of"):
        yield from condition.one_of.columns
    yield condition.column
    yield condition.other_column
