"""The command `python -m bench.trace`: runs each kind of request once against a warm cluster, and prints its road."""

from __future__ import annotations

import asyncio
import logging
import re
import tempfile
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import structlog
from rich.console import Console
from rich.table import Table

from bench.trace.cluster import cluster_here
from bench.trace.recording import Recording, recording
from crosskey import requests
from crosskey.catalog.slots import shard_of_slot, slot_of_value
from crosskey.local_cluster.postgres import PostgresServer, postgres_servers
from crosskey.router.router_service import CALLS_KEY
from crosskey.v1 import router_pb2_grpc

SHARDS = 3
WIDTH = 140
SCHEMA = """
CREATE TABLE users (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE users IS '@shard_by id';
CREATE TABLE follows (
    follower bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    followee bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (follower, followee)
);
COMMENT ON TABLE follows IS '@shard_by follower';
"""
QUIET_SECONDS = 0.3
"""For what a request leaves to be done in the background."""


@dataclass(frozen=True)
class Road:
    """One request's: what it entered, and the calls to nodes that it took."""

    name: str
    record: Recording
    calls: Sequence[str]


@click.command()
@click.option("--verbose", is_flag=True, help="List the functions, calls and statements of each request too.")
def main(verbose: bool) -> None:
    """Count the distinct functions and files of Crosskey that one request enters, its calls and its statements."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with (
        tempfile.TemporaryDirectory(prefix="crosskey-trace-") as folder,
        postgres_servers(Path(folder), SHARDS, fast=True) as servers,
    ):
        roads = asyncio.run(_trace(servers))
    console = Console(width=WIDTH)
    console.print(_table(roads))
    if verbose:
        for road in roads:
            _list(console, road)


async def _trace(servers: Sequence[PostgresServer]) -> list[Road]:
    async with cluster_here(servers, SCHEMA) as stub:
        story = Story(stub)
        await story.begin()
        return [await story.trace(name) for name in story.requests]


Call = Callable[[], Any]
"""Begins a call, which is then to be awaited."""


class Story:
    """Users and who follows whom; a followee is on another shard than its followers."""

    def __init__(self, stub: router_pb2_grpc.RouterAsyncStub) -> None:
        self._stub = stub
        numbers: defaultdict[int, list[int]] = defaultdict(list)
        for number in range(1, 40 * SHARDS):
            numbers[shard_of_slot(slot_of_value("int8", number), SHARDS)].append(number)
        self._users = numbers
        self._unused = [iter(numbers[shard]) for shard in range(SHARDS)]
        self.requests: dict[str, Callable[[], Awaitable[Call]]] = {
            "Get by key": self._get,
            "Insert, later reference": self._later_reference,
            "Insert, first reference": self._first_reference,
            "Delete that cascades over three shards": self._delete,
            "Delete of a row that nothing references": self._delete_alone,
            "List over three shards": self._list,
        }

    async def begin(self) -> None:
        """Makes users, and each kind of request a few times: schemas are read and statements prepared then."""
        users = [{"id": number, "name": "x"} for numbers in self._users.values() for number in numbers]
        await self._stub.Insert(requests.insert("users", users))
        for _ in range(3):
            for name in self.requests:
                await (await self.requests[name]())()

    async def trace(self, name: str) -> Road:
        """Makes one request of a kind and records it, with what it leaves to be done in the background."""
        start = await self.requests[name]()
        await asyncio.sleep(QUIET_SECONDS)
        with recording() as record:
            call = start()
            await call
            await asyncio.sleep(QUIET_SECONDS)
        trailers = dict(await call.trailing_metadata() or ())
        return Road(name, record, str(trailers[CALLS_KEY]).split(", "))

    async def _get(self) -> Call:
        return lambda: self._stub.Get(requests.get("users", {"id": self._users[0][0]}))

    async def _list(self) -> Call:
        return lambda: self._stub.List(requests.list_rows("users", page_size=10))

    async def _first_reference(self) -> Call:
        return self._follow(self._next(0), self._next(1))

    async def _later_reference(self) -> Call:
        followee = self._next(1)
        await self._follow(self._next(0), followee)()
        return self._follow(self._next(0), followee)

    async def _delete(self) -> Call:
        followee = self._next(1)
        for shard in range(SHARDS):
            await self._follow(self._next(shard), followee)()
        return lambda: self._stub.Delete(requests.delete("users", key={"id": followee}))

    async def _delete_alone(self) -> Call:
        user = self._next(1)
        return lambda: self._stub.Delete(requests.delete("users", key={"id": user}))

    def _next(self, shard: int) -> int:
        return next(self._unused[shard])

    def _follow(self, follower: int, followee: int) -> Call:
        return lambda: self._stub.Insert(requests.insert("follows", [{"follower": follower, "followee": followee}]))


def _table(roads: Sequence[Road]) -> Table:
    table = Table(title="The road of a request, with what it leaves to be done behind its answer", title_justify="left")
    table.add_column("request")
    for column in ("functions", "files", "router / node / shared", "node calls", "SQL round trips", "writes to tables"):
        table.add_column(column, justify="right")
    for road in roads:
        table.add_row(
            road.name,
            str(len(road.record.functions)),
            str(len(road.record.files)),
            " / ".join(str(number) for number in _rooms(road.record)),
            str(len(road.calls)),
            str(len(road.record.statements)),
            str(sum(writes_users_table(statement) for statement in road.record.statements)),
        )
    return table


def _rooms(record: Recording) -> list[int]:
    """The functions of the router, of the node, and of what both share."""
    rooms = ["router", "shard_node"]
    found = [sum(file.startswith(f"{room}/") for file, _ in record.functions) for room in rooms]
    return [*found, len(record.functions) - sum(found)]


_WRITE = re.compile(r'\b(INSERT INTO|UPDATE|DELETE FROM) "public"\.')


def writes_users_table(statement: str) -> bool:
    """Whether a statement writes a table of the schema by itself; what cascades from it is PostgreSQL's."""
    return _WRITE.search(statement) is not None


def _list(console: Console, road: Road) -> None:
    console.rule(road.name, align="left")
    for file, name in sorted(road.record.functions):
        console.print(f"{file}: {name}", highlight=False)
    for line in (*road.calls, *road.record.statements):
        console.print(line, highlight=False, markup=False)


if __name__ == "__main__":
    main()
