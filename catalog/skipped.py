"""What of a schema's text was not run, as it means nothing here: told to whoever plans or applies it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from crosskey.catalog.model import Database

MAX_SHOWN_LINES = 8
_MAX_SHOWN_CHARACTERS = 60


class Skipped(msgspec.Struct, frozen=True):
    """A statement that was skipped, or a word of it, on a line of the text from 1; `reason` ends a sentence on it."""

    line: int
    statement: str
    reason: str


class Inspection(msgspec.Struct, frozen=True):
    """What PostgreSQL made of a schema's text, and what was skipped of it."""

    database: Database
    skipped: tuple[Skipped, ...]

    def to_json(self) -> bytes:
        """The inspection as JSON."""
        return msgspec.json.encode(self)

    @staticmethod
    def from_json(text: bytes) -> Inspection:
        """The inspection of that JSON. Raises msgspec.ValidationError if it is none."""
        return msgspec.json.decode(text, type=Inspection)


def shortened(statement: str) -> str:
    """The beginning of a statement, on one line."""
    line = " ".join(statement[: 4 * _MAX_SHOWN_CHARACTERS].split())
    return line if len(line) <= _MAX_SHOWN_CHARACTERS else f"{line[:_MAX_SHOWN_CHARACTERS].rstrip()} .."


def skipped_lines(skipped: Iterable[Skipped]) -> list[str]:
    """A line for each reason, with the lines of the text that it concerns."""
    lines: dict[str, list[int]] = {}
    for each in skipped:
        lines.setdefault(each.reason, []).append(each.line)
    return [f"Skipped {reason}: {_numbers(numbers)}" for reason, numbers in lines.items()]


def _numbers(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:MAX_SHOWN_LINES]))
    more = f" and {len(numbers) - MAX_SHOWN_LINES} more" if len(numbers) > MAX_SHOWN_LINES else ""
    return f"{'line' if len(numbers) == 1 else 'lines'} {shown}{more}"
