"""What the commands that read a schema have in common: how the file is read, and what is said of a failure."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import psycopg

from crosskey import errors


def schema_text(path: Path) -> str:
    """The SQL of a schema file. Raises click.ClickException if it is not UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise click.ClickException(f"{path} is not UTF-8 text") from None


@contextmanager
def failures_of_postgres() -> Iterator[None]:
    """Says what PostgreSQL said, as click.ClickException."""
    try:
        yield
    except errors.SchemaRefused as error:
        hint = error.metadata.get("hint")
        raise click.ClickException(f"{error.message} ({hint})" if hint else error.message) from None
    except psycopg.OperationalError as error:
        raise click.ClickException(f"cannot reach PostgreSQL: {error}") from None
    except psycopg.Error as error:
        raise click.ClickException(f"PostgreSQL refused: {error}") from None
