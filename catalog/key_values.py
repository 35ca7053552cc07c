"""Which values of a key travel between shards as PostgreSQL's own text, and which as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from crosskey.catalog.model import Table
from crosskey.catalog.slots import FAMILIES

_READ_BACK: Final = frozenset({*FAMILIES, "json", "jsonb"})
"""Types of which JSON gives every value back as it was.

Routers spell keys of those in FAMILIES themselves. A JSON string is a value of the others, and not the text of one.
"""


def verbatim_columns(table: Table, columns: Iterable[str]) -> tuple[str, ...]:
    """Those of a key's columns whose values travel as text.

    The JSON form of many types says less than their text, or is not read back at all: an array begins nowhere, a
    composite may hold one, and types of extensions and users may have a cast to JSON, such as that of hstore to an
    object.
    """
    return tuple(name for name in columns if not _is_read_back(table, name))


def _is_read_back(table: Table, name: str) -> bool:
    column = table.column(name)
    return column is not None and column.base_type in _READ_BACK
