"""One run of `crosskey load`: what it goes on from, how far it is, and what it says at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from crosskey.cli.load.batches import LoadFailedError, Sender
from crosskey.cli.load.state import LoadState, read_state, write_state
from crosskey.cli.load.target import Target


@dataclass(frozen=True)
class LoadOptions:
    """Where the state of a load is kept, how many rows a batch has, and how many batches are under way at once."""

    state: Path
    batch_rows: int
    jobs: int


class LoadRun:
    """One run of a load: its state, what is loaded already, and how far it is."""

    def __init__(self, target: Target, source: str, tables: Sequence[str], options: LoadOptions) -> None:
        state = read_state(options.state, source, tables)
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
