"""Inserts of children whose parent lives on another shard, one at a time and many at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench.crosskey_side import Crosskey
from bench.interleaving import Case, Comparison, Contender, Operation
from bench.plain_postgres import ShardedByHand
from bench.population import person_row

LATER_IN_TIMES_OF_TWIN = 1.1
"""The aim: a foreign key over shards costs next to nothing once its parent is known."""

LATER_IN_TIMES_OF_BY_HAND = {1: 3.0, 64: 1.0}
FIRST_IN_TIMES_OF_LATER = 2.0

FIRST = "first reference"
LATER = "later reference"
TWIN = "without the key"
BY_HAND = "by hand: SELECT, then INSERT"


def insert_later_references(crosskey: Crosskey, by_hand: ShardedByHand, at_once: int) -> Case:
    """A child of a known parent against one without the key, and against an application on its own."""
    return Case(
        f"insert of a child across shards, known parent, {at_once} at once",
        [
            later_references(LATER, crosskey, at_once),
            Contender(TWIN, partial(_inserts_without_key, crosskey), at_once),
            Contender(BY_HAND, partial(_inserts_by_hand, crosskey, by_hand), at_once),
        ],
        [
            Comparison(LATER, TWIN, at_most=LATER_IN_TIMES_OF_TWIN),
            Comparison(LATER, BY_HAND, at_most=LATER_IN_TIMES_OF_BY_HAND.get(at_once)),
        ],
    )


def insert_first_references(crosskey: Crosskey, by_hand: ShardedByHand, at_once: int) -> Case:
    """A child of a parent that its shard has not seen, against one that it has, and against the application.

    A case of its own: what follows the answer of a first reference would be charged to later ones.
    """
    return Case(
        f"insert of a child across shards, new parent, {at_once} at once",
        [
            Contender(FIRST, partial(_first_references, crosskey), at_once),
            later_references(LATER, crosskey, at_once),
            Contender(BY_HAND, partial(_inserts_by_hand, crosskey, by_hand), at_once),
        ],
        [Comparison(FIRST, LATER, at_most=FIRST_IN_TIMES_OF_LATER), Comparison(FIRST, BY_HAND)],
    )


def later_references(name: str, crosskey: Crosskey, at_once: int) -> Contender:
    """Inserts of children of people who are referenced on every shard already."""
    return Contender(name, partial(_later_references, crosskey), at_once)


async def _first_references(crosskey: Crosskey, count: int) -> Sequence[Operation]:
    population = crosskey.population
    people = population.new_people(count)
    await crosskey.insert_all("people", [person_row(person) for person in people])
    return [partial(crosskey.client.insert, "follows", population.new_follow(person)) for person in people]


async def _later_references(crosskey: Crosskey, count: int) -> Sequence[Operation]:
    return _inserts(crosskey, "follows", count)


async def _inserts_without_key(crosskey: Crosskey, count: int) -> Sequence[Operation]:
    return _inserts(crosskey, "follows_without_key", count)


def _inserts(crosskey: Crosskey, table: str, count: int) -> Sequence[Operation]:
    population = crosskey.population
    rows = [population.new_follow(population.known_person()) for _ in range(count)]
    return [partial(crosskey.client.insert, table, row) for row in rows]


async def _inserts_by_hand(crosskey: Crosskey, by_hand: ShardedByHand, count: int) -> Sequence[Operation]:
    population = crosskey.population
    rows = [population.new_follow(population.known_person()) for _ in range(count)]
    return [partial(by_hand.insert_follow, row["follower_id"], row["followee_id"]) for row in rows]
