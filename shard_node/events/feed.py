"""What watchers of a shard share: one connection that asks every few milliseconds how far the outbox is settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import psycopg
import structlog

from crosskey import errors
from crosskey.pauses import growing_pauses
from crosskey.shard_node.events.outbox import Bounds, Entry, events_gone, read_outbox
from crosskey.shard_node.events.settled import Settled
from crosskey.shard_node.events.tail import Tail
from crosskey.shard_node.postgres.database import Connection, Database
from crosskey.shard_node.postgres.postgres_errors import translated
from crosskey.shard_node.postgres.server_identity import leads_home

POLL_SECONDS = 0.02
"""How often PostgreSQL is asked while somebody watches: half of it is the delay that it adds to an event."""

LINGER_SECONDS = 5.0
"""For how long it is asked on when nobody waits: the next call of a watcher comes soon."""

FIRST_LOOK_SECONDS = 1.0
"""How long a read waits at least until it is known how far the outbox is settled: without that it knows nothing."""

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
"""Before it is asked again when it did not answer."""

POLL_BOUNDS = Bounds(events=1000, bytes=1024 * 1024)
"""Of one read of the outbox into the tail."""

# What was drawn before is forgotten by no crash from then on.
_KEEP_POSITIONS = b"SELECT crosskey.keep_numbers()"

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Batch:
    """Events in order, and the position to go on behind; `position` is None if it is not known yet.

    All that was committed before the time `resolved` has been given by then; None if that is not so. There are no
    other events up to the position `through`, which a crash may forget.
    """

    entries: Sequence[Entry] = ()
    position: int | None = None
    resolved: datetime | None = None
    through: int = 0


class EventFeed:
    """The events of one shard for all watchers of this process. To be closed."""

    def __init__(self, database: Database) -> None:
        """Asks nothing before somebody reads."""
        self._database = database
        self._settled: Settled | None = None
        self._tail: Tail | None = None
        self._looks = 0
        self._changed = asyncio.Event()
        self._waiting = 0
        self._last_wanted = 0.0
        self._polling: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Ends what asks PostgreSQL."""
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling

    async def now(self, wait_seconds: float) -> Batch:
        """A position behind which all is that is committed from now on, once that is known; else none."""
        deadline = _now() + wait_seconds
        async with self._watching():
            looks = self._looks
            while not self._has_looked_since(looks):
                if not await self._change(deadline):
                    return Batch()
            drawn = self._settled.drawn if self._settled is not None else None
            while drawn is not None and (self._tail is None or self._tail.end < drawn):
                if not await self._change(deadline):
                    return Batch()
        if drawn is None:
            return Batch()
        async with self._database.connection() as connection:
            with translated():
                await connection.execute(_KEEP_POSITIONS)
        return Batch(position=drawn)

    async def read(self, after: int, bounds: Bounds, wait_seconds: float) -> Batch:
        """The next events behind a position, as soon as there are some. Raises EventsGone."""
        deadline = _now() + wait_seconds
        first_look = max(deadline, _now() + FIRST_LOOK_SECONDS)
        async with self._watching():
            looks = self._looks
            known: Tail | None = None
            is_late = False
            while True:
                tail = self._tail
                if tail is not known or tail is None:
                    # What a former connection knew of is forgotten with it.
                    known, read_to = tail, after
                if tail is not None and read_to < tail.begin:
                    events, read_to = await self._read_outbox(read_to, tail.end, bounds)
                    if not events:
                        continue
                else:
                    events = [] if tail is None else tail.after(read_to, bounds)
                if events:
                    return self._batch(events, tail)
                if is_late:
                    # Nothing has changed since the tail was looked at.
                    if self._is_future(after) and self._has_looked_since(looks):
                        raise events_gone()
                    return Batch((), after, self._resolved(tail), after if tail is None else max(after, tail.end))
                # Another process may have given the position out since this one last looked.
                knows_too_little = tail is None or (self._is_future(after) and not self._has_looked_since(looks))
                is_late = not await self._change(first_look if knows_too_little else deadline)

    async def _read_outbox(self, after: int, up_to: int, bounds: Bounds) -> tuple[list[Entry], int]:
        """Events that the tail does not have any more, and up to where there are no others."""
        async with self._database.connection() as connection:
            with translated():
                events, _ = await read_outbox(connection, after, up_to, bounds)
        return events, events[-1].position if events else up_to

    def _batch(self, events: Sequence[Entry], tail: Tail | None) -> Batch:
        """Only positions of events are told: a crash may forget one that is not committed."""
        position = events[-1].position
        is_last = tail is not None and position >= tail.begin and not tail.after(position, Bounds(1, 1))
        if tail is None or not is_last:
            return Batch(events, position, None, position)
        return Batch(events, position, self._resolved(tail), max(position, tail.end))

    def _resolved(self, tail: Tail | None) -> datetime | None:
        """Up to when all is in the tail."""
        settled = self._settled
        if tail is None or settled is None or settled.position != tail.end:
            return None
        return settled.time

    def _is_future(self, after: int) -> bool:
        """Whether nobody had drawn a position at the last look; if that stays so, its time was undone."""
        drawn = None if self._settled is None else self._settled.drawn
        return drawn is not None and after > drawn

    def _has_looked_since(self, looks: int) -> bool:
        """Whether a look has begun and ended since there were so many: the first that ended may have begun before."""
        return self._looks >= looks + 2

    @asynccontextmanager
    async def _watching(self) -> AsyncIterator[None]:
        """PostgreSQL is asked meanwhile."""
        self._waiting += 1
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll())
        try:
            yield
        finally:
            self._waiting -= 1
            self._last_wanted = _now()

    async def _change(self, deadline: float) -> bool:
        """Waits until something may have changed; False if the time is over before."""
        try:
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _tell(self) -> None:
        """Wakes all that wait."""
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def _is_wanted(self) -> bool:
        return self._waiting > 0 or _now() - self._last_wanted < LINGER_SECONDS

    async def _poll(self) -> None:
        pauses, looks = growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS), self._looks
        while self._is_wanted:
            try:
                connection = await self._database.connect()
                async with connection:
                    await self._follow(connection)
            except (psycopg.Error, errors.CrosskeyError) as error:
                _log.warning("events not read", error=str(error))
                if self._looks > looks:  # PostgreSQL had answered before.
                    pauses, looks = growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS), self._looks
                await asyncio.sleep(next(pauses))
            finally:
                self._settled = self._tail = None

    async def _follow(self, connection: Connection) -> None:
        """Keeps the tail up to date as long as it is wanted. Raises psycopg.Error."""
        if not await leads_home(connection):
            raise errors.ShardUnavailable("the shard's PostgreSQL was replaced")
        settled = self._settled = Settled(connection)
        while self._is_wanted:
            await settled.look()
            self._looks += 1
            if settled.position is not None:
                await self._extend(connection, settled.position)
            self._tell()
            await asyncio.sleep(POLL_SECONDS)

    async def _extend(self, connection: Connection, position: int) -> None:
        """Reads what is settled by now."""
        if self._tail is None:
            self._tail = Tail(position)
        tail = self._tail
        while tail.end < position:
            events, are_all = await read_outbox(connection, tail.end, position, POLL_BOUNDS)
            tail.add(events, position if are_all else events[-1].position)
            self._tell()


def _now() -> float:
    return asyncio.get_running_loop().time()
