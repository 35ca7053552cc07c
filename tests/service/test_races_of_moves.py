"""Parents change their keys, and rows their shards, while children come: nothing is lost, doubled or orphaned."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Coroutine
from time import monotonic

import pytest

from crosskey import AsyncClient, errors
from crosskey_cli.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.hot_keys.settings import run_seconds, run_seed, say
from tests.shard_sql import prepared, query_all

SCHEMA = """
CREATE TABLE parents (id bigint PRIMARY KEY, name bigint NOT NULL);
COMMENT ON TABLE parents IS '@shard_by id';

CREATE TABLE children (
    place bigint NOT NULL,
    id bigint NOT NULL,
    parent bigint NOT NULL REFERENCES parents ON UPDATE CASCADE,
    PRIMARY KEY (place, id)
);
CREATE INDEX ON children (parent);
COMMENT ON TABLE children IS '@shard_by place';
"""

SECONDS = 4.0
CLIENTS = 12
NAMES = range(1, 7)
KEYS = range(1, 2 * len(NAMES) + 1)
"""At any time half of them are taken."""
PLACES = range(1, 20)
TIMEOUT_SECONDS = 20.0
AUDIT_SECONDS = 60.0

ENVIRONMENT = {"CROSSKEY_LOCK_TIMEOUT_MS": "400"}
REFUSALS = (errors.ForeignKeyViolation, errors.UniqueViolation, errors.Conflict, errors.Overloaded)


class MovingClients:
    """Clients that insert children, rename parents and move children, and what they were told."""

    def __init__(self, choices: random.Random) -> None:
        self._choices = choices
        self._ids = itertools.count(1)
        self.children: list[int] = []
        """Those whose insert was acknowledged."""
        self.endings: Counter[str] = Counter()

    async def act_until(self, client: AsyncClient, deadline: float) -> None:
        """Makes requests, one after the other, until the deadline by time.monotonic."""
        acts = {self._insert_child: 5, self._rename_parent: 4, self._move_child: 3}
        while monotonic() < deadline:
            (act,) = self._choices.choices(list(acts), list(acts.values()))
            await act(client)

    async def _insert_child(self, client: AsyncClient) -> None:
        child = next(self._ids)
        row = {"place": self._choices.choice(PLACES), "id": child, "parent": self._choices.choice(KEYS)}
        if await self._was_done("insert", client.insert("children", row)):
            self.children.append(child)

    async def _rename_parent(self, client: AsyncClient) -> None:
        old, new = self._choices.sample(KEYS, 2)
        await self._was_done("rename", client.update("parents", {"id": new}, key={"id": old}))

    async def _move_child(self, client: AsyncClient) -> None:
        child = self._choices.choice(self.children or [0])
        place = {"place": self._choices.choice(PLACES)}
        await self._was_done("move", client.update("children", place, where={"id": child}))

    async def _was_done(self, kind: str, request: Coroutine[None, None, list[dict[str, object]]]) -> bool:
        """Whether the request was acknowledged. Raises what no client should be told."""
        try:
            rows = await request
        except REFUSALS as error:
            self.endings[f"{kind}: {type(error).__name__}"] += 1
            return False
        self.endings[f"{kind}: {len(rows)} rows"] += 1
        return True


@pytest.fixture(scope="module")
def moved(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, routers=2, node_environment=ENVIRONMENT)


async def test_clients_race_while_rows_move(moved: LocalCluster) -> None:
    seed, seconds = run_seed(), run_seconds(SECONDS)
    clients = [AsyncClient(router.address, timeout=TIMEOUT_SECONDS) for router in moved.routers]
    await clients[0].insert("parents", [{"id": name, "name": name} for name in NAMES])
    moving = MovingClients(random.Random(seed))
    deadline = monotonic() + seconds
    turns = zip(range(CLIENTS), itertools.cycle(clients), strict=False)
    await asyncio.gather(*(moving.act_until(client, deadline) for _, client in turns))
    say("\n".join(f"{count:6} {ending}" for ending, count in sorted(moving.endings.items())))
    assert await clients[0].with_timeout(AUDIT_SECONDS).audit() == []
    assert prepared(moved) == []
    parents = dict(query_all(moved, "SELECT name, id FROM parents"))
    assert sorted(parents) == list(NAMES)
    children = query_all(moved, "SELECT id, parent FROM children")
    assert [child for child, _ in children] == sorted(moving.children)
    assert {parent for _, parent in children} <= set(parents.values())
    await asyncio.gather(*(client.close() for client in clients))
