"""Naming statements of a transaction in errors: places from 0, inside a group such as "2.1"."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crosskey import errors


@contextmanager
def naming_statement(place: str) -> Iterator[None]:
    """Names the statement in errors, unless they name one inside of it already."""
    try:
        yield
    except errors.CrosskeyError as error:
        error.metadata.setdefault("statement", place)
        raise
