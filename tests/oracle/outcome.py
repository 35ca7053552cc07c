"""What a request came to, in a form in which Crosskey and a plain PostgreSQL can be compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import psycopg

from crosskey import CrosskeyError, WrittenRows

Answer: TypeAlias = list[dict[str, Any]] | int
"""Of an insert or update its rows, of a delete its count."""


class Upserted(list[dict[str, Any]]):
    """What PostgreSQL answers to INSERT .. ON CONFLICT: the rows that it wrote, and of each whether it is new."""

    def __init__(self, rows: Iterable[dict[str, Any]], are_new: Iterable[bool]) -> None:
        super().__init__(rows)
        self.are_new = list(are_new)


def news_of(rows: Sequence[dict[str, Any]]) -> list[bool]:
    """Of each row that an upsert answered, whether it is new; nothing of other rows."""
    match rows:
        case Upserted():
            return rows.are_new
        case WrittenRows():
            return [outcome == "INSERTED" for outcome in rows.outcomes if outcome != "SKIPPED"]
    return []


@dataclass(frozen=True)
class Refusal:
    """An error as PostgreSQL words it; `table` is the name without its schema."""

    sqlstate: str
    message: str
    detail: str
    constraint: str
    table: str


Outcome: TypeAlias = Sequence[Answer] | Refusal
"""One answer for each statement of a request, or why all of it was refused."""


def refusal_by_crosskey(error: CrosskeyError) -> Refusal:
    """The error of a client."""
    found = error.metadata
    return Refusal(
        found.get("sqlstate", ""),
        error.message,
        found.get("detail", ""),
        found.get("constraint", ""),
        found.get("table", "").rpartition(".")[2],
    )


def refusal_by_postgres(error: psycopg.Error) -> Refusal:
    """The error of a plain PostgreSQL."""
    found = error.diag
    return Refusal(
        error.sqlstate or "",
        found.message_primary or "",
        found.message_detail or "",
        found.constraint_name or "",
        found.table_name or "",
    )
