"""The two ends of a foreign key, whose columns may differ in type and collation, compared as SQL."""

from __future__ import annotations

from typing import NamedTuple

from psycopg import sql

from catalog.model import Column, ForeignKey
from catalog.plan import Plan
from shard_node.sql_text.identifiers import identifier

_DEFAULT_COLLATION = 'pg_catalog."default"'
_INTEGER_BITS = {"int2": 16, "int4": 32, "int8": 64}


class ColumnPair(NamedTuple):
    """A column of the child, and the column of the parent that it names."""

    child: Column
    parent: Column


def column_pairs(plan: Plan, key: ForeignKey) -> list[ColumnPair]:
    """The columns of a key, in order."""
    child, parent = plan.table(key.table), plan.table(key.parent)
    assert child is not None, f"the plan has a key of {key.table}, and not the table"
    assert parent is not None, f"the plan has a key to {key.parent}, and not the table"
    names = zip(key.columns, key.parent_columns, strict=True)
    return [ColumnPair(_column(child.table.columns, a), _column(parent.table.columns, b)) for a, b in names]


def of_child(pair: ColumnPair, alias: str) -> sql.Composable:
    """The child's value, to be compared with the parent's column by the rules, and the index, of that."""
    return _collated(identifier(alias, pair.child.name), pair.parent, pair.child)


def of_parent(pair: ColumnPair, alias: str) -> sql.Composable:
    """The parent's value, to be compared with the child's column by the rules, and the index, of that."""
    return _collated(identifier(alias, pair.parent.name), pair.child, pair.parent)


def could_be_parents(pair: ColumnPair, value: sql.Composable) -> sql.Composed | None:
    """Whether the parent's column is wide enough for a value of the child's; None if it always is."""
    child, parent = pair
    bits = _INTEGER_BITS.get(parent.base_type, 64)
    if _INTEGER_BITS.get(child.base_type, 0) > bits:
        return sql.SQL("{} BETWEEN {} AND {}").format(
            value, sql.Literal(-(1 << bits - 1)), sql.Literal((1 << bits - 1) - 1)
        )
    if parent.max_length is not None and (child.max_length is None or child.max_length > parent.max_length):
        return sql.SQL("char_length({}) <= {}").format(value, sql.Literal(parent.max_length))
    return None


def _collated(value: sql.Composable, column: Column, other: Column) -> sql.Composable:
    # PostgreSQL does not choose between two collations, and an index serves comparisons by its own only.
    if column.collation == other.collation:
        return value
    collation = (column.collation or _DEFAULT_COLLATION).replace("%", "%%")
    return sql.SQL("{} COLLATE {}").format(value, sql.SQL(collation))


def _column(columns: tuple[Column, ...], name: str) -> Column:
    return next(column for column in columns if column.name == name)
