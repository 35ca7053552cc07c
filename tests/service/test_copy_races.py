"""Names of hot parents change while rows that copy them come on all shards: not one copy is ever wrong.

`make soak-copies` runs this for as long as it is told.
"""

import asyncio
import itertools
import random
from collections import Counter
from time import monotonic

import pytest

from crosskey import AsyncClient, errors, insert, update
from crosskey.local_cluster.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.hot_keys.settings import run_seconds, run_seed, say
from tests.shard_sql import prepared, query_all

pytestmark = pytest.mark.searches

SECONDS = 3.0
CLIENTS = 12
TIMEOUT_SECONDS = 20.0
AUDIT_SECONDS = 120.0
SINGERS = range(1, 7)
ENVIRONMENT = {"CROSSKEY_LOCK_TIMEOUT_MS": "400"}

SCHEMA = """
CREATE TABLE singers (id bigint PRIMARY KEY, name text NOT NULL);
COMMENT ON TABLE singers IS '@shard_by id';
CREATE TABLE songs (
    id bigint PRIMARY KEY,
    singer bigint NOT NULL REFERENCES singers ON DELETE CASCADE ON UPDATE CASCADE,
    singer_name text NOT NULL,
    name_then text NOT NULL
);
COMMENT ON TABLE songs IS '@shard_by id';
COMMENT ON COLUMN songs.singer_name IS '@copy singer.name';
COMMENT ON COLUMN songs.name_then IS '@copy singer.name snapshot';
CREATE TABLE covers (
    id bigint PRIMARY KEY,
    song bigint NOT NULL REFERENCES songs ON DELETE CASCADE ON UPDATE CASCADE,
    singer_name text NOT NULL
);
COMMENT ON TABLE covers IS '@shard_by id';
COMMENT ON COLUMN covers.singer_name IS '@copy song.singer_name';
CREATE TABLE stages (
    singer bigint REFERENCES singers ON DELETE CASCADE ON UPDATE CASCADE,
    id bigint,
    singer_name text NOT NULL,
    PRIMARY KEY (singer, id)
);
COMMENT ON TABLE stages IS '@shard_by singer';
COMMENT ON COLUMN stages.singer_name IS '@copy singer.name';
"""

_numbers = itertools.count(100)


class RacingClient:
    """One client, and the random choices that it makes."""

    def __init__(self, client: AsyncClient, choices: random.Random, done: Counter[str]) -> None:
        self._client = client
        self._choices = choices
        self._done = done
        self._songs: list[int] = []

    async def act_until(self, deadline: float) -> None:
        """Write, one request after the other; lost races and parents that have gone are part of it."""
        acts = [self._rename] * 3 + [self._sing] * 5 + [self._cover] * 3
        acts += [self._build, self._hand_over, self._forget, self._move, self._replace]
        while monotonic() < deadline:
            act = self._choices.choice(acts)
            try:
                await act()
                self._done[act.__name__] += 1
            except (errors.Conflict, errors.ForeignKeyViolation, errors.UniqueViolation) as error:
                self._done[f"{act.__name__}: {type(error).__name__}"] += 1

    def _singer(self) -> int:
        return self._choices.choice(SINGERS)

    async def _rename(self) -> None:
        name = f"name{next(_numbers)}"
        rows = await self._client.update("singers", {"name": name}, key={"id": self._singer()})
        assert all(row["name"] == name for row in rows)

    async def _sing(self) -> None:
        songs = [next(_numbers) for _ in range(self._choices.randint(1, 3))]
        rows = await self._client.insert("songs", [{"id": song, "singer": self._singer()} for song in songs])
        # Taken at the same moment.
        assert all(row["singer_name"] == row["name_then"] for row in rows)
        self._songs += songs

    async def _cover(self) -> None:
        if self._songs:
            await self._client.insert("covers", {"id": next(_numbers), "song": self._choices.choice(self._songs)})

    async def _build(self) -> None:
        await self._client.insert("stages", {"id": next(_numbers), "singer": self._singer()})

    async def _hand_over(self) -> None:
        if self._songs:
            await self._client.update(
                "songs", {"singer": self._singer()}, key={"id": self._choices.choice(self._songs)}
            )

    async def _forget(self) -> None:
        if self._songs:
            song = self._songs.pop(self._choices.randrange(len(self._songs)))
            await self._client.delete("songs", key={"id": song})

    async def _move(self) -> None:
        """To another id, and so to another shard; its covers follow by their key."""
        if self._songs:
            place, moved = self._choices.randrange(len(self._songs)), next(_numbers)
            if await self._client.update("songs", {"id": moved}, key={"id": self._songs[place]}):
                self._songs[place] = moved

    async def _replace(self) -> None:
        """A new name and a song that copies it, in one transaction."""
        singer, song = self._singer(), next(_numbers)
        await self._client.transact(
            [
                update("singers", {"name": f"name{next(_numbers)}"}, key={"id": singer}),
                insert("songs", {"id": song, "singer": singer}),
            ]
        )
        self._songs.append(song)


@pytest.fixture(scope="module")
def raced(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster with two routers, which know nothing of each other."""
    return fresh_cluster(SCHEMA, routers=2, node_environment=ENVIRONMENT)


async def test_names_change_while_rows_copy_them(raced: LocalCluster) -> None:
    seed, seconds = run_seed(), run_seconds(SECONDS)
    done: Counter[str] = Counter()
    async with AsyncClient(raced.address, timeout=AUDIT_SECONDS) as client:
        await client.insert("singers", [{"id": singer, "name": f"first{singer}"} for singer in SINGERS])
        await asyncio.gather(
            *(_run_one(raced, seed + number, monotonic() + seconds, done) for number in range(CLIENTS))
        )
        say(f"{done}")
        assert await client.audit() == []
    assert prepared(raced) == []
    names = dict(query_all(raced, "SELECT id, name FROM singers"))
    songs = {
        song: (singer, name) for song, singer, name in query_all(raced, "SELECT id, singer, singer_name FROM songs")
    }
    assert [song for song, (singer, name) in songs.items() if names[singer] != name] == []
    covers = query_all(raced, "SELECT id, song, singer_name FROM covers")
    assert [cover for cover, song, name in covers if songs[song][1] != name] == []
    stages = query_all(raced, "SELECT id, singer, singer_name FROM stages")
    assert [stage for stage, singer, name in stages if names[singer] != name] == []


async def _run_one(raced: LocalCluster, seed: int, deadline: float, done: Counter[str]) -> None:
    address = raced.routers[seed % 2].address
    async with AsyncClient(address, timeout=TIMEOUT_SECONDS) as client:
        await RacingClient(client, random.Random(seed), done).act_until(deadline)
