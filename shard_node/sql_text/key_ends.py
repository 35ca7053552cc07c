"""The rows at one end of a foreign key, found by the keys of rows at its other end.

Keys are given as one parameter, a JSON array of objects with PostgreSQL's own text of each column, as k0, k1 and so on,
which are then of the types of the columns where they come from. How a child is compared with its parent is the foreign
key's own way (key_columns.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import Column, TableName
from crosskey.catalog.plan import Plan
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_columns import ColumnPair, column_pairs, is_child, is_parent
from crosskey.shard_node.sql_text.row_json import JSON_TYPES, text_of
from crosskey.shard_node.sql_text.sql_names import typed_columns

GIVEN = "given"
"""The alias of the keys that are given; their place, from 1, is the column `place`."""


@dataclass(frozen=True)
class KeyEnd:
    """The end of a foreign key where rows of `table` are: its child's, or its parent's."""

    table: TableName
    pairs: tuple[ColumnPair, ...]
    at_parent: bool

    @property
    def columns(self) -> Sequence[str]:
        """The columns of `table` that are at this end."""
        return [(pair.parent if self.at_parent else pair.child).name for pair in self.pairs]

    def match(self, *qualifier: str) -> sql.Composed:
        """Whether a row has, as SQL, the key that is given; it goes by an alias, or by its table's schema and name."""
        compared = [self._pair_matches(number, pair, qualifier) for number, pair in enumerate(self.pairs)]
        return sql.SQL(" AND ").join(compared)

    def given(self) -> sql.Composed:
        """The keys that are given, as an item of FROM with one parameter."""
        return given_keys(self._others)

    @property
    def _others(self) -> Sequence[Column]:
        """The columns at the other end."""
        return [pair.child if self.at_parent else pair.parent for pair in self.pairs]

    def _pair_matches(self, number: int, pair: ColumnPair, qualifier: Sequence[str]) -> sql.Composed:
        given = _own_type(self._others[number], sql.Identifier(GIVEN, f"k{number}"))
        if self.at_parent:
            return is_parent(pair, identifier(*qualifier, pair.parent.name), given)
        return is_child(pair, identifier(*qualifier, pair.child.name), given)


def given_keys(columns: Sequence[Column]) -> sql.Composed:
    """Keys of these columns that are given, as an item of FROM with one parameter; JSON is its text there."""
    named = [msgspec.structs.replace(_readable(column), name=f"k{n}") for n, column in enumerate(columns)]
    names = sql.SQL(", ").join(sql.Identifier(column.name) for column in named)
    return sql.SQL("ROWS FROM (json_to_recordset(%s) AS ({typed})) WITH ORDINALITY AS {given}({names}, place)").format(
        typed=typed_columns(named), given=sql.Identifier(GIVEN), names=names
    )


class KeyEnds(Protocol):
    """Knows the foreign keys of a schema."""

    def key_end(self, end: reads_pb2.KeyEnd) -> KeyEnd:
        """The end that a router names. Raises InvalidRequest if the schema has no such key."""
        ...


def find_key_end(plan: Plan, table: str, constraint: str, *, at_parent: bool) -> KeyEnd:
    """The end of the foreign key that the table of that `schema.name` has. Raises InvalidRequest."""
    for planned in plan.keys:
        key = planned.foreign_key
        if key.name == constraint and key.table.qualified == table:
            return KeyEnd(key.parent if at_parent else key.table, tuple(column_pairs(plan, key)), at_parent)
    raise errors.InvalidRequest(f"there is no foreign key {constraint} of {table}")


def keys_json(columns: Sequence[Column], alias: str) -> sql.Composed:
    """The key of a row called `alias` as it is given, an SQL expression of type json."""
    texts = [
        sql.SQL("{} AS {}").format(text_of(identifier(alias, column.name)), sql.Identifier(f"k{number}"))
        for number, column in enumerate(columns)
    ]
    return sql.SQL("row_to_json((SELECT given_key FROM (SELECT {}) AS given_key))").format(sql.SQL(", ").join(texts))


def _readable(column: Column) -> Column:
    """The column as its text is read: that of JSON would be taken for a JSON string."""
    return msgspec.structs.replace(column, type="text") if column.base_type in JSON_TYPES else column


def _own_type(column: Column, value: sql.Composable) -> sql.Composable:
    if column.base_type not in JSON_TYPES:
        return value
    return sql.SQL("{}::{}").format(value, sql.SQL(column.type.replace("%", "%%")))
