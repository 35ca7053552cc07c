"""`make soak-differential`: one generated schema after the other, for as long as told."""

from __future__ import annotations

import os
import time
from collections import Counter
from datetime import timedelta
from random import SystemRandom

import click

from tests.oracle.differential.judge import operations_of
from tests.oracle.differential.workers import WorkerDiedError, Workers

SECONDS_BETWEEN_LINES = 10.0


@click.command()
@click.option("--seconds", type=float, default=None, help="How long new examples are begun.")
@click.option("--operations", type=int, default=None, help="After how many operations no new example is begun.")
@click.option("--seed", type=int, default=None, help="Of the schema to begin with; a random one if left out.")
@click.option("--workers", type=int, default=os.cpu_count(), show_default=True, help="How many schemas run at a time.")
@click.option("--keep-going", is_flag=True, help="Go on with the next schema after a disagreement.")
def main(seconds: float | None, operations: int | None, seed: int | None, workers: int, keep_going: bool) -> None:
    """Compare clusters with one PostgreSQL each, and say how many operations agreed."""
    seed = SystemRandom().randrange(10**9) if seed is None else seed
    click.echo(f"seed {seed}, {workers} at a time")
    soak = _Soak(seconds, operations, keep_going)
    try:
        soak.run(Workers(workers, seed))
    except WorkerDiedError:
        raise click.ClickException(f"A worker died. Until then: {soak}") from None
    if soak.disagreements:
        raise click.ClickException(f"{soak.disagreements} disagreements in {soak}")
    click.echo(f"All agreed: {soak}")


class _Soak:
    """What was done so far, and when it is enough. Its text says how much was done, and how fast."""

    def __init__(self, seconds: float | None, operations: int | None, keep_going: bool) -> None:
        self.disagreements = 0
        self._seconds = seconds
        self._operations = operations
        self._keep_going = keep_going
        self._counts: Counter[str] = Counter()
        self._began_at = time.monotonic()

    def __str__(self) -> str:
        operations, elapsed = operations_of(self._counts), self._elapsed()
        details = ", ".join(f"{count:,} {what}" for what, count in sorted(self._counts.items()))
        took = timedelta(seconds=round(elapsed))
        return f"{operations:,} operations in {took}, {operations / elapsed:.1f} a second ({details})"

    def run(self, workers: Workers) -> None:
        """Runs the workers until it is enough. Raises WorkerDiedError."""
        next_line_at = 0.0
        with workers.running():
            for report in workers.reports():
                if report is not None:
                    self._counts += report.counts
                    if report.disagreement is not None:
                        self.disagreements += 1
                        click.echo(f"{report.disagreement}\nThe schema is that of seed {report.seed}.", err=True)
                if self._is_enough():
                    workers.stop()
                if self._elapsed() >= next_line_at:
                    click.echo(str(self))
                    next_line_at = self._elapsed() + SECONDS_BETWEEN_LINES

    def _is_enough(self) -> bool:
        is_late = self._seconds is not None and self._elapsed() > self._seconds
        is_done = self._operations is not None and operations_of(self._counts) >= self._operations
        return is_late or is_done or (bool(self.disagreements) and not self._keep_going)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began_at


if __name__ == "__main__":
    main()
