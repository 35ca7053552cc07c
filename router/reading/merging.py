"""Merging the shards' pages into one: pure.

Each page is in the list's order already. Where the order is of types whose text Python compares as PostgreSQL does,
Python merges; else a node must sort the positions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import msgspec

from crosskey.internal.v1 import reads_pb2
from crosskey.router.planning.orders import ROW_PLACE, OrderColumn
from crosskey.router.planning.page_token import Places, Position

MAX_PAGE_BYTES = 3 * 1024 * 1024
"""A page ends early once its rows' JSON is that large: clients of gRPC take 4 MiB by default."""

_COMPARABLE: dict[str, Callable[[str], Any]] = {"int2": int, "int4": int, "int8": int, "bool": str, "uuid": str}
"""How to read the text of a type so that Python orders it as PostgreSQL does."""

Ranking = Sequence[int]
"""Places in the concatenation of all pages' rows, in the list's order."""


@dataclass(frozen=True, slots=True)
class ShardPage:
    """What one shard answered: rows as JSON, the position of each, and whether more follow."""

    rows: Sequence[msgspec.Raw]
    positions: Sequence[Position]
    more: bool


@dataclass(frozen=True, slots=True)
class MergedPage:
    """A JSON array of rows, and where the next page begins on each shard that may have more rows."""

    rows_json: bytes
    places: Places
    shards: Sequence[int] = ()
    """Of rows of several shards, the shard of each; else it is not told."""


def shard_page(response: reads_pb2.ReadResponse) -> ShardPage:
    """The response, cut into rows without a look into them."""
    rows = msgspec.json.decode(response.rows_json, type=list[msgspec.Raw])
    positions = msgspec.json.decode(response.cursors_json, type=list[Position])
    return ShardPage(rows, positions, response.more)


def rank(order: Sequence[OrderColumn], positions: Sequence[Sequence[str | None]]) -> Ranking | None:
    """The ranking of positions, equal ones in the order given; None if only PostgreSQL can tell.

    ROW_PLACE does not count: it means nothing beyond its shard.
    """
    ranking = list(range(len(positions)))
    for number, one in reversed(list(enumerate(order))):
        if one.name == ROW_PLACE and one.column is None:
            continue
        read = _COMPARABLE.get(one.column.base_type) if one.column else None
        if read is None:
            return None
        _sort_by(ranking, [position[number] for position in positions], read, descending=one.descending)
    return ranking


def merge(pages: Mapping[int, ShardPage], ranking: Ranking, page_size: int, before: Places) -> MergedPage:
    """The first rows of all pages, which begin at the places `before`.

    Ends after `page_size` rows or MAX_PAGE_BYTES, but not before the first row, and after the last row of a page of
    which more follow, since those may come next.
    """
    shard_of = list(chain.from_iterable([shard] * len(page.rows) for shard, page in pages.items()))
    taken = dict.fromkeys(pages, 0)
    rows: list[bytes] = []
    shards: list[int] = []
    size = 0
    for shard in (shard_of[place] for place in ranking):
        page = pages[shard]
        row = bytes(page.rows[taken[shard]])
        size += len(row)
        if rows and size > MAX_PAGE_BYTES:
            break
        rows.append(row)
        shards.append(shard)
        taken[shard] += 1
        if len(rows) == page_size or (page.more and taken[shard] == len(page.rows)):
            break
    return MergedPage(b"[" + b",".join(rows) + b"]", _places_after(pages, taken, before), shards)


def _sort_by(ranking: list[int], texts: Sequence[str | None], read: Callable[[str], Any], *, descending: bool) -> None:
    """Sorts by one column, leaving equal ones as they are; NULLs are larger than everything."""
    keys = [(1, None) if text is None else (0, read(text)) for text in texts]
    ranking.sort(key=keys.__getitem__, reverse=descending)


def _places_after(pages: Mapping[int, ShardPage], taken: Mapping[int, int], before: Places) -> Places:
    """Where each shard goes on of whose page that many rows were taken; without those that have no more."""
    return {
        shard: page.positions[taken[shard] - 1] if taken[shard] else before[shard]
        for shard, page in pages.items()
        if page.more or taken[shard] < len(page.rows)
    }
