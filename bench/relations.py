"""A page of messages, each with its sender and the number of its replies, which live on other shards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from bench.crosskey_side import Crosskey
from bench.interleaving import Case, Comparison, Contender, Operation
from bench.plain_postgres import OneServer, ShardedByHand
from bench.population import Population, Row, new_person
from crosskey.includes import Include

MESSAGES = 300
REPLIES_OF_EACH = 3
PAGE_ROWS = 100

INCLUDED = "List with include"
ONE_BY_ONE = "a Get and a Count a message"
BY_HAND = "by hand, psycopg"
ON_ONE = "a join on one server"

IN_TIMES_OF_ONE_BY_ONE = 1 / 20
IN_TIMES_OF_BY_HAND = 1.5

INCLUDE: Include = {"sender": {"columns": ["name"]}, "replies": {"count": "only"}}


async def fill_with_messages(crosskey: Crosskey, by_hand: ShardedByHand, one_server: OneServer) -> None:
    """Puts the same messages and replies into every side."""
    messages = _messages(crosskey.population)
    replies = [
        {"id": _new_id(crosskey.population, place), "message_id": message["id"], "content": "Yes."}
        for message in messages
        for place in range(REPLIES_OF_EACH)
    ]
    for table, rows in (("messages", messages), ("replies", replies)):
        await crosskey.insert_all(table, rows)
        await by_hand.fill(table, rows)
        await one_server.fill(table, rows)


def messages_with_senders(crosskey: Crosskey, by_hand: ShardedByHand, one_server: OneServer) -> Case:
    """One request with includes, against one for each row, an application over the servers, and a join."""
    return Case(
        f"{PAGE_ROWS} messages with sender and number of replies",
        [
            _contender(INCLUDED, partial(_included, crosskey)),
            _contender(ONE_BY_ONE, partial(_one_by_one, crosskey)),
            _contender(BY_HAND, partial(by_hand.page_of_messages, PAGE_ROWS)),
            _contender(ON_ONE, partial(one_server.page_of_messages, PAGE_ROWS)),
        ],
        [
            Comparison(INCLUDED, ONE_BY_ONE, at_most=IN_TIMES_OF_ONE_BY_ONE),
            Comparison(INCLUDED, BY_HAND, at_most=IN_TIMES_OF_BY_HAND),
            Comparison(INCLUDED, ON_ONE),
        ],
    )


def _contender(name: str, operation: Callable[[], Awaitable[object]]) -> Contender:
    async def prepare(count: int) -> Sequence[Operation]:
        return [operation] * count

    return Contender(name, prepare, rows=PAGE_ROWS)


async def _included(crosskey: Crosskey) -> None:
    await crosskey.client.list_page("messages", order_by="id", page_size=PAGE_ROWS, include=INCLUDE)


async def _one_by_one(crosskey: Crosskey) -> None:
    """As a program without includes does: for each message both at once, one message after the other."""
    page = await crosskey.client.list_page("messages", order_by="id", page_size=PAGE_ROWS)
    for message in page.rows:
        await asyncio.gather(
            crosskey.client.get("people", {"id": message["sender_id"]}),
            crosskey.client.count("replies", {"message_id": message["id"]}),
        )


def _messages(population: Population) -> list[Row]:
    return [
        {"id": _new_id(population, place), "sender_id": population.known_person(), "content": "Are you cold?"}
        for place in range(MESSAGES)
    ]


def _new_id(population: Population, place: int) -> str:
    return new_person(place % population.shards, population.shards)
