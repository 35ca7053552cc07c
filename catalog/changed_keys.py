"""Rows whose key changed more than once in one statement, as when two cascades reach them.

Router and node both tell what became of a key in the end: its parent is known by no key in between.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

Key = TypeVar("Key", str, bytes)


def compose(changes: Iterable[tuple[Key, Key]]) -> list[tuple[Key, Key]]:
    """Old and new keys of rows of one table, in the order of the changes, as if each row had changed once.

    A key that a row got and a row left later is that of one row: two would have had it at once.
    """
    return compose_batches([change] for change in changes)


def compose_batches(batches: Iterable[Iterable[tuple[Key, Key]]]) -> list[tuple[Key, Key]]:
    """The same of changes that are told in batches: each has a row once, in an order that means nothing."""
    composed: list[tuple[Key, Key]] = []
    place_of: dict[Key, int] = {}
    for batch in batches:
        got = []
        for old, new in batch:
            place = place_of.pop(old, None)
            if place is None:
                place = len(composed)
                composed.append((old, new))
            else:
                composed[place] = (composed[place][0], new)
            got.append((new, place))
        place_of.update(got)
    return composed
