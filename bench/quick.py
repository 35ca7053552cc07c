"""Compares this build with another one of the repository, in one run on the same servers: `python -m bench.quick REF`.

It is a guard for CI: it exits with an error if a request takes much more processor time than in the other build. What a
machine can do in a second does not count.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from io import BytesIO
from pathlib import Path

import click
import uvloop

from bench.__main__ import show, stoppable
from bench.crosskey_side import Crosskey, crosskey_side
from bench.interleaving import Case, Comparison, Contender, Operation, run_case
from bench.measurements import Measurements, evaluated
from bench.population import Population, Row
from crosskey import CrosskeyError, insert
from crosskey.local_cluster.cluster import ClusterOptions, LocalCluster, running_cluster
from crosskey.local_cluster.cluster_error import ClusterError
from crosskey.local_cluster.postgres import PostgresServer, postgres_servers

ROOT = Path(__file__).parents[1]
SHARDS = 2
OURS, OTHERS = "this build", "the other build"
PROCESSOR_TIME_IN_TIMES_OF_OTHER = 1.2
"""At most. Builds that do the same differ by some hundredths, on a busy machine too."""

Asking = Callable[[Crosskey], Operation]


@click.command()
@click.argument("ref", default="HEAD~1")
@click.option("--seconds-per-case", type=click.FloatRange(min=0.5), default=5.0, show_default=True)
def main(ref: str, seconds_per_case: float) -> None:
    """Compare this build with that of a commit, HEAD~1 if none is given; exit 1 if requests cost much more."""
    with tempfile.TemporaryDirectory(prefix="crosskey-bench-") as folder:
        other = Path(folder) / "other"
        try:
            _extract(ref, other)
            with stoppable():
                measurements = _measure(Path(folder), other, seconds_per_case)
        except (ClusterError, CrosskeyError) as error:
            raise click.ClickException(str(error)) from None
    show(measurements)
    slower = [case.title for case in measurements.cases for one in case.comparisons if one.verdict == "missed"]
    if slower:
        raise click.ClickException(f"more processor time than {ref}: {', '.join(slower)}")


def _extract(ref: str, folder: Path) -> None:
    """Puts the files of a commit into a folder. Raises ClickException if there is no such commit."""
    archive = subprocess.run(["git", "archive", "--format=tar", ref], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode != 0:
        raise click.ClickException(archive.stderr.decode().strip())
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="fully_trusted")


def _measure(folder: Path, other: Path, seconds: float) -> Measurements:
    with (
        postgres_servers(folder, SHARDS) as servers,
        _cluster(servers, folder, "ours", {}) as ours,
        _cluster(servers, folder, "others", {"PYTHONPATH": str(other / "clients")}) as others,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(_compare(ours, others, seconds))


def _cluster(
    servers: Sequence[PostgresServer], folder: Path, name: str, environment: Mapping[str, str]
) -> AbstractContextManager[LocalCluster]:
    options = ClusterOptions(name=name, node_environment=environment, router_environment=environment)
    return running_cluster(servers, folder / name, options)


async def _compare(ours: LocalCluster, others: LocalCluster, seconds: float) -> Measurements:
    """Measures each case. The client is this build's for both sides."""
    measurements = Measurements({"shards": str(SHARDS), "load before": f"{os.getloadavg()[0]:.1f}"})
    async with (
        crosskey_side(ours.address, Population(SHARDS)) as one,
        crosskey_side(others.address, Population(SHARDS)) as other,
    ):
        for title, asking, at_once in CASES:
            click.echo(f"measuring: {title}", err=True)
            case = _case(f"{title}, {at_once} at once", asking, at_once, {OURS: one, OTHERS: other})
            measurements.cases.append(evaluated(case, await run_case(case, seconds)))
    return measurements


def _case(title: str, asking: Asking, at_once: int, sides: Mapping[str, Crosskey]) -> Case:
    def contender(name: str, side: Crosskey) -> Contender:
        async def prepare(count: int) -> Sequence[Operation]:
            return [asking(side) for _ in range(count)]

        return Contender(name, prepare, at_once)

    return Case(
        title,
        [contender(name, side) for name, side in sides.items()],
        [Comparison(OURS, OTHERS, "processor", at_most=PROCESSOR_TIME_IN_TIMES_OF_OTHER), Comparison(OURS, OTHERS)],
    )


def _get(side: Crosskey) -> Operation:
    return partial(side.client.get, "people", {"id": side.population.known_person()})


def _insert(table: str) -> Asking:
    def asking(side: Crosskey) -> Operation:
        return partial(side.client.insert, table, side.population.new_follow(side.population.known_person()))

    return asking


def _transaction(side: Crosskey) -> Operation:
    rows: list[Row] = side.population.follows_on_every_shard([side.population.known_person()])
    return partial(side.client.transact, [insert("follows_without_key", row) for row in rows])


def _page(side: Crosskey) -> Operation:
    return partial(side.client.list_page, "people", page_size=100)


CASES: tuple[tuple[str, Asking, int], ...] = (
    ("Get", _get, 1),
    ("Get", _get, 64),
    ("insert without a key", _insert("follows_without_key"), 64),
    ("later reference", _insert("follows"), 64),
    ("transaction over two shards", _transaction, 16),
    ("page of 100 over all shards", _page, 4),
)

if __name__ == "__main__":
    main()
