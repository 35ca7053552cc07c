"""The command `python -m bench`: starts everything, measures, prints, and leaves nothing running."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.console import Console

from bench.aggregates import DEFAULT_ROWS as AGGREGATED_ROWS
from bench.imports import DEFAULT_ROWS
from bench.measurements import Measurements
from bench.node_calls import LATER_REFERENCE, costs_one_call_as_explained
from bench.run import NAMES, Options, Run
from bench.tables import WIDTH, node_calls_table, results_table
from crosskey import CrosskeyError
from crosskey.local_cluster.cluster_error import ClusterError

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
LEAST_SHARDS = 2


@click.command()
@click.option(
    "--seconds-per-case", type=click.FloatRange(min=0.5), default=6.0, show_default=True, help="How long to measure."
)
@click.option("--shards", type=click.IntRange(LEAST_SHARDS, 8), default=3, show_default=True, help="How many shards.")
@click.option("--only", type=click.Choice(NAMES), multiple=True, help="Measure only this; may be given several times.")
@click.option(
    "--import-rows",
    type=click.IntRange(min=1000),
    default=DEFAULT_ROWS,
    show_default=True,
    help="How many rows each side imports.",
)
@click.option(
    "--aggregated-rows",
    type=click.IntRange(min=1000),
    default=AGGREGATED_ROWS,
    show_default=True,
    help="Over how many rows is aggregated.",
)
@click.option(
    "--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write the results here too."
)
def main(
    seconds_per_case: float,
    shards: int,
    only: Sequence[str],
    import_rows: int,
    aggregated_rows: int,
    json_file: Path | None,
) -> None:
    """Measure Crosskey and plain PostgreSQL in turn, on the same servers, and print a table.

    Exits 1 if a later reference takes more than the one call to a node that Explain names.
    """
    options = Options(shards, seconds_per_case, only or NAMES, import_rows, aggregated_rows)
    run = Run(options, lambda text: click.echo(text, err=True))
    try:
        with stoppable():
            run.measure()
    except (ClusterError, CrosskeyError) as error:
        raise click.ClickException(str(error)) from None
    show(run.measurements)
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(run.measurements)))
    _check(run.measurements)


@contextmanager
def stoppable() -> Iterator[None]:
    """SIGTERM stops as Ctrl-C does; a second one does not keep servers from being stopped."""
    former = {number: signal.signal(number, _interrupt) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _interrupt(*_: object) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def show(measurements: Measurements) -> None:
    """Prints what was found."""
    console = Console(width=max(Console().width, WIDTH))
    if measurements.cases:
        console.print(results_table(measurements))
    if measurements.node_calls:
        console.print(node_calls_table(measurements.node_calls))


def _check(measurements: Measurements) -> None:
    for calls in measurements.node_calls:
        if calls.kind == LATER_REFERENCE and not costs_one_call_as_explained(calls):
            raise click.ClickException(f"a later reference took {calls.made}, and Explain named {calls.explained}")


if __name__ == "__main__":
    main()
