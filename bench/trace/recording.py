"""Notes which functions of the project run, and which statements go to PostgreSQL, between two moments."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg
from psycopg import sql

PROJECT = Path(__file__).resolve().parents[2]
_NO_ROOMS = (".venv/", "bench/", "tests/")
_INNER = ("<genexpr>", "<lambda>", "<listcomp>", "<dictcomp>", "<setcomp>", "<module>")


@dataclass
class Recording:
    """What happened, each function as (file, name) with how often it was called."""

    functions: Counter[tuple[str, str]] = field(default_factory=Counter)
    statements: list[str] = field(default_factory=list)

    @property
    def files(self) -> set[str]:
        """The files that the functions are in."""
        return {file for file, _ in self.functions}


@contextmanager
def recording() -> Iterator[Recording]:
    """Records what this process does."""
    record = Recording()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and (function := _of_project(frame)) is not None:
            record.functions[function] += 1

    sent = psycopg.AsyncCursor.execute

    async def execute(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        record.statements.append(_text(cursor, query))
        return await sent(cursor, query, *arguments, **options)

    psycopg.AsyncCursor.execute = execute  # type: ignore[method-assign,assignment]
    sys.setprofile(profile)
    try:
        yield record
    finally:
        sys.setprofile(None)
        psycopg.AsyncCursor.execute = sent  # type: ignore[method-assign]


def _text(cursor: Any, query: Any) -> str:
    if isinstance(query, sql.Composable):
        return query.as_string(cursor)
    return query.decode() if isinstance(query, bytes) else str(query)


def _of_project(frame: FrameType) -> tuple[str, str] | None:
    """File and name of a function of the project's own; None for one of others, and for what is generated."""
    code = frame.f_code
    if code.co_filename.startswith("<"):
        return None
    try:
        file = str(Path(code.co_filename).resolve().relative_to(PROJECT))
    except ValueError:
        return None
    name = code.co_qualname
    if file.startswith(_NO_ROOMS) or "_pb2" in file or name.endswith(_INNER):
        return None
    return file, name
