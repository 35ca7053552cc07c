"""Names of shadow, pin and claim tables: deterministic, distinct, and short enough for PostgreSQL."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from crosskey.catalog.model import TableName

MAX_NAME_BYTES: Final = 63
"""PostgreSQL cuts longer names off (NAMEDATALEN - 1)."""

_HASH_DIGITS: Final = 12


def name_tables(
    keys: Iterable[tuple[TableName, tuple[str, ...]]],
) -> dict[tuple[TableName, tuple[str, ...]], tuple[TableName, TableName]]:
    """The shadow and the pin of each referenced key (parent and columns), given in a stable order."""
    taken: set[TableName] = set()
    names = {}
    for parent, columns in keys:
        shadow = _take_first_free(taken, partial(_shadow, parent))
        pin = _take_first_free(taken, partial(_pin, parent, columns))
        names[parent, columns] = (shadow, pin)
    return names


def name_claims(keys: Iterable[tuple[TableName, str]]) -> dict[tuple[TableName, str], TableName]:
    """The table with the claims of each unique key (table and constraint), given in a stable order."""
    taken: set[TableName] = set()
    return {(table, constraint): _take_first_free(taken, partial(_claims, table)) for table, constraint in keys}


def shorten(name: str) -> str:
    """The name itself if PostgreSQL takes it whole, else its start and a hash of all of it."""
    encoded = name.encode()
    if len(encoded) <= MAX_NAME_BYTES:
        return name
    digest = hashlib.sha256(encoded).hexdigest()[:_HASH_DIGITS]
    start = encoded[: MAX_NAME_BYTES - _HASH_DIGITS - 1].decode(errors="ignore")
    return f"{start}_{digest}"


def _shadow(parent: TableName, number: int) -> TableName:
    # The table keeps the parent's own name, so that PostgreSQL's messages name the parent.
    return TableName(shorten(f"crosskey_shadow_{parent.schema}{_suffix(number)}"), parent.name)


def _pin(parent: TableName, columns: tuple[str, ...], number: int) -> TableName:
    return TableName("crosskey", shorten("_".join(("pin", parent.schema, parent.name, *columns)) + _suffix(number)))


def _claims(table: TableName, number: int) -> TableName:
    # As for shadows, so that PostgreSQL's messages name the user's table.
    return TableName(shorten(f"crosskey_claim_{table.schema}{_suffix(number)}"), table.name)


def _suffix(number: int) -> str:
    return "" if number == 1 else f"_{number}"


def _take_first_free(taken: set[TableName], name_of: Callable[[int], TableName]) -> TableName:
    name = next(name for name in map(name_of, itertools.count(1)) if name not in taken)
    taken.add(name)
    return name
