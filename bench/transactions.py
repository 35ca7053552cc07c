"""Transactions of two rows on two shards, through Crosskey and by hand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench.crosskey_side import Crosskey
from bench.interleaving import Case, Comparison, Contender, Operation
from bench.plain_postgres import ShardedByHand
from bench.population import Row
from crosskey import insert

THROUGH = "Transact"
BY_HAND = "by hand: PREPARE TRANSACTION"

IN_TIMES_OF_BY_HAND = {1: 3.0, 32: 2.0}

TABLE = "follows_without_key"


def transactions_over_two_shards(crosskey: Crosskey, by_hand: ShardedByHand, at_once: int) -> Case:
    """Two inserts, all or none. By hand nobody notes the decision, so that a crash between leaves it to a person."""
    return Case(
        f"transaction over two shards, {at_once} at once",
        [
            Contender(THROUGH, partial(_transactions, crosskey), at_once),
            Contender(BY_HAND, partial(_by_hand, crosskey, by_hand), at_once),
        ],
        [Comparison(THROUGH, BY_HAND, at_most=IN_TIMES_OF_BY_HAND.get(at_once))],
    )


async def _transactions(crosskey: Crosskey, count: int) -> Sequence[Operation]:
    return [
        partial(crosskey.client.transact, [insert(TABLE, row) for row in _two_rows(crosskey)]) for _ in range(count)
    ]


async def _by_hand(crosskey: Crosskey, by_hand: ShardedByHand, count: int) -> Sequence[Operation]:
    pairs = [[(row["follower_id"], row["followee_id"]) for row in _two_rows(crosskey)] for _ in range(count)]
    return [partial(by_hand.insert_on_two, one, other) for one, other in pairs]


def _two_rows(crosskey: Crosskey) -> list[Row]:
    """Rows that live on two shards."""
    followee = crosskey.population.known_person()
    return crosskey.population.follows_on_every_shard([followee])[:2]
