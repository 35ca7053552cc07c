"""How many transactions may hold connections to several shards at a time: who waits, waits with empty hands.

A transaction over several shards holds a connection of the first while it waits for one of the next. With more of them
than a shard has connections, each holds what another one waits for, and nothing goes on until all have waited for too
long. So each takes a seat on every shard that it may come to before it begins, on all at the same moment; and there are
fewer seats than connections.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

from crosskey import errors
from crosskey.router.calls.call_context import current_call_context

PATIENCE = 0.5
"""So much of the time until its deadline a request may wait for seats; the rest is for its work."""

MAX_WAITING = 500
"""More are refused at once: half of what a router has in flight, so that other requests find room there."""

ENOUGH_TO_GO_BY = 10
"""Ends of transactions, before the pace is known."""

ENOUGH_TO_FORGET = 200
"""As many as the pace is taken from; of earlier ones ever less is remembered."""

LONGEST_RETRY_DELAY_MS = 10_000


@dataclass(eq=False, slots=True)
class _Waiter:
    shards: Collection[int]
    seated: asyncio.Future[None]


class Seats:
    """Those of one router, for each shard. Who comes first is seated first, but for who waits for another shard.

    So a shard that is slow holds up those that need it, and nobody else.
    """

    def __init__(self, shards: int, per_shard: int) -> None:
        self._free = [per_shard] * shards
        self._waiting: deque[_Waiter] = deque()
        self._pace = _Pace()

    @asynccontextmanager
    async def taken(self, shards: Collection[int]) -> AsyncIterator[None]:
        """Takes a seat on each of the shards, for as long as it is inside.

        Raises Overloaded if there are none after a part of the time that the request has; at once, if that is foreseen.
        """
        await self._take(shards)
        try:
            yield
        finally:
            self._add(shards, 1)
            self._pace.note_end()
            self._seat()

    async def _take(self, shards: Collection[int]) -> None:
        if not self._waiting and all(self._free[shard] for shard in shards):
            self._add(shards, -1)
            return
        patience = PATIENCE * current_call_context().remaining_seconds()
        self._check_turn_will_come(patience)
        waiter = _Waiter(shards, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._seat()
        try:
            async with asyncio.timeout(patience):
                await waiter.seated
        except TimeoutError:
            self._withdraw(waiter)
            raise self._overloaded("the turn of a transaction over several shards did not come in time") from None
        except BaseException:
            self._withdraw(waiter)
            raise

    def _check_turn_will_come(self, patience: float) -> None:
        """Raises Overloaded if it will not: who is told now can do something better than to wait."""
        if not self._waiting:
            self._pace.begin()
        if len(self._waiting) >= MAX_WAITING or self._pace.seconds_for(len(self._waiting)) > patience:
            raise self._overloaded("too many transactions over several shards wait for their turn already")

    def _overloaded(self, message: str) -> errors.Overloaded:
        """Advises to come again when those are done that wait now, and not all at the same moment."""
        error = errors.Overloaded(message)
        delay_ms = round(1000 * random.uniform(0.5, 1.5) * self._pace.seconds_for(len(self._waiting)))
        error.retry_delay_ms = min(max(delay_ms, errors.RETRY_DELAY_MS), LONGEST_RETRY_DELAY_MS)
        return error

    def _withdraw(self, waiter: _Waiter) -> None:
        """Whoever is told to stop may have been seated at the same moment."""
        if not waiter.seated.cancelled():
            self._add(waiter.shards, 1)
        self._seat()

    def _seat(self) -> None:
        """Seats whom there is room for, and forgets who does not wait any more.

        The first who finds no room keeps a seat wherever there is one: else who needs many shards would be passed by
        for ever.
        """
        kept: Collection[int] = ()
        left: deque[_Waiter] = deque()
        while self._waiting and any(self._free):
            waiter = self._waiting.popleft()
            if waiter.seated.cancelled():
                continue
            if all(self._free[shard] > (shard in kept) for shard in waiter.shards):
                self._add(waiter.shards, -1)
                waiter.seated.set_result(None)
            else:
                kept = kept or waiter.shards
                left.append(waiter)
        self._waiting.extendleft(reversed(left))

    def _add(self, shards: Collection[int], number: int) -> None:
        for shard in shards:
            self._free[shard] += number


class _Pace:
    """How fast transactions come to their ends while others wait."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Somebody waits, after nobody did: what was before says nothing."""
        self._since = monotonic()
        self._ends = 0.0

    def note_end(self) -> None:
        """One has come to its end."""
        self._ends += 1
        if self._ends >= ENOUGH_TO_FORGET:
            now = monotonic()
            self._ends, self._since = self._ends / 2, now - (now - self._since) / 2

    def seconds_for(self, number: int) -> float:
        """How long so many take; 0 if that is not known yet."""
        return number * (monotonic() - self._since) / self._ends if self._ends >= ENOUGH_TO_GO_BY else 0.0
