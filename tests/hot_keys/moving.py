"""Clients that give parents other keys, and rows other shards, while they insert children."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Coroutine, Sequence
from time import monotonic

from crosskey import AsyncClient, errors

MOVING_SCHEMA = """
CREATE TABLE moving_parents (id bigint PRIMARY KEY, name bigint NOT NULL);
COMMENT ON TABLE moving_parents IS '@shard_by id';

CREATE TABLE moving_children (
    place bigint NOT NULL,
    id bigint NOT NULL,
    parent bigint NOT NULL REFERENCES moving_parents ON UPDATE CASCADE,
    PRIMARY KEY (place, id)
);
CREATE INDEX ON moving_children (parent);
COMMENT ON TABLE moving_children IS '@shard_by place';
"""

CLIENTS = 12
NAMES = range(1, 7)
KEYS = range(1, 2 * len(NAMES) + 1)
"""At any time half of them are taken."""
PLACES = range(1, 20)
TIMEOUT_SECONDS = 20.0
_REFUSALS = (errors.ForeignKeyViolation, errors.UniqueViolation, errors.Conflict, errors.Overloaded)


class MovingClients:
    """Clients that insert children, rename parents and move children, and what they were told."""

    def __init__(self, choices: random.Random) -> None:
        self._choices = choices
        self._ids = itertools.count(1)
        self.children: list[int] = []
        """Those whose insert was acknowledged."""
        self.endings: Counter[str] = Counter()

    def summary(self) -> str:
        """How many requests ended how."""
        return "\n".join(f"{count:6} {ending}" for ending, count in sorted(self.endings.items()))

    async def act_until(self, client: AsyncClient, deadline: float) -> None:
        """Makes requests, one after the other, until the deadline by time.monotonic."""
        acts = {self._insert_child: 5, self._rename_parent: 4, self._move_child: 3}
        while monotonic() < deadline:
            (act,) = self._choices.choices(list(acts), list(acts.values()))
            await act(client)

    async def _insert_child(self, client: AsyncClient) -> None:
        child = next(self._ids)
        row = {"place": self._choices.choice(PLACES), "id": child, "parent": self._choices.choice(KEYS)}
        if await self._was_done("insert", client.insert("moving_children", row)):
            self.children.append(child)

    async def _rename_parent(self, client: AsyncClient) -> None:
        old, new = self._choices.sample(KEYS, 2)
        await self._was_done("rename", client.update("moving_parents", {"id": new}, key={"id": old}))

    async def _move_child(self, client: AsyncClient) -> None:
        child = self._choices.choice(self.children or [0])
        place = {"place": self._choices.choice(PLACES)}
        await self._was_done("move", client.update("moving_children", place, where={"id": child}))

    async def _was_done(self, kind: str, request: Coroutine[None, None, list[dict[str, object]]]) -> bool:
        """Whether the request was acknowledged. Raises what no client should be told."""
        try:
            rows = await request
        except _REFUSALS as error:
            self.endings[f"{kind}: {type(error).__name__}"] += 1
            return False
        self.endings[f"{kind}: {len(rows)} rows"] += 1
        return True


async def run_moving_clients(addresses: Sequence[str], *, seconds: float, seed: int) -> MovingClients:
    """Inserts the parents, then lets CLIENTS clients loose on them, spread over the routers at the addresses."""
    clients = [AsyncClient(address, timeout=TIMEOUT_SECONDS) for address in addresses]
    moving = MovingClients(random.Random(seed))
    try:
        await clients[0].insert("moving_parents", [{"id": name, "name": name} for name in NAMES])
        deadline = monotonic() + seconds
        turns = zip(range(CLIENTS), itertools.cycle(clients), strict=False)
        await asyncio.gather(*(moving.act_until(client, deadline) for _, client in turns))
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    return moving
