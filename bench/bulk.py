"""Many rows a request against one row a request."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench.crosskey_side import ROWS_PER_REQUEST, Crosskey
from bench.interleaving import Case, Comparison, Contender, Operation
from bench.plain_postgres import ShardedByHand
from bench.population import Row, follow_row, new_person
from bench.references import later_references

RATE_IN_TIMES_OF_ONE_ROW = 15.0
"""The aim: what a request costs by itself is shared by its rows."""

ONE_ROW = "1 row a request"
ONE_SHARD = "1,000 rows, one shard"
ALL_SHARDS = "1,000 rows, all shards"
BY_HAND = "1,000 rows, executemany"

RATE_IN_TIMES_OF_EXECUTEMANY = 0.8


def bulk_inserts(crosskey: Crosskey, by_hand: ShardedByHand) -> Case:
    """Rows a second of children across shards, all of known parents.

    By hand, the same rows go to the right servers at once, each with its own by executemany, and no key is checked.
    """
    return Case(
        "rows a request",
        [
            later_references(ONE_ROW, crosskey, at_once=1),
            Contender(ONE_SHARD, partial(_on_one_shard, crosskey), rows=ROWS_PER_REQUEST),
            Contender(ALL_SHARDS, partial(_over_all_shards, crosskey), rows=ROWS_PER_REQUEST),
            Contender(BY_HAND, partial(_by_hand, crosskey, by_hand), rows=ROWS_PER_REQUEST),
        ],
        [
            Comparison(ONE_SHARD, ONE_ROW, "rate", at_least=RATE_IN_TIMES_OF_ONE_ROW),
            Comparison(ALL_SHARDS, ONE_ROW, "rate", at_least=RATE_IN_TIMES_OF_ONE_ROW),
            Comparison(ALL_SHARDS, BY_HAND, "rate", at_least=RATE_IN_TIMES_OF_EXECUTEMANY),
        ],
    )


async def _on_one_shard(crosskey: Crosskey, count: int) -> Sequence[Operation]:
    return [partial(crosskey.client.insert, "follows", _follows_of_one(crosskey, place)) for place in range(count)]


def _follows_of_one(crosskey: Crosskey, place: int) -> list[Row]:
    """One person follows many."""
    shards = crosskey.population.shards
    follower = new_person(place % shards, shards)
    return [follow_row(follower, crosskey.population.known_person()) for _ in range(ROWS_PER_REQUEST)]


async def _over_all_shards(crosskey: Crosskey, count: int) -> Sequence[Operation]:
    return [partial(crosskey.client.insert, "follows", _follows_of_all(crosskey)) for _ in range(count)]


async def _by_hand(crosskey: Crosskey, by_hand: ShardedByHand, count: int) -> Sequence[Operation]:
    return [
        partial(by_hand.insert_many, [(row["follower_id"], row["followee_id"]) for row in _follows_of_all(crosskey)])
        for _ in range(count)
    ]


def _follows_of_all(crosskey: Crosskey) -> list[Row]:
    """Somebody new, of any shard, follows each of many."""
    population = crosskey.population
    return [population.new_follow(population.known_person()) for _ in range(ROWS_PER_REQUEST)]
