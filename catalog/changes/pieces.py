"""The pieces of a schema and of its guards, as PostgreSQL tells them: what two schemas are compared by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

Key = tuple[str, str, str]
"""The kind of a piece, the `schema.name` of its table ("" if it belongs to none), and its name."""


class Piece(msgspec.Struct, frozen=True):
    """A piece. Two of the same key are the same if their states are.

    `made_by` is the SQL that makes it; for a column, what stands for it in CREATE TABLE; "" if it comes with another
    one. What `facts` has depends on the kind; sql/pieces.sql tells it. `place` grows in the order of their making.
    """

    kind: str
    table: str
    name: str
    state: str
    made_by: str
    facts: dict[str, Any]
    place: int

    @property
    def key(self) -> Key:
        """What tells it from all others."""
        return self.kind, self.table, self.name

    @property
    def is_ours(self) -> bool:
        """Whether it is in a schema of Crosskey's, or is a trigger or check of Crosskey's on a table of the user's."""
        if self.kind in ("schema", "table", "function", "sequence") and self.name.startswith("crosskey"):
            return True
        return self.table.startswith("crosskey") or self.name.lstrip("!~01_").startswith("crosskey")


Pieces = Mapping[Key, Piece]


def by_key(pieces: Iterable[Piece]) -> dict[Key, Piece]:
    """The pieces by their keys."""
    return {piece.key: piece for piece in pieces}


def quoted(name: str) -> str:
    """A name as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL."""
    escaped = text.replace("'", "''").replace("\\", "\\\\")
    return f" E'{escaped}'" if "\\" in text else f"'{escaped}'"
