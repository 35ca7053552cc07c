"""What children reference, as keys of parents: each value turned into one of the parent's own type.

A value that equals none of that type references no parent. So it is turned and then compared with what it was, by the
key's own operator: a text that is too long for a `char(4)` is cut short, and no longer equal. Where the turning itself
may fail, as of a number that is out of range, a function does it and answers NULL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from psycopg import sql

from crosskey.catalog.model import ForeignKey, TableName
from crosskey.catalog.plan import KeyPlan, Plan
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_columns import (
    ColumnPair,
    as_parents,
    column_pairs,
    could_be_parents,
    is_parent,
    of_type,
)
from crosskey.shard_node.sql_text.sql_names import function_identifier, table_identifier

_INTEGERS = frozenset({"int2", "int4", "int8"})
_TEXTS = frozenset({"text", "varchar", "bpchar"})

_SOURCE = """
BEGIN
    RETURN {value};
EXCEPTION WHEN data_exception OR integrity_constraint_violation THEN
    RETURN NULL;
END
"""


def translation_functions(plan: Plan, key: KeyPlan) -> Iterator[sql.Composed]:
    """The functions that turn values of a key's children where that may fail."""
    foreign_key = key.foreign_key
    for pair in column_pairs(plan, foreign_key):
        if _may_fail(pair):
            # Its names are escaped for parameters already, so the source is quoted as it is.
            yield sql.SQL("CREATE FUNCTION {}(child {}) RETURNS {} LANGUAGE plpgsql AS {}").format(
                _function(foreign_key, pair),
                sql.SQL(pair.child.type.replace("%", "%%")),
                sql.SQL(pair.parent.type.replace("%", "%%")),
                sql.Literal(sql.SQL(_SOURCE).format(value=_cast(pair, sql.Identifier("child"))).as_string()),
            )


def distinct_references(plan: Plan, key: ForeignKey, rows: str | TableName) -> sql.Composed:
    """A query for the keys that the rows of a table reference, each once, under the parent's names."""
    return sql.SQL("SELECT DISTINCT {} FROM {} n WHERE {}").format(
        _columns(plan, key, "n"),
        table_identifier(rows) if isinstance(rows, TableName) else identifier(rows),
        _names_a_key(plan, key, "n"),
    )


def references_of_rows(plan: Plan, key: ForeignKey) -> sql.Composed:
    """A query for the key that each row of the child references, under the parent's names, and where the row lies."""
    return sql.SQL("SELECT {}, n.ctid AS place, n.tableoid AS part FROM {} n WHERE {}").format(
        _columns(plan, key, "n"), table_identifier(key.table), _names_a_key(plan, key, "n")
    )


def reference(plan: Plan, key: ForeignKey, row: str) -> sql.Composed:
    """A query for the key that a trigger's row references, under the parent's names; no row if it references none."""
    return sql.SQL("SELECT {} WHERE {}").format(_columns(plan, key, row), _names_a_key(plan, key, row))


def _columns(plan: Plan, key: ForeignKey, row: str) -> sql.Composed:
    return sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(_translated(key, pair, row), identifier(pair.parent.name))
        for pair in column_pairs(plan, key)
    )


def _names_a_key(plan: Plan, key: ForeignKey, row: str) -> sql.Composed:
    """Whether a child's reference is complete, and could be the key of a parent."""
    pairs = column_pairs(plan, key)
    # IS NOT NULL would also look at the fields of composite values.
    complete = sql.SQL("num_nulls({}) = 0").format(sql.SQL(", ").join(_translated(key, pair, row) for pair in pairs))
    return sql.SQL(" AND ").join([complete, *_still_equal(key, pairs, row)])


def _still_equal(key: ForeignKey, pairs: Sequence[ColumnPair], row: str) -> Iterable[sql.Composed]:
    for pair in pairs:
        if not _keeps_values(pair):
            yield is_parent(pair, _translated(key, pair, row), identifier(row, pair.child.name))


def _translated(key: ForeignKey, pair: ColumnPair, row: str) -> sql.Composed:
    """The child's value as one of the parent's, with the parent's collation; NULL if there is none like it."""
    value = identifier(row, pair.child.name)
    if _may_fail(pair):
        return as_parents(pair, sql.SQL("{}({})").format(_function(key, pair), value))
    if pair.child.type == pair.parent.type:
        return as_parents(pair, value)
    fits = could_be_parents(pair, value) if pair.parent.base_type in _INTEGERS else None
    if fits is not None:
        return sql.SQL("CASE WHEN {} THEN {} END").format(fits, _cast(pair, value))
    return as_parents(pair, _cast(pair, value))


def _cast(pair: ColumnPair, value: sql.Composable) -> sql.Composed:
    """The child's value as PostgreSQL compares it, turned into one of the parent's type."""
    operand = pair.equality.right
    if operand == "record":
        # Nothing but their text leads from one composite type to another.
        operand = "text"
    # An array stays one: anyarray is no type of values.
    return of_type(of_type(value, "" if operand.startswith("any") else operand), pair.parent.type)


def _may_fail(pair: ColumnPair) -> bool:
    """Whether turning a value may raise an error."""
    return not _keeps_values(pair) and not (_is_text(pair) and not pair.parent.domain)


def _keeps_values(pair: ColumnPair) -> bool:
    """Whether every value that can be turned stays equal to itself."""
    child, parent = pair.child, pair.parent
    if child.type == parent.type:
        return True
    if parent.domain:
        return False
    both_integers = {child.base_type, parent.base_type} <= _INTEGERS
    # What has a modifier is written with it, as in `numeric(4,2)`.
    return both_integers or (child.base_type == parent.base_type and "(" not in parent.type)


def _is_text(pair: ColumnPair) -> bool:
    return {pair.child.base_type, pair.parent.base_type} <= _TEXTS


def _function(key: ForeignKey, pair: ColumnPair) -> sql.Identifier:
    return function_identifier(f"as_parents_{key.name}_{pair.child.name}", key.table)
