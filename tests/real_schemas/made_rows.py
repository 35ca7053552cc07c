"""Rows made from a schema alone: each column gets a value of its type, each foreign key a row that was made before."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from crosskey.catalog.model import Column, Database, ForeignKey, Table, TableName

Row = dict[str, Any]
Insert = Callable[[Table, Row], Row | None]
"""Inserts a row and answers it as stored; None if the database refuses it, for a CHECK that nobody here reads."""

LONGEST = 24
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Words:
    """Texts that are not free: a label of each enum type, and one that a CHECK of the column takes."""

    labels: Mapping[str, str]
    checked: Mapping[tuple[str, str], str]


def make_rows(
    database: Database, words: Words, numbers: range, insert: Insert, *, minted: Mapping[TableName, str]
) -> dict[TableName, list[Row]]:
    """Inserts a row of each number into each table, parents first, and answers what is stored.

    `minted` has the id of each table that the database makes by itself.
    """
    made: dict[TableName, list[Row]] = {}
    for table in parents_first(database):
        keys = [key for key in database.foreign_keys if key.table == table.name]
        made[table.name] = []
        for place, number in enumerate(numbers):
            row = _make_row(table, keys, words, number, place, made, minted.get(table.name))
            stored = None if row is None else insert(table, row)
            if stored is None:
                break
            made[table.name].append(stored)
    return made


def parents_first(database: Database) -> Iterator[Table]:
    """The tables, each after those that its NOT NULL keys name; of a circle, in any order."""
    waiting = {table.name: table for table in database.tables}
    while waiting:
        ready = [name for name, table in waiting.items() if not _needs(table, database) & (set(waiting) - {name})]
        for name in ready or list(waiting)[:1]:
            yield waiting.pop(name)


def _needs(table: Table, database: Database) -> set[TableName]:
    own = (key for key in database.foreign_keys if key.table == table.name)
    return {key.parent for key in own if not any(_is_nullable(table, column) for column in key.columns)}


def _is_nullable(table: Table, name: str) -> bool:
    column = table.column(name)
    return column is not None and not column.not_null


def _make_row(
    table: Table,
    keys: list[ForeignKey],
    words: Words,
    number: int,
    place: int,
    made: Mapping[TableName, list[Row]],
    minted: str | None,
) -> Row | None:
    """A row; None if a parent that it needs could not be made."""
    row = {
        column.name: value
        for column in table.columns
        if column.name != minted and (value := _value(table, column, words, number)) is not None
    }
    for key in keys:
        parents = made.get(key.parent, [])
        if place < len(parents) and key.parent != table.name:
            row |= dict(zip(key.columns, (parents[place][name] for name in key.parent_columns), strict=True))
        elif any(_is_nullable(table, column) for column in key.columns):
            row |= {name: None for name in key.columns if _is_nullable(table, name)}
        elif key.parent == table.name:
            row |= {name: row.get(named, number) for name, named in zip(key.columns, key.parent_columns, strict=True)}
        else:
            return None
    return row


def _value(table: Table, column: Column, words: Words, number: int) -> Any:
    """A value that no other row of the column has, where the type has as many; None for what makes itself."""
    if column.generated or column.identity or column.draws:
        return None
    kind = column.base_type
    if column.type in words.labels:
        return words.labels[column.type]
    if (table.name.qualified, column.name) in words.checked:
        return words.checked[table.name.qualified, column.name]
    if kind in ("int2", "int4", "int8", "numeric", "float4", "float8"):
        return number
    if kind in ("text", "varchar", "bpchar", "citext", "name"):
        return _text(column.name, number, min(column.max_length or LONGEST, LONGEST))
    if kind == "uuid":
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"{column.name} {number}"))
    return _SIMPLE[kind](number) if kind in _SIMPLE else None


def _text(name: str, number: int, longest: int) -> str:
    """A text that ends in the number; in base 36 where decimal digits would not all fit."""
    digits = str(number)
    if len(digits) > longest:
        digits = DIGITS[number // len(DIGITS) % len(DIGITS)] + DIGITS[number % len(DIGITS)]
    return f"{name}{digits}"[-longest:]


_SIMPLE: Mapping[str, Callable[[int], Any]] = {
    "bool": lambda _: False,
    "date": lambda number: f"2026-01-{number % 28 + 1:02}",
    "timestamp": lambda number: f"2026-01-01T00:00:{number % 60:02}",
    "timestamptz": lambda number: f"2026-01-01T00:00:{number % 60:02}+00:00",
    "time": lambda number: f"10:00:{number % 60:02}",
    "interval": lambda number: f"{number} seconds",
    "inet": lambda number: f"10.0.0.{number % 256}",
    "bytea": lambda number: f"\\x{number:04x}",
    "json": lambda number: {"number": number},
    "jsonb": lambda number: {"number": number},
    "tsvector": lambda number: f"word{number}",
    "_text": lambda number: [f"item {number}"],
    "_varchar": lambda number: [f"item {number}"],
    "_int4": lambda number: [number],
    "_int8": lambda number: [number],
}
