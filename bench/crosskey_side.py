"""Crosskey as an application sees it: the Python client against the router."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import grpc.aio

from bench.population import SCHEMA_SQL, Population, Row, person_row
from crosskey import AsyncClient
from crosskey.v1 import router_pb2_grpc
from crosskey.v1.router_pb2 import LoadRequest

ROWS_PER_REQUEST = 1000
TIMEOUT_SECONDS = 60.0


class Crosskey:
    """A running cluster with the people in it. Made by `crosskey_side`."""

    def __init__(
        self, client: AsyncClient, stub: router_pb2_grpc.RouterAsyncStub, address: str, population: Population
    ) -> None:
        self.client = client
        self.stub = stub
        """For unary calls."""
        self.address = address
        self.population = population

    async def insert_all(self, table: str, rows: Sequence[Row]) -> None:
        """Inserts any number of rows in requests of ROWS_PER_REQUEST."""
        for some in _chunks(rows):
            await self.client.insert(table, some)

    async def load(self, request: LoadRequest) -> None:
        """Loads one batch."""
        await self.stub.Load(iter([request]), timeout=TIMEOUT_SECONDS)

    async def reference_everywhere(self, people: Sequence[str]) -> None:
        """Lets a row on each shard reference each of the people: every later reference to them is a later one."""
        await self.insert_all("follows", self.population.follows_on_every_shard(people))


@asynccontextmanager
async def crosskey_side(address: str, population: Population) -> AsyncIterator[Crosskey]:
    """Loads schema and people into the cluster behind a router, and references all of them on every shard."""
    async with (
        AsyncClient(address, timeout=TIMEOUT_SECONDS) as client,
        grpc.aio.insecure_channel(address) as channel,
    ):
        side = Crosskey(client, router_pb2_grpc.RouterStub(channel), address, population)
        await client.apply_schema(SCHEMA_SQL)
        await side.insert_all("people", [person_row(person) for person in population.people])
        await side.reference_everywhere(population.people)
        yield side


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), ROWS_PER_REQUEST):
        yield rows[start : start + ROWS_PER_REQUEST]
