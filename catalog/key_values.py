"""Keys that tell rows apart, what their values are made of, and which of these travel between shards as text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from crosskey.catalog.model import Column, Computed, Table
from crosskey.catalog.slots import FAMILIES

_READ_BACK: Final = frozenset({*FAMILIES, "json", "jsonb"})
"""Types of which JSON gives every value back as it was.

Routers spell keys of those in FAMILIES themselves. A JSON string is a value of the others, and not the text of one.
"""


def verbatim_columns(columns: Iterable[Column]) -> tuple[str, ...]:
    """Those of a key's columns whose values travel as text.

    The JSON form of many types says less than their text, or is not read back at all: an array begins nowhere, a
    composite may hold one, and types of extensions and users may have a cast to JSON, such as that of hstore to an
    object.
    """
    return tuple(column.name for column in columns if column.base_type not in _READ_BACK)


def value_columns(table: Table, names: Iterable[str], computed: Computed | None = None) -> list[Column]:
    """The columns of a key's values: those of the table that are called so, or what an index computes."""
    if computed is not None:
        return list(computed.columns)
    columns = {column.name: column for column in table.columns}
    return [columns[name] for name in names]


def keys_without_nulls(table: Table) -> list[tuple[str, ...]]:
    """The column lists of which no two rows have the same values, the primary key first."""
    nullable = {column.name for column in table.columns if not column.not_null}
    keys = [key for key in table.unique_keys if key.plain and nullable.isdisjoint(key.columns)]
    return [key.columns for key in sorted(keys, key=lambda key: not key.primary)]
