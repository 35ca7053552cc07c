"""What follows a write, beside the same write without it: copies, events, and clean-up after a deletion."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial

from bench.crosskey_side import Crosskey
from bench.interleaving import Case, Comparison, Contender, Operation
from bench.population import Row, new_person

WITH_COPIES_IN_TIMES_OF_WITHOUT = 1.1
WITH_EVENTS_IN_TIMES_OF_WITHOUT = 1.25
WITH_CHILDREN_IN_TIMES_OF_WITHOUT = 3.0
"""The aims."""

AUTHORS = 60
CHILDREN = 300


async def fill_with_authors(crosskey: Crosskey) -> Sequence[str]:
    """Authors who are referenced on every shard; their ids."""
    population = crosskey.population
    authors = population.new_people(AUTHORS)
    await crosskey.insert_all("authors", [{"id": author, "name": "Ada", "avatar": "a.png"} for author in authors])
    for table in ("essays", "essays_with_copies"):
        shards = range(population.shards)
        rows = [_essay(new_person(shard, population.shards), author) for author in authors for shard in shards]
        await crosskey.insert_all(table, rows)
    return authors


def inserts_with_copies(crosskey: Crosskey, authors: Sequence[str], at_once: int) -> Case:
    """A later reference with two live copies against one without."""
    turns = itertools.cycle(authors)
    contenders = [
        Contender(name, partial(_inserts_of_essays, crosskey, turns, table), at_once)
        for name, table in (("two live copies", "essays_with_copies"), ("no copies", "essays"))
    ]
    comparison = Comparison("two live copies", "no copies", at_most=WITH_COPIES_IN_TIMES_OF_WITHOUT)
    return Case(f"insert with copies, {at_once} at once", contenders, [comparison])


def inserts_with_events(crosskey: Crosskey, at_once: int) -> Case:
    """A row that is told against one that is not."""
    contenders = [
        Contender(name, partial(_inserts_of_notes, crosskey, table), at_once)
        for name, table in (("with events", "notes_with_events"), ("without events", "notes"))
    ]
    comparison = Comparison("with events", "without events", at_most=WITH_EVENTS_IN_TIMES_OF_WITHOUT)
    return Case(f"insert with events, {at_once} at once", contenders, [comparison])


def deletes_with_clean_up(crosskey: Crosskey) -> Case:
    """The answer to a delete of a parent with many children over all shards, against that of one without."""
    with_children, without = f"{CHILDREN} children", "no children"
    return Case(
        "delete of a parent, its children cleaned up later",
        [
            Contender(with_children, partial(_deletes, crosskey, CHILDREN)),
            Contender(without, partial(_deletes, crosskey, 0)),
        ],
        [Comparison(with_children, without, at_most=WITH_CHILDREN_IN_TIMES_OF_WITHOUT)],
    )


@asynccontextmanager
async def delay_of_watching(crosskey: Crosskey) -> AsyncIterator[Case]:
    """From the call of an insert to its event, against the insert alone, with one watcher."""
    told: dict[str, asyncio.Event] = {}
    async with crosskey.client.watch("notes_with_events") as watch:
        reading = asyncio.create_task(_note_what_is_told(aiter(watch), told))
        until_told, alone = "until a watcher has its event", "until it is answered"
        try:
            yield Case(
                "insert, until it is told",
                [
                    Contender(until_told, partial(_inserts_until_told, crosskey, told)),
                    Contender(alone, partial(_inserts_of_notes, crosskey, "notes_with_events")),
                ],
                [Comparison(until_told, alone)],
            )
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError):
                await reading


async def _note_what_is_told(events: AsyncIterator[object], told: dict[str, asyncio.Event]) -> None:
    async for event in events:
        waiting = told.get(getattr(event, "key", ""))
        if waiting is not None:
            waiting.set()


async def _inserts_until_told(crosskey: Crosskey, told: dict[str, asyncio.Event], count: int) -> Sequence[Operation]:
    return [partial(_insert_until_told, crosskey, told, note) for note in _notes(crosskey, count)]


async def _insert_until_told(crosskey: Crosskey, told: dict[str, asyncio.Event], note: Row) -> None:
    waiting = told[note["id"]] = asyncio.Event()
    await crosskey.client.insert("notes_with_events", note)
    await waiting.wait()
    del told[note["id"]]


async def _inserts_of_essays(
    crosskey: Crosskey, authors: itertools.cycle[str], table: str, count: int
) -> Sequence[Operation]:
    people = crosskey.population.new_people(count)
    return [partial(crosskey.client.insert, table, _essay(person, next(authors))) for person in people]


async def _inserts_of_notes(crosskey: Crosskey, table: str, count: int) -> Sequence[Operation]:
    return [partial(crosskey.client.insert, table, note) for note in _notes(crosskey, count)]


def _notes(crosskey: Crosskey, count: int) -> list[Row]:
    return [{"id": number, "content": "It rains."} for number in crosskey.population.new_people(count)]


async def _deletes(crosskey: Crosskey, children: int, count: int) -> Sequence[Operation]:
    drivers = crosskey.population.new_people(count)
    await crosskey.insert_all("drivers", [{"id": driver} for driver in drivers])
    trips = crosskey.population.new_people(children * count)
    rows = [{"id": trip, "driver_id": drivers[place % count]} for place, trip in enumerate(trips)]
    await crosskey.insert_all("trips", rows)
    return [partial(crosskey.client.delete, "drivers", key={"id": driver}) for driver in drivers]


def _essay(number: str, author: str) -> Row:
    return {"id": number, "author_id": author}
