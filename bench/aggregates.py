"""Aggregates over all shards, against the same statement on each of them at once, which is as quick as can be."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import psycopg
from psycopg.rows import TupleRow

from bench.crosskey_side import Crosskey
from bench.interleaving import Case, Comparison, Contender, Operation
from bench.population import new_person
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.v1.router_pb2 import LoadRequest

DEFAULT_ROWS = 1_000_000
BATCH_ROWS = 50_000
REGIONS = 50

OVER_SHARDS = "through the router"
ON_EACH = "on each shard at once"

IN_TIMES_OF_SLOWEST = 1.3

COUNT = "SELECT count(*) FROM sales"
SUMS = "SELECT region, sum(amount) FROM sales GROUP BY region ORDER BY region"

Connection = psycopg.AsyncConnection[TupleRow]


async def fill_with_sales(crosskey: Crosskey, rows: int) -> None:
    """Loads that many sales."""
    shards = crosskey.population.shards
    for start in range(0, rows, BATCH_ROWS):
        lines = "".join(
            f"{new_person(place % shards, shards)}\t{random.randrange(REGIONS)}\t{random.randrange(10_000) / 100}\n"
            for place in range(start, min(start + BATCH_ROWS, rows))
        )
        request = LoadRequest(table="sales", columns=("id", "region", "amount"), lines=lines.encode())
        await crosskey.load(request)


@asynccontextmanager
async def shards_of(cluster: LocalCluster) -> AsyncIterator[Sequence[Connection]]:
    """A connection to the database of each shard, with statistics as fresh as they can be."""
    async with AsyncExitStack() as stack:
        connections = []
        for database in cluster.databases:
            connection = await psycopg.AsyncConnection.connect(database.superuser_dsn, autocommit=True)
            connections.append(await stack.enter_async_context(connection))
            await connection.execute(b"VACUUM ANALYZE sales")
            # As nodes have it.
            await connection.execute(b"SET jit = off")
        yield connections


def aggregates(crosskey: Crosskey, shards: Sequence[Connection], rows: int) -> list[Case]:
    """A count, and a sum by groups."""
    client = crosskey.client
    sums = partial(client.aggregate, "sales", {"total": ("sum", "amount")}, group_by=["region"], order_by="region")
    return [
        _case(f"count of {rows:,} rows", partial(client.count, "sales"), shards, COUNT),
        _case(f"sum of {rows:,} rows in {REGIONS} groups", sums, shards, SUMS),
    ]


def _case(title: str, through: Operation, shards: Sequence[Connection], statement: str) -> Case:
    return Case(
        title,
        [_contender(OVER_SHARDS, through), _contender(ON_EACH, partial(_on_each, shards, statement))],
        [Comparison(OVER_SHARDS, ON_EACH, at_most=IN_TIMES_OF_SLOWEST)],
    )


def _contender(name: str, operation: Callable[[], Awaitable[object]]) -> Contender:
    async def prepare(count: int) -> Sequence[Operation]:
        return [operation] * count

    return Contender(name, prepare)


async def _on_each(shards: Sequence[Connection], statement: str) -> None:
    cursors = await asyncio.gather(*(connection.execute(statement.encode()) for connection in shards))
    for cursor in cursors:
        await cursor.fetchall()
