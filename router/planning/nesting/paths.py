"""Where in a nested request something is, such as `profile.bio` or `accounts[2].email`, and errors that say so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from crosskey import errors


def within(path: str, name: str) -> str:
    """The path of something inside of something."""
    return f"{path}.{name}" if path else name


def add_path(error: errors.CrosskeyError, path: str) -> None:
    """Has an error name the path, in its text too, unless it names one. The one row of a request has none."""
    if path and "path" not in error.metadata:
        error.metadata["path"] = path
        error.message = f"{path}: {error.message}"
        error.args = (error.message,)


@contextmanager
def naming_path(path: str) -> Iterator[None]:
    """Has errors name the path."""
    try:
        yield
    except errors.CrosskeyError as error:
        add_path(error, path)
        raise
