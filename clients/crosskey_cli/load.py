"""The subcommand that loads a database or a file into a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from catalog.model import Table
from catalog.slots import FAMILIES, slot_of_value
from crosskey.copy_text import read_fields
from crosskey.v1.admin_pb2 import DescribeSchemaResponse, TableDescription
from crosskey_cli.connection import errors_of_router, router_option
from crosskey_cli.load_batches import Batch, LoadFailedError, Sender
from crosskey_cli.load_files import BadFileError, base_types, file_blocks, read_records
from crosskey_cli.load_order import load_order
from crosskey_cli.load_source import DatabaseSource, open_database
from crosskey_cli.load_state import BadStateError, LoadState, read_state, write_state
from crosskey_cli.load_target import Target, open_target

BATCH_ROWS = 20_000
BATCH_BYTES = 2 * 1024 * 1024
"""With the row that goes past it, a batch must stay below the 4 MiB that a router takes."""

AT_ONCE = 2
"""While one batch is being committed, the next one is copied."""

TIMEOUT_SECONDS = 600.0
"""A node refuses to commit what is older."""

LOOKED_AT_ROWS = 1000
FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--from", "dsn", envvar="CROSSKEY_LOAD_DSN", show_envvar=True, help="The database to load; only read.")
@click.option("--table", "tables", multiple=True, help="Only this table, several times for several; FILE's table.")
@click.option("--format", "file_format", type=click.Choice(["csv", "jsonl"]), help="FILE's format, if not its suffix.")
@click.option("--delimiter", default=",", show_default=True, help="What separates the values of a CSV file.")
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
        options = _Options(state, batch_rows, jobs)
        if dsn is not None:
            with open_database(dsn) as source:
                _load_database(source, target, tables, options)
        elif file is not None:
            if len(tables) != 1:
                raise click.UsageError("a FILE is loaded into one --table")
            known = file_format or FORMATS.get(file.suffix.lower())
            if known is None:
                raise click.UsageError(f"say the --format of {file}")
            _load_file(file, known, delimiter, target, tables[0], options)


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except (LoadFailedError, BadFileError, BadStateError) as error:
        raise click.ClickException(str(error)) from error


class _Options:
    def __init__(self, state: Path, batch_rows: int, jobs: int) -> None:
        self.state = state
        self.batch_rows = batch_rows
        self.jobs = jobs


class _Run:
    """One run of a load: its state, what is loaded already, and how far it is."""

    def __init__(self, target: Target, source: str, tables: Sequence[str], options: _Options) -> None:
        state = read_state(options.state, source)
        if state is None:
            state = LoadState(source, options.batch_rows, {table: target.count(table) for table in tables})
            write_state(options.state, state)
            self.loaded: dict[str, bytes] = {}
        else:
            self.loaded = target.loaded_batches(state.load)
        self.state = state
        self._target = target
        self._options = options
        self._rows = dict.fromkeys(tables, 0)
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks = {table: self._progress.add_task(table, total=None) for table in tables}

    @contextmanager
    def sender(self, totals: Mapping[str, int]) -> Iterator[Sender]:
        """What sends the batches, with progress bars of about so many rows."""
        for table, total in totals.items():
            self._progress.update(self._tasks[table], total=total or None)
        with self._progress:
            yield Sender(self._target, self.state.load, self.loaded, self._options.jobs, self._advance)

    def _advance(self, table: str, rows: int) -> None:
        self._rows[table] += rows
        self._progress.update(self._tasks[table], advance=rows)

    def finish(self) -> None:
        """Moves sequences, compares numbers of rows and ends the load. Raises LoadFailedError if they differ."""
        self._target.finish("", [*self._rows])
        differing = []
        for table, rows in self._rows.items():
            found = self._target.count(table) - self.state.rows_before[table]
            click.echo(f"{table}: {rows} rows")
            if found != rows:
                differing.append(f"{table} has {found} rows more than before, and the source has {rows}")
        if differing:
            raise LoadFailedError("; ".join(differing))
        self.state.finished = True
        write_state(self._options.state, self.state)
        self.forget()

    def forget(self) -> None:
        """Has the cluster forget the batches of a load that is finished, and removes its state."""
        self._target.finish(self.state.load, [])
        self._options.state.unlink()


def _load_database(source: DatabaseSource, target: Target, chosen: Sequence[str], options: _Options) -> None:
    schema = target.describe()
    tables = _matched(source, schema, chosen)
    columns = {name: _columns(tables[name], description) for name, description in _by_name(schema, tables).items()}
    _check_ids(source, schema, tables, options)
    run = _Run(target, "a database", [*tables], options)
    if run.state.finished:
        run.forget()
        return
    rows = run.state.batch_rows

    def batches(name: str) -> Iterator[Batch]:
        given = columns[name]
        first = 0
        for number, block in enumerate(source.blocks(tables[name].name, given, rows=rows, size=BATCH_BYTES)):
            locate = partial(_row_of_table, name, first)
            yield Batch(f"{name} {number}", name, given, block.lines, block.count, locate)
            first += block.count

    with run.sender({name: source.estimate(table.name) for name, table in tables.items()}) as sender:
        for group, together in load_order(tables, [(key.table, key.parent) for key in schema.keys]):
            if together:
                sender.send_together(", ".join(group), partial(_chained, batches, group))
            else:
                for name in group:
                    sender.send(batches(name))
    run.finish()


def _chained(batches: Callable[[str], Iterator[Batch]], tables: Sequence[str]) -> Iterator[Batch]:
    return chain.from_iterable(map(batches, tables))


def _row_of_table(table: str, first: int, row: int) -> str:
    return f"{table}, row {first + row}"


def _line_of_file(file: Path, line_numbers: Sequence[int], row: int) -> str:
    return f"{file}, line {line_numbers[row - 1]}"


def _by_name(schema: DescribeSchemaResponse, names: Mapping[str, Table]) -> dict[str, TableDescription]:
    return {table.table: table for table in schema.tables if table.table in names}


def _matched(source: DatabaseSource, schema: DescribeSchemaResponse, chosen: Sequence[str]) -> dict[str, Table]:
    """The source's tables to load, by the target's names. Raises LoadFailedError if the two do not match."""
    found = {str(table.name): table for table in source.database.tables}
    known = {table.table for table in schema.tables}
    # What inherits is read with its parent.
    wanted = set(chosen) or {name for name, table in found.items() if name in known or not table.inherits} | known
    missing = [f'the source has no table "{name}"' for name in sorted(wanted - found.keys())]
    unknown = [f'the cluster has no table "{name}"' for name in sorted(wanted - known)]
    if missing or unknown:
        raise LoadFailedError("; ".join([*missing, *unknown]) + ": choose with --table")
    return {name: found[name] for name in sorted(wanted)}


def _columns(source: Table, target: TableDescription) -> list[str]:
    """The columns to load. Raises LoadFailedError if the target lacks one; one that the source lacks is told."""
    names = [column.name for column in source.columns]
    known = {column.name: column for column in target.columns}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise LoadFailedError(f'table "{target.table}": the cluster has no column "{unknown[0]}"')
    for name, column in known.items():
        if name not in names and not column.generated:
            click.echo(f'table "{target.table}": the source has no column "{name}"; it takes its default', err=True)
    return [name for name in names if not known[name].generated]


def _check_ids(
    source: DatabaseSource, schema: DescribeSchemaResponse, tables: Mapping[str, Table], options: _Options
) -> None:
    """Looks at the first rows of tables whose ids carry the slot: ids that were not made so cannot be loaded."""
    for name, description in _by_name(schema, tables).items():
        columns = [description.slot_column, description.shard_key]
        if "" in columns or not set(columns) <= {column.name for column in tables[name].columns}:
            continue
        types = base_types(description.columns)
        rows = min(options.batch_rows, LOOKED_AT_ROWS)
        for block in source.blocks(tables[name].name, columns, rows=rows, size=BATCH_BYTES, limit=rows):
            for line in block.lines.splitlines():
                _check_id(name, description, types[description.shard_key], line)


def _check_id(name: str, description: TableDescription, key_type: str, line: bytes) -> None:
    given, key = (read_fields([line], place)[0] for place in (0, 1))
    if given is None or key is None or key_type not in FAMILIES:
        return
    if slot_of_value("uuid", given.decode()) != slot_of_value(key_type, key.decode()):
        raise LoadFailedError(
            f'table "{name}": "{description.slot_column}" {given.decode()} does not carry the slot of'
            f' "{description.shard_key}" {key.decode()}, as ids of rows that are placed by another column must.'
            " Nothing was loaded. Tag the table @claim, give the rows new ids, or shard it by the id itself;"
            " docs/schema.md says which uuids carry a slot"
        )


def _load_file(file: Path, file_format: str, delimiter: str, target: Target, table: str, options: _Options) -> None:
    schema = target.describe()
    description = next((one for one in schema.tables if one.table == table), None)
    if description is None:
        raise LoadFailedError(f'the cluster has no table "{table}"')
    together = any(key.table == key.parent == table for key in schema.keys)
    run = _Run(target, f"{file.resolve()} into {table}", [table], options)
    if run.state.finished:
        run.forget()
        return

    def batches() -> Iterator[Batch]:
        records = read_records(file, file_format, delimiter, base_types(description.columns))
        for number, block in enumerate(file_blocks(records, rows=run.state.batch_rows, size=BATCH_BYTES)):
            locate = partial(_line_of_file, file, block.line_numbers)
            yield Batch(f"{table} {number}", table, block.columns, block.lines, len(block.rows), locate)

    with run.sender({}) as sender:
        if together:
            sender.send_together(table, batches)
        else:
            sender.send(batches())
    run.finish()
