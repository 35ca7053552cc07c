"""The two ends of a foreign key, whose columns may differ in type and collation, compared as SQL.

They are compared as PostgreSQL's own checks do (`ri_triggers.c`): by the operators of the key, which may be others than
`=` chooses for the two types. A text equals a `char(4)` by the rules of `char`, and by `=` by those of text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from psycopg import sql

from crosskey.catalog.model import Column, Equality, ForeignKey
from crosskey.catalog.plan import Plan, ReferencedKey
from crosskey.shard_node.sql_text.identifiers import identifier

_DEFAULT_COLLATION = 'pg_catalog."default"'
_NOTHING = sql.SQL("")
_INTEGER_BITS = {"int2": 16, "int4": 32, "int8": 64}


class ColumnPair(NamedTuple):
    """A column of the child, and the column of the parent that it names; `equality` has the parent's on its left."""

    child: Column
    parent: Column
    equality: Equality = Equality()


def column_pairs(plan: Plan, key: ForeignKey) -> list[ColumnPair]:
    """The columns of a key, in order."""
    child, parent = plan.own_table(key.table), plan.own_table(key.parent)
    equalities = key.equalities or (Equality(),) * len(key.columns)
    named = zip(key.columns, key.parent_columns, equalities, strict=True)
    return [
        ColumnPair(child.table.own_column(one), parent.table.own_column(other), equality)
        for one, other, equality in named
    ]


def is_parent(pair: ColumnPair, parent: sql.Composable, child: sql.Composable) -> sql.Composed:
    """Whether a value of the parent's column is the one that a child's value names, so that the parent's index serves.

    By the rules of the parent's collation, as a foreign key looks for the parent of a child.
    """
    return _equal(pair.equality, parent, child, right_collation=_other_collation(pair.parent, pair.child))


def is_child(pair: ColumnPair, child: sql.Composable, parent: sql.Composable) -> sql.Composed:
    """Whether a value of the child's column names the parent's value, so that the child's index serves.

    By the rules of the child's collation if the parent's calls only those texts equal that are, as a foreign key looks
    for the children of a parent.
    """
    if not pair.parent.deterministic_collation:
        return is_parent(pair, parent, child)
    return _equal(pair.equality, parent, child, left_collation=_other_collation(pair.child, pair.parent))


def same_key(
    referenced: ReferencedKey, left: str, right: str, right_columns: Sequence[str] | None = None
) -> sql.Composed:
    """Whether two rows, of the parent or of what stands for it, have the same key.

    On the right its columns are called as the parent's are, or `right_columns`.
    """
    equalities = referenced.equalities or (Equality(),) * len(referenced.columns)
    named = zip(referenced.columns, right_columns or referenced.columns, equalities, strict=True)
    return sql.SQL(" AND ").join(
        _equal(equality, identifier(left, one), identifier(right, other)) for one, other, equality in named
    )


def as_parents(pair: ColumnPair, value: sql.Composable) -> sql.Composed:
    """A value of the child's column by the rules of the parent's collation."""
    return sql.SQL("{}{}").format(value, _other_collation(pair.parent, pair.child))


def could_be_parents(pair: ColumnPair, value: sql.Composable) -> sql.Composed | None:
    """Whether the parent's column is wide enough for a value of the child's; None if it always is."""
    child, parent = pair.child, pair.parent
    bits = _INTEGER_BITS.get(parent.base_type, 64)
    if _INTEGER_BITS.get(child.base_type, 0) > bits:
        return sql.SQL("{} BETWEEN {} AND {}").format(
            value, sql.Literal(-(1 << bits - 1)), sql.Literal((1 << bits - 1) - 1)
        )
    if parent.max_length is not None and (child.max_length is None or child.max_length > parent.max_length):
        return sql.SQL("char_length({}) <= {}").format(value, sql.Literal(parent.max_length))
    return None


def of_type(value: sql.Composable, type_name: str) -> sql.Composed:
    """A value cast to a type, in PostgreSQL's own spelling; as it is if that is empty."""
    # The spelling is quoted already where it must be.
    cast = sql.SQL(f"::{type_name.replace('%', '%%')}" if type_name else "")
    return sql.SQL("{}{}").format(value, cast)


def _equal(
    equality: Equality,
    left: sql.Composable,
    right: sql.Composable,
    *,
    left_collation: sql.SQL = _NOTHING,
    right_collation: sql.SQL = _NOTHING,
) -> sql.Composed:
    return sql.SQL("{}{} {} {}{}").format(
        of_type(left, equality.left),
        left_collation,
        sql.SQL(equality.operator.replace("%", "%%")),
        of_type(right, equality.right),
        right_collation,
    )


def _other_collation(column: Column, other: Column) -> sql.SQL:
    """COLLATE and the collation of a column, to go behind a value of another column that has another collation."""
    # PostgreSQL does not choose between two collations, and an index serves comparisons by its own only.
    if column.collation == other.collation:
        return _NOTHING
    collation = (column.collation or _DEFAULT_COLLATION).replace("%", "%%")
    return sql.SQL(f" COLLATE {collation}")
