"""Clients that write to the same few parents and their children, all at once."""

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic

from crosskey import AsyncClient, errors, requests
from tests.hot_keys.families import DEFAULT_PARENT, HOT_KEYS, Family
from tests.hot_keys.history import Attempt, History

CLIENTS = 16
TIMEOUT_SECONDS = 20.0
PLACES = 30
MAX_ROWS = 4
PAUSE_SECONDS = 0.05
"""After a server did not answer: it needs a moment to come back."""

_child_ids = itertools.count(1)

Act = Callable[[], Coroutine[None, None, Attempt]]


class HotKeyClient:
    """One client, and the random choices that it makes."""

    def __init__(self, client: AsyncClient, family: Family, history: History, choices: random.Random) -> None:
        self._client = client
        self._family = family
        self._history = history
        self._choices = choices
        self._acts: dict[Act, int] = {
            self._insert_children: 12,
            self._delete_parent: 5,
            self._insert_parent: 5,
            self._replace_parent: 1,
            # Only so can a parent of these ever go.
            self._delete_children: 4 if family.action in ("RESTRICT", "NO ACTION") else 1,
        }

    async def act_until(self, deadline: float) -> None:
        """Makes requests, one after the other, until the deadline by time.monotonic."""
        while monotonic() < deadline:
            (act,) = self._choices.choices(list(self._acts), list(self._acts.values()))
            if isinstance((await act()).error, errors.ShardUnavailable):
                await asyncio.sleep(PAUSE_SECONDS)

    async def _insert_children(self) -> Attempt:
        parent = self._hot_key()
        ids = tuple(itertools.islice(_child_ids, self._choices.randint(1, MAX_ROWS)))
        rows = [{"place": self._choices.randint(1, PLACES), "id": child, "parent": parent} for child in ids]
        with self._history.attempt("insert children", parent, ids) as attempt:
            await self._client.insert(self._family.children, rows)
        return attempt

    async def _delete_children(self) -> Attempt:
        parent = self._hot_key()
        with self._history.attempt("delete children", parent) as attempt:
            attempt.deleted = await self._client.delete(self._family.children, where={"parent": parent}) > 0
        return attempt

    async def _insert_parent(self) -> Attempt:
        parent = self._hot_key()
        with self._history.attempt("insert parent", parent) as attempt:
            await self._client.insert(self._family.parents, {"id": parent})
        return attempt

    async def _delete_parent(self) -> Attempt:
        parent = self._hot_key()
        with self._history.attempt("delete parent", parent) as attempt:
            attempt.deleted = await self._client.delete(self._family.parents, key={"id": parent}) > 0
        return attempt

    async def _replace_parent(self) -> Attempt:
        parent = self._hot_key()
        statements: list[requests.Write] = [
            requests.delete(self._family.parents, key={"id": parent}),
            requests.insert(self._family.parents, {"id": parent}),
        ]
        with self._history.attempt("replace parent", parent) as attempt:
            count, _ = await self._client.transact(statements)
            attempt.deleted = count == 1
        return attempt

    def _hot_key(self) -> int:
        return self._choices.choice(HOT_KEYS)


async def run_clients(addresses: Sequence[str], family: Family, *, seconds: float, seed: int) -> History:
    """Inserts the parents, then lets CLIENTS clients loose on them, spread over the routers at the addresses."""
    history = History()
    clients = [AsyncClient(address, timeout=TIMEOUT_SECONDS) for address in addresses]
    try:
        await _insert_all_parents(clients[0], family, history)
        deadline = monotonic() + seconds
        turns = [
            HotKeyClient(client, family, history, random.Random(f"{seed} {family.name} {number}"))
            for number, client in zip(range(CLIENTS), itertools.cycle(clients), strict=False)
        ]
        await asyncio.gather(*(turn.act_until(deadline) for turn in turns))
    finally:
        await asyncio.gather(*(client.close() for client in clients))
    return history


async def _insert_all_parents(client: AsyncClient, family: Family, history: History) -> None:
    await client.insert(family.parents, {"id": DEFAULT_PARENT})
    for parent in HOT_KEYS:
        with history.attempt("insert parent", parent):
            await client.insert(family.parents, {"id": parent})
