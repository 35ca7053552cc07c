"""Reads of one row by its key, through Crosskey and past it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench.crosskey_side import Crosskey
from bench.interleaving import Case, Comparison, Contender, Operation
from bench.plain_postgres import ShardedByHand

THROUGH = "Get"
PAST = "psycopg directly"
PAGE = "List"

PAGE_ROWS = 100
PAGE_IN_TIMES_OF_BY_HAND = 4.0


def gets_by_key(crosskey: Crosskey, by_hand: ShardedByHand, at_once: int) -> Case:
    """Router.Get against the same SELECT by psycopg on the right server."""
    return Case(
        f"read of a row by its key, {at_once} at once",
        [
            Contender(THROUGH, partial(_gets, crosskey), at_once),
            Contender(PAST, partial(_gets_by_hand, crosskey, by_hand), at_once),
        ],
        [Comparison(THROUGH, PAST)],
    )


def pages_over_all_shards(crosskey: Crosskey, by_hand: ShardedByHand) -> Case:
    """The first rows of a table in order, and the same by hand: a SELECT to each server, and a merge."""
    return Case(
        f"page of {PAGE_ROWS} over all shards",
        [
            Contender(PAGE, partial(_pages, crosskey), rows=PAGE_ROWS),
            Contender(PAST, partial(_pages_by_hand, by_hand), rows=PAGE_ROWS),
        ],
        [Comparison(PAGE, PAST, at_most=PAGE_IN_TIMES_OF_BY_HAND)],
    )


async def _pages(crosskey: Crosskey, count: int) -> Sequence[Operation]:
    return [partial(crosskey.client.list_page, "people", page_size=PAGE_ROWS)] * count


async def _pages_by_hand(by_hand: ShardedByHand, count: int) -> Sequence[Operation]:
    return [partial(by_hand.first_people, PAGE_ROWS)] * count


async def _gets(crosskey: Crosskey, count: int) -> Sequence[Operation]:
    people = [crosskey.population.known_person() for _ in range(count)]
    return [partial(crosskey.client.get, "people", {"id": person}) for person in people]


async def _gets_by_hand(crosskey: Crosskey, by_hand: ShardedByHand, count: int) -> Sequence[Operation]:
    people = [crosskey.population.known_person() for _ in range(count)]
    return [partial(by_hand.get_person, person) for person in people]
