"""Loading a file into one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from functools import partial
from pathlib import Path

from crosskey.cli.load.batches import BATCH_BYTES, Batch, LoadFailedError
from crosskey.cli.load.columns import TableColumns
from crosskey.cli.load.files import file_blocks, read_records
from crosskey.cli.load.run import LoadOptions, LoadRun
from crosskey.cli.load.target import Target


def _line_of_file(file: Path, line_numbers: Sequence[int], row: int) -> str:
    return f"{file}, line {line_numbers[row - 1]}"


def load_file(file: Path, file_format: str, delimiter: str, target: Target, table: str, options: LoadOptions) -> None:
    """Loads a CSV or JSON lines file into a table. Raises LoadFailedError, BadFileError and BadStateError."""
    schema = target.describe()
    description = next((one for one in schema.tables if one.table == table), None)
    if description is None:
        near = get_close_matches(table, [one.table for one in schema.tables], n=1)
        perhaps = f'; perhaps it is "{near[0]}"' if near else ""
        raise LoadFailedError(f'the cluster has no table "{table}"{perhaps}')
    together = any(key.table == key.parent == table for key in schema.keys)
    known = TableColumns.of(table, description.columns)
    run = LoadRun(target, f"{file.resolve()} into {table}", [table], options)
    if run.state.finished:
        run.forget()
        return

    def batches() -> Iterator[Batch]:
        records = read_records(file, file_format, delimiter, known)
        for number, block in enumerate(file_blocks(records, rows=run.state.batch_rows, size=BATCH_BYTES)):
            locate = partial(_line_of_file, file, block.line_numbers)
            yield Batch(f"{table} {number}", table, block.columns, block.lines, len(block.rows), locate)

    with run.sender({}) as sender:
        if together:
            sender.send_together(table, batches)
        else:
            sender.send(batches())
    run.finish()
