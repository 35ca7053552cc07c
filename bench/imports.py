"""Rows with a key across shards, loaded in batches, against COPY of the same rows straight into the same servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from time import perf_counter
from typing import TypeAlias

import grpc
import grpc.aio
import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from bench.crosskey_side import TIMEOUT_SECONDS, Crosskey
from bench.interleaving import Case, Comparison, Contender
from bench.measurements import CaseResult, evaluated
from bench.population import SCHEMA_SQL, Population, shard_of
from bench.summary import Slice
from crosskey import errors
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.v1 import router_pb2_grpc
from crosskey.v1.router_pb2 import LoadRequest

DEFAULT_ROWS = 200_000
"""Of each contender, over all rounds: some seconds. The aim is about a million, which takes a minute or two."""

ROUNDS = 10
BATCH_ROWS = 20_000
AT_ONCE = 2
"""As `crosskey load` does by default."""

RATE_IN_TIMES_OF_COPY = 0.5

LOAD = "Load"
COPY = "COPY, no key"
COPY_WITH_KEY = "COPY, key onto a copy of the parents"

COLUMNS = ("follower_id", "followee_id", "weight")

Connection: TypeAlias = psycopg.AsyncConnection[TupleRow]
Placed: TypeAlias = tuple[int, bytes]
"""A row's shard, and its line."""

Import: TypeAlias = Callable[[Sequence[Placed]], Awaitable[None]]


async def measure_import(
    crosskey: Crosskey, servers: Sequence[PostgresServer], rows: int, rounds: int = ROUNDS
) -> CaseResult:
    """Loads so many rows by each contender, in turn, in rounds."""
    population = crosskey.population
    async with (
        grpc.aio.insecure_channel(crosskey.address) as channel,
        copies_by_hand(servers, population) as connections,
    ):
        contenders: dict[str, Import] = {
            LOAD: _Loading(router_pb2_grpc.RouterStub(channel)).run,
            COPY: _Copying(connections, "follows_without_key").run,
            COPY_WITH_KEY: _Copying(connections, "follows").run,
        }
        slices: dict[str, list[Slice]] = {name: [] for name in contenders}
        for number in range(rounds):
            placed = _new_follows(population, rows // rounds)
            for name in contenders if number % 2 == 0 else reversed(contenders):
                started = perf_counter()
                await contenders[name](placed)
                seconds = perf_counter() - started
                slices[name].append(Slice([seconds], seconds, 1, len(placed)))
    return evaluated(_case(rows, rounds), slices)


def _case(rows: int, rounds: int) -> Case:
    contenders = [Contender(name, rows=rows // rounds) for name in (LOAD, COPY, COPY_WITH_KEY)]
    comparisons = [
        Comparison(LOAD, COPY, "rate", at_least=RATE_IN_TIMES_OF_COPY),
        Comparison(LOAD, COPY_WITH_KEY, "rate"),
    ]
    return Case(f"import of {rows:,} rows, {BATCH_ROWS:,} a batch", contenders, comparisons)


def _new_follows(population: Population, count: int) -> list[Placed]:
    follows = (population.new_follow(population.known_person()) for _ in range(count))
    return [
        (
            shard_of(follow["follower_id"], population.shards),
            f"{follow['follower_id']}\t{follow['followee_id']}\t1\n".encode(),
        )
        for follow in follows
    ]


class _Loading:
    """Batches through the router, some at once."""

    def __init__(self, router: router_pb2_grpc.RouterAsyncStub) -> None:
        self._router = router

    async def run(self, placed: Sequence[Placed]) -> None:
        batches = iter([b"".join(line for _, line in batch) for batch in _chunks(placed, BATCH_ROWS)])
        async with asyncio.TaskGroup() as workers:
            for _ in range(AT_ONCE):
                workers.create_task(self._work(batches))

    async def _work(self, batches: Iterator[bytes]) -> None:
        for lines in batches:
            await self._load(lines)

    async def _load(self, lines: bytes) -> None:
        while True:
            request = LoadRequest(table="follows", columns=COLUMNS, lines=lines)
            try:
                await self._router.Load(iter([request]), timeout=TIMEOUT_SECONDS)
            except grpc.RpcError as error:
                if not errors.from_rpc_error(error).retryable:
                    raise
            else:
                return


class _Copying:
    """One COPY into each shard's server, all at once."""

    def __init__(self, connections: Sequence[Connection], table: str) -> None:
        self._connections = connections
        self._statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
            sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
        )

    async def run(self, placed: Sequence[Placed]) -> None:
        async with asyncio.TaskGroup() as copies:
            for shard, connection in enumerate(self._connections):
                lines = b"".join(line for place, line in placed if place == shard)
                copies.create_task(self._copy(connection, lines))

    async def _copy(self, connection: Connection, lines: bytes) -> None:
        async with connection.cursor() as cursor, cursor.copy(self._statement) as copy:
            await copy.write(lines)


@asynccontextmanager
async def copies_by_hand(
    servers: Sequence[PostgresServer], population: Population
) -> AsyncIterator[Sequence[Connection]]:
    """A database for each shard, on its server, each with all people, so that the key can be checked there."""
    async with AsyncExitStack() as stack:
        connections = []
        for shard in range(population.shards):
            server, name = servers[shard % len(servers)], f"import_by_hand_{shard}"
            async with await psycopg.AsyncConnection.connect(server.dsn(), autocommit=True) as admin:
                await admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            connection = await psycopg.AsyncConnection.connect(server.dsn(database=name), autocommit=True)
            await stack.enter_async_context(connection)
            await connection.execute(SCHEMA_SQL.encode())
            await connection.execute("INSERT INTO people SELECT unnest(%s::uuid[]), 'Cosette'", [population.people])
            connections.append(connection)
        yield connections


def _chunks(placed: Sequence[Placed], size: int) -> Iterator[Sequence[Placed]]:
    for start in range(0, len(placed), size):
        yield placed[start : start + size]
