"""A compiled client with unary calls, in Go: what a request costs where the client costs next to nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from bench.crosskey_side import Crosskey
from bench.interleaving import Case, Comparison, Contender, Operation
from bench.plain_postgres import ShardedByHand
from crosskey.local_cluster.cluster_error import ClusterError

GO_MODULE = Path(__file__).parents[1] / "clients" / "go"

GO = "Go, unary calls"
PYTHON = "Python client"
PAST = "psycopg directly"

NANOSECONDS = 1e9
LONGEST_LINE_BYTES = 1 << 20


class NotCompiled(ClusterError):
    """There is no such client here."""


class CompiledClient:
    """A process that reads people as it is told. Made by `compiled_client`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def get(self, people: Sequence[str], at_once: int) -> list[float]:
        """Reads people, so many at once; the seconds that each took."""
        assert self._process.stdin is not None, "it has a pipe"
        assert self._process.stdout is not None, "it has a pipe"
        task = "\t".join([str(at_once), *(json.dumps({"id": person}) for person in people)])
        self._process.stdin.write(f"{task}\n".encode())
        await self._process.stdin.drain()
        answer = await self._process.stdout.readline()
        return [int(one) / NANOSECONDS for one in answer.split()]


def can_be_compiled() -> bool:
    """Whether there is a Go here."""
    return shutil.which("go") is not None


@asynccontextmanager
async def compiled_client(address: str, folder: Path) -> AsyncIterator[CompiledClient]:
    """Compiles the client and starts it; it ends with the context. Raises NotCompiled."""
    program = folder / "compiled-client"
    compiling = await asyncio.create_subprocess_exec("go", "build", "-o", program, "./bench", cwd=GO_MODULE)
    if await compiling.wait():
        raise NotCompiled("the Go client cannot be compiled; what the compiler says is above")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program, address, "people", stdin=pipe, stdout=pipe, limit=LONGEST_LINE_BYTES
    )
    try:
        yield CompiledClient(process)
    finally:
        process.terminate()
        await process.wait()


def gets_by_compiled_client(compiled: CompiledClient, crosskey: Crosskey, by_hand: ShardedByHand, at_once: int) -> Case:
    """Router.Get by Go, by the Python client, and the same SELECT by psycopg on the right server."""

    async def get_all(count: int) -> list[float]:
        return await compiled.get([crosskey.population.known_person() for _ in range(count)], at_once)

    async def by_python(count: int) -> Sequence[Operation]:
        people = [crosskey.population.known_person() for _ in range(count)]
        return [partial(crosskey.client.get, "people", {"id": person}) for person in people]

    async def past(count: int) -> Sequence[Operation]:
        return [partial(by_hand.get_person, crosskey.population.known_person()) for _ in range(count)]

    return Case(
        f"read of a row by its key, by a compiled client, {at_once} at once",
        [
            Contender(GO, at_once=at_once, run_all=get_all),
            Contender(PYTHON, by_python, at_once),
            Contender(PAST, past, at_once),
        ],
        [Comparison(GO, PYTHON), Comparison(GO, PAST)],
    )
