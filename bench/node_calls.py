"""How many calls to nodes each kind of request takes, as the router counts them, beside what Explain foretold."""

from __future__ import annotations

from dataclasses import dataclass

import grpc.aio

from bench.crosskey_side import ROWS_PER_REQUEST, TIMEOUT_SECONDS, Crosskey
from bench.population import person_row
from bench.unique_values import account_row
from crosskey import requests
from crosskey.requests import Request
from crosskey.v1.router_pb2_grpc import RouterStub

CALLS_KEY = "crosskey-node-calls"
"""The trailer in which a router tells the calls."""

LATER_REFERENCE = "Insert of a child across shards, later reference"


@dataclass(frozen=True)
class NodeCalls:
    """The calls that a kind of request took before its answer, and those that Explain named beforehand."""

    kind: str
    made: list[str]
    explained: list[str]


def costs_one_call_as_explained(calls: NodeCalls) -> bool:
    """Whether it took a single call, the very one that Explain named."""
    return len(calls.made) == 1 and calls.made == calls.explained


async def count_node_calls(crosskey: Crosskey) -> list[NodeCalls]:
    """Makes each kind of request once."""
    async with grpc.aio.insecure_channel(crosskey.address) as channel:
        return [await _calls_of(crosskey, channel, kind, request) for kind, request in await _requests(crosskey)]


async def _requests(crosskey: Crosskey) -> list[tuple[str, Request]]:
    population = crosskey.population
    fresh, followed, unwanted = population.new_people(3)
    await crosskey.insert_all("people", [person_row(person) for person in (fresh, followed, unwanted)])
    await crosskey.reference_everywhere([followed])
    known_account, fresh_account, *accounts = map(account_row, population.new_people(2 + ROWS_PER_REQUEST))
    await crosskey.insert_all("accounts", [known_account])
    rows = [population.new_follow(population.known_person()) for _ in range(ROWS_PER_REQUEST)]
    return [
        ("Insert into a table without a key", requests.insert("follows_without_key", rows[0])),
        ("Insert of a child across shards, first reference", requests.insert("follows", population.new_follow(fresh))),
        (LATER_REFERENCE, requests.insert("follows", population.new_follow(followed))),
        ("Insert of 1,000 children over all shards", requests.insert("follows", rows)),
        ("Insert of a value unique over all shards", requests.insert("accounts", fresh_account)),
        ("Insert of 1,000 such values over all shards", requests.insert("accounts", accounts)),
        ("Get by key", requests.get("people", {"id": followed})),
        ("Get by a value unique over all shards", requests.get("accounts", {"username": known_account["username"]})),
        ("List of all", requests.list_rows("people")),
        ("Count of all", requests.count("people")),
        ("Update by key", requests.update("people", {"name": "Marius"}, key={"id": followed})),
        ("Delete of a parent without children", requests.delete("people", key={"id": unwanted})),
        ("Delete of a parent with children on all shards", requests.delete("people", key={"id": followed})),
    ]


async def _calls_of(crosskey: Crosskey, channel: grpc.aio.Channel, kind: str, request: Request) -> NodeCalls:
    explanation = await crosskey.client.explain(request)
    method = type(request).__name__.removesuffix("Request")
    call = getattr(RouterStub(channel), method)(request, timeout=TIMEOUT_SECONDS)
    await call
    trailers = dict(await call.trailing_metadata())
    return NodeCalls(kind, str(trailers[CALLS_KEY]).split(", "), list(explanation.rpcs))
