"""Deletes of parents whose children live on all shards, against the same deletes on one server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from bench.crosskey_side import Crosskey
from bench.interleaving import Case, Comparison, Contender, Operation
from bench.plain_postgres import OneServer
from bench.population import Population, Row, follow_row, new_person, person_row

IN_TIMES_OF_ONE_SERVER = {1: 15.0, 1000: 5.0}
"""The aims, by how many children there are."""


def deletes_of_parents(crosskey: Crosskey, plain: OneServer, children: int) -> Case:
    """A delete that cascades to that many children."""
    over_shards, on_one = "Delete", "on one PostgreSQL server"
    return Case(
        f"delete of a parent with {children:,} children over all shards",
        [
            Contender(over_shards, partial(_deletes, crosskey, children)),
            Contender(on_one, partial(_plain_deletes, crosskey.population, plain, children)),
        ],
        [Comparison(over_shards, on_one, at_most=IN_TIMES_OF_ONE_SERVER.get(children))],
    )


async def _deletes(crosskey: Crosskey, children: int, count: int) -> Sequence[Operation]:
    people = crosskey.population.new_people(count)
    await crosskey.insert_all("people", [person_row(person) for person in people])
    await crosskey.insert_all("follows", _followers(crosskey.population, people, children))
    return [partial(crosskey.client.delete, "people", key={"id": person}) for person in people]


async def _plain_deletes(population: Population, plain: OneServer, children: int, count: int) -> Sequence[Operation]:
    people = population.new_people(count)
    await plain.insert_people(people)
    await plain.insert_follows(_followers(population, people, children))
    return [partial(plain.delete_person, person) for person in people]


def _followers(population: Population, people: Sequence[str], children: int) -> list[Row]:
    """Rows that follow each of the people, in turn on every shard."""
    shards = population.shards
    return [follow_row(new_person(place % shards, shards), person) for person in people for place in range(children)]
