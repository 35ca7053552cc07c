"""What a request costs on the client's stream, as a unary call, and past Crosskey."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from bench.crosskey_side import TIMEOUT_SECONDS, Crosskey
from bench.interleaving import Case, Comparison, Contender, Operation
from bench.plain_postgres import ShardedByHand
from bench.population import Row
from crosskey import _operations as operations
from crosskey.row_reading import JsonRows, ask_for
from crosskey.v1.router_pb2_grpc import RouterStub

ON_STREAM = "by Router.Session"
UNARY = "by a unary call"
PAST = "psycopg directly"

NewOperation: TypeAlias = Callable[[], Operation]

GETS_IN_TIMES_OF_PSYCOPG = {1: 8.0, 64: 3.0}
INSERTS_IN_TIMES_OF_PSYCOPG = {64: 2.0}


def gets_on_stream(crosskey: Crosskey, by_hand: ShardedByHand, at_once: int) -> Case:
    """Router.Get both ways, and the same SELECT by psycopg on the right server."""
    person = crosskey.population.known_person
    return _case(
        f"read of a row by its key, on the stream, {at_once} at once",
        {
            ON_STREAM: lambda: partial(crosskey.client.get, "people", {"id": person()}),
            UNARY: lambda: partial(_unary, crosskey.stub, operations.get("people", {"id": person()})),
            PAST: lambda: partial(by_hand.get_person, person()),
        },
        at_once,
        GETS_IN_TIMES_OF_PSYCOPG.get(at_once),
    )


def inserts_on_stream(crosskey: Crosskey, by_hand: ShardedByHand, at_once: int) -> Case:
    """Router.Insert of a row without foreign keys both ways, and the same INSERT by psycopg on the right server."""
    table, population = "follows_without_key", crosskey.population

    def row() -> Row:
        return population.new_follow(population.known_person())

    return _case(
        f"insert of a row without a key, on the stream, {at_once} at once",
        {
            ON_STREAM: lambda: partial(crosskey.client.insert, table, row()),
            UNARY: lambda: partial(_unary, crosskey.stub, operations.insert(table, row())),
            PAST: lambda: partial(by_hand.insert_without_key, *row().values()),
        },
        at_once,
        INSERTS_IN_TIMES_OF_PSYCOPG.get(at_once),
    )


def _case(title: str, operations_of: Mapping[str, NewOperation], at_once: int, at_most: float | None) -> Case:
    def contender(name: str, new_operation: NewOperation) -> Contender:
        async def prepare(count: int) -> Sequence[Operation]:
            return [new_operation() for _ in range(count)]

        return Contender(name, prepare, at_once)

    return Case(
        title,
        [contender(name, new_operation) for name, new_operation in operations_of.items()],
        [Comparison(ON_STREAM, UNARY), Comparison(ON_STREAM, PAST, at_most=at_most)],
    )


async def _unary(stub: RouterStub, call: operations.Call[Any]) -> Any:
    """Carries a call out as AsyncClient would if there were no stream."""
    rows = JsonRows()
    ask_for(call.request, rows.form)
    return call.read(await getattr(stub, call.method)(call.request, timeout=TIMEOUT_SECONDS), rows)
