"""Constraints, indexes and sequences that only have another name: they are renamed, and not made anew.

A table that is renamed has such: PostgreSQL calls them by the name of the table, and keeps what they are called.
"""

from __future__ import annotations

import re
from collections import defaultdict

from crosskey.catalog.changes.pieces import Piece, Pieces, quoted
from crosskey.catalog.changes.steps import ACCESS_EXCLUSIVE, Step

_INDEX_NAME = re.compile(r'INDEX (?:"(?:[^"]|"")*"|\S+) ON ')

_Likeness = tuple[str, str, str, str]


def renamed_pieces(old: Pieces, new: Pieces) -> list[tuple[Piece, Piece]]:
    """Pieces of the old schema with those of the new one that they are, but for their names."""
    gone: dict[_Likeness, list[Piece]] = defaultdict(list)
    for piece in sorted((old[key] for key in old.keys() - new.keys()), key=_place):
        if _can_be_renamed(piece):
            gone[_likeness(piece)].append(piece)
    added = sorted((new[key] for key in new.keys() - old.keys()), key=_place)
    return [(gone[_likeness(piece)].pop(0), piece) for piece in added if gone.get(_likeness(piece))]


def rename_piece(table: str, old: Piece, new: Piece) -> Step:
    """Gives a piece its new name. The table is as SQL."""
    if new.kind == "constraint":
        sql = f"ALTER TABLE {table} RENAME CONSTRAINT {quoted(old.name)} TO {quoted(new.name)}"
    else:
        sql = f"ALTER {new.kind.upper()} {old.facts['quoted']} RENAME TO {quoted(new.name.split('.', 1)[1])}"
    return Step(sql, "flip", f"rename {new.kind}", new.table, ACCESS_EXCLUSIVE)


def _can_be_renamed(piece: Piece) -> bool:
    """Whether it is the user's and its table's; guards know a key over shards by its name."""
    if piece.is_ours or not piece.table:
        return False
    if piece.kind == "constraint":
        return not str(piece.facts["parent"]).startswith("crosskey")
    return piece.kind in ("index", "sequence")


def _likeness(piece: Piece) -> _Likeness:
    """What two pieces have in common that differ only by name."""
    schema = "" if piece.kind == "constraint" else piece.name.split(".", 1)[0]
    return piece.kind, piece.table, schema, _INDEX_NAME.sub("INDEX ON ", piece.state, count=1)


def _place(piece: Piece) -> int:
    return piece.place
