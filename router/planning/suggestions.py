"""Hints for names that nobody knows: the nearest that there is."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from crosskey.catalog.model import Table


def suggest_table(name: str, tables: Iterable[str]) -> str | None:
    """A sentence with the table that was meant perhaps; None if none is near."""
    return suggest_name(name, list(tables))


def suggest_column(name: str, table: Table) -> str | None:
    """A sentence with the column that was meant perhaps, or with how to sort by it; None if none is near."""
    columns = [column.name for column in table.columns]
    if name.startswith("-") and name[1:] in columns:
        return (
            f'To sort by "{name[1:]}" with the largest first, say desc("{name[1:]}") in Python, "descending": true in'
            " gRPC, --descending on the command line."
        )
    return suggest_name(name, columns)


def suggest_name(name: str, known: list[str]) -> str | None:
    """A sentence with the one of those known that was meant perhaps; None if none is near."""
    by_small_letters = {each.lower(): each for each in known}
    # Names are short: no table has so many columns that this takes long.
    near = get_close_matches(name.lower(), by_small_letters, n=1)
    return f'Perhaps you meant "{by_small_letters[near[0]]}".' if near else None
