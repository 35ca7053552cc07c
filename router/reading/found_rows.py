"""Rows that were found, with what lies beside them, and how rows of relations come to stand inside of them: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from crosskey import errors
from crosskey.router.planning.includes import Shape

Position = Sequence[str | None]

MAX_INCLUDED_MIB = 10
"""How much JSON one answer's included rows have. As Structs it may be several times as much: see answer_size.py."""

MAX_INCLUDED_ROWS = 20_000
"""How many rows are read for it, rows of join tables too."""

COUNTS = "crosskey_counts"
NEXT = "crosskey_next"
JOIN = "crosskey_join"

NULL = b"null"

Texts = tuple[str | None, ...]


@dataclass(slots=True, eq=False)
class FoundRow:
    """A row as JSON, its shard, and what lies beside it; `json` is the row once its includes are inside."""

    json: bytes
    shard: int
    beside: Sequence[object] = ()
    pins_in_doubt: bool = False
    """Whether more shards may hold pins on it than are beside it."""
    position: Position = ()
    """Where it lies in the order that was asked for."""
    gone: bool = False
    """Whether a parent of it is gone, and so is the row."""

    @property
    def is_null(self) -> bool:
        """Whether there is a row, but it is not to be shown."""
        return self.json == NULL

    def texts(self, shape: Shape, columns: Sequence[str]) -> Texts:
        """The texts of columns; `shape` is what the row was asked for in."""
        return tuple(self.beside[shape.texts.index(name)] for name in columns)  # type: ignore[misc]

    def pins(self, shape: Shape, referenced_key: str) -> Sequence[int]:
        """The shards that hold pins on it."""
        return self.beside[len(shape.texts) + shape.pins.index(referenced_key)]  # type: ignore[return-value]


@dataclass(slots=True)
class IncludedPart:
    """What one include adds to a row: its rows as JSON, if they are answered; how many there are; the next page."""

    name: str
    value: bytes | None
    count: int | None = None
    next_page_token: str = ""


@dataclass(slots=True)
class Budget:
    """How much an answer may still include."""

    left: int = MAX_INCLUDED_MIB << 20
    rows_left: int = MAX_INCLUDED_ROWS

    def take_rows(self, number: int) -> None:
        """Takes that many rows. Raises AnswerTooLarge if they are too many."""
        self.rows_left -= number
        if self.rows_left < 0:
            raise errors.AnswerTooLarge(
                f"the included rows are more than {MAX_INCLUDED_ROWS}",
                hint="Give the includes a smaller limit, or list fewer rows at a time.",
            )

    def take(self, size: int) -> None:
        """Takes that many bytes. Raises AnswerTooLarge if they are too many."""
        self.left -= size
        if self.left < 0:
            raise errors.AnswerTooLarge(
                f"the included rows have more than {MAX_INCLUDED_MIB} MiB",
                hint="Give the includes a smaller limit or fewer columns, or list fewer rows at a time.",
            )


def found_rows(rows: Sequence[msgspec.Raw], beside_json: bytes, shard: int, *, pins_in_doubt: bool) -> list[FoundRow]:
    """The rows that a shard answered."""
    if not beside_json:
        return [FoundRow(bytes(row), shard) for row in rows]
    besides = msgspec.json.decode(beside_json, type=list[list[str | list[int] | None]])
    return [FoundRow(bytes(row), shard, beside, pins_in_doubt) for row, beside in zip(rows, besides, strict=True)]


def add_parts(row: FoundRow, parts: Sequence[IncludedPart], budget: Budget) -> None:
    """Puts what the includes found inside of the row."""
    fields = [member(part.name, part.value) for part in parts if part.value is not None]
    counts = {part.name: part.count for part in parts if part.count is not None}
    tokens = {part.name: part.next_page_token for part in parts if part.next_page_token}
    if counts:
        fields.append(member(COUNTS, msgspec.json.encode(counts)))
    if tokens:
        fields.append(member(NEXT, msgspec.json.encode(tokens)))
    budget.take(sum(map(len, fields)))
    row.json = with_members(row.json, fields)


def member(name: str, value: bytes) -> bytes:
    """A member of a JSON object."""
    return msgspec.json.encode(name) + b":" + value


def with_members(json_object: bytes, members: Sequence[bytes]) -> bytes:
    """The JSON object with more members behind its own."""
    if not members:
        return json_object
    own = json_object[:-1]
    return own + (b"" if own == b"{" else b",") + b",".join(members) + b"}"


def json_array(rows: Iterable[bytes]) -> bytes:
    """The JSON array of values that are JSON."""
    return b"[" + b",".join(rows) + b"]"
