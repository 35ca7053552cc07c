"""The subcommand that loads a database or a file into a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from crosskey.cli.connection import errors_of_router, router_option
from crosskey.cli.load.batches import LoadFailedError
from crosskey.cli.load.columns import BadFileError
from crosskey.cli.load.from_database import load_database
from crosskey.cli.load.from_file import load_file
from crosskey.cli.load.run import LoadOptions
from crosskey.cli.load.source import open_database
from crosskey.cli.load.state import BadStateError
from crosskey.cli.load.target import open_target

BATCH_ROWS = 20_000
AT_ONCE = 2
"""While one batch is being committed, the next one is copied."""

TIMEOUT_SECONDS = 600.0
"""A node refuses to commit what is older."""

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def _one_byte(_: click.Context, __: click.Parameter, delimiter: str) -> str:
    """What PostgreSQL takes as the delimiter of a CSV file. Raises BadParameter."""
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        raise click.BadParameter(
            "it must be one character of one byte, and no quote and no end of a line; a tab is $'\\t' in most shells"
        )
    return delimiter


def _one_file(context: click.Context, parameter: click.Parameter, files: tuple[str, ...]) -> Path | None:
    """The file, if one is given. Raises UsageError for several, and BadParameter for one that is not there."""
    if len(files) > 1:
        *tables, file = files
        raise click.UsageError(f"one FILE is loaded into one --table: crosskey load --table {tables[0]} {file}")
    return _FILE.convert(files[0], parameter, context) if files else None


@click.command()
@click.argument("file", metavar="[FILE]", nargs=-1, callback=_one_file)
@click.option("--from", "dsn", envvar="CROSSKEY_LOAD_DSN", show_envvar=True, help="The database to load; only read.")
@click.option("--table", "tables", multiple=True, help="Only this table, several times for several; FILE's table.")
@click.option("--format", "file_format", type=click.Choice(["csv", "jsonl"]), help="FILE's format, if not its suffix.")
@click.option(
    "--delimiter", default=",", show_default=True, callback=_one_byte, help="What separates the values of a CSV file."
)
@click.option(
    "--state",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("crosskey-load.json"),
    show_default=True,
    help="Made at the beginning and removed at the end; while it is there, the same command goes on.",
)
@click.option(
    "--batch-rows", type=click.IntRange(1, 1_000_000), default=BATCH_ROWS, show_default=True, help="In a transaction."
)
@click.option("--jobs", type=click.IntRange(1, 16), default=AT_ONCE, show_default=True, help="Batches at once.")
@click.option("--timeout", type=float, default=TIMEOUT_SECONDS, show_default=True, help="Seconds for a batch.")
@router_option
def load(
    file: Path | None,
    dsn: str | None,
    tables: Sequence[str],
    file_format: str | None,
    delimiter: str,
    state: Path,
    batch_rows: int,
    jobs: int,
    timeout: float,
    router: str,
) -> None:
    """Load all rows of the database --from, or of FILE (CSV with a header, or JSON lines) into --table.

    Rows come in batches, each all or nothing. A load that was interrupted goes on where it was when the same command
    is given again. Exits with 1 if a row is refused, or if at the end there are not as many rows as were loaded.
    """
    if (file is None) == (dsn is None):
        raise click.UsageError("give either --from or a FILE")
    with errors_of_router(router), open_target(router, timeout) as target, _reported():
        options = LoadOptions(state, batch_rows, jobs)
        if dsn is not None:
            with open_database(dsn) as source:
                load_database(source, target, tables, options)
        elif file is not None:
            if len(tables) != 1:
                raise click.UsageError("a FILE is loaded into one --table")
            known = file_format or FORMATS.get(file.suffix.lower())
            if known is None:
                raise click.UsageError(f"say the --format of {file}")
            load_file(file, known, delimiter, target, tables[0], options)


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except (LoadFailedError, BadFileError, BadStateError) as error:
        raise click.ClickException(str(error)) from error
