"""One of several publishers leads: it watches, publishes, and then keeps the position. The others stand by.

What is published and not kept yet when an anchor goes is published once more by the next one: at least once, in the
order of each row. The bus drops the repeats, or consumers do, by the id.

A position is kept only once the schema, asked after the position was reached, still has the same tables with @events.
So the kept one is before the first event of a table that a migration has added, and who goes on from there loses none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import aclosing, suppress
from typing import Any

import structlog

from crosskey import errors
from crosskey.client import AsyncClient
from crosskey.publisher.bus import Bus, BusUnavailable, LostLead
from crosskey.watching import AsyncWatch, Event

RETRY_SECONDS = 1.0

_log = structlog.get_logger(__name__)


class TablesChanged(Exception):
    """Other tables than those that are watched have @events now."""


class Publisher:
    """A publisher called `holder`, one of those with the name `consumer`; runs until cancelled."""

    def __init__(
        self,
        client: AsyncClient,
        bus: Bus,
        *,
        consumer: str,
        holder: str,
        tables: Sequence[str] = (),
        lease_seconds: float = 15.0,
    ) -> None:
        """With no tables, all that have @events."""
        self._client = client
        self._bus = bus
        self._consumer = consumer
        self._holder = holder
        self._tables = tables
        self._lease_seconds = lease_seconds
        self._held_until = 0.0
        self._token = ""
        """Behind what this one has published since it leads."""
        self._kept = ""
        """What the cluster keeps: the same, or somewhat before."""
        self.published = 0
        """How many events this process has published."""

    async def run(self) -> None:
        """Publishes whenever it leads.

        Raises BusRefused, and what somebody has to look at: EventsGone, InvalidPageToken, UnknownTable, InvalidRequest.
        """
        try:
            while True:
                try:
                    await self._lead()
                except TablesChanged as change:
                    _log.info("watching anew", reason=str(change))
                    continue
                except (BusUnavailable, LostLead) as error:
                    _log.warning("not published; tried again", error=str(error))
                except (errors.ShardUnavailable, errors.DeadlineExceeded, errors.Overloaded, errors.Cancelled) as error:
                    _log.warning("not published; tried again", error=error.message)
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            await self._let_go()

    async def _lead(self) -> None:
        """Waits until it leads, and publishes as long as it does."""
        if not await self._hold():
            await asyncio.sleep(self._lease_seconds / 3)
            return
        try:
            await self._bus.connect()
            tables = await self._watched()
            after = await self._bus.position(tables) or self._kept
            async with self._client.watch(tables, after=after) as watch:
                # What was committed before is told to nobody, if nothing was kept; from here on all is.
                self._token = self._kept = watch.token
                await self._hold()
                _log.info("leading", consumer=self._consumer, goes_on=bool(after))
                try:
                    await self._until_first(self._publish_all(watch), self._prolong(tables))
                except (BusUnavailable, asyncio.CancelledError):
                    # So that less comes again.
                    with suppress(errors.CrosskeyError, TablesChanged):
                        await self._keep(tables)
                    raise
        finally:
            await self._bus.close()

    async def _until_first(self, *works: Coroutine[Any, Any, None]) -> None:
        """Runs all at once; the first that fails ends the others, and is raised."""
        tasks = [asyncio.create_task(work) for work in works]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    async def _watched(self) -> Sequence[str]:
        if self._tables:
            return self._tables
        schema = await self._client.describe_schema()
        tables = [table.table for table in schema.tables if table.events]
        if not tables:
            raise errors.InvalidRequest("no table has the tag @events")
        return tables

    async def _publish_all(self, watch: AsyncWatch) -> None:
        batch: list[Event] = []
        async with aclosing(watch.with_resolved()) as told:
            async for one in told:
                if isinstance(one, Event):
                    batch.append(one)
                # The events of an answer of the router, at most a thousand, have no token of their own but the last.
                elif batch or one.token != self._token:
                    await self._publish(batch, one.token)
                    batch = []
        raise errors.ShardUnavailable("the stream of events has ended")

    async def _publish(self, events: Sequence[Event], token: str) -> None:
        if _now() > self._held_until:
            raise LostLead("it is too long ago that this publisher was told that it leads")
        await self._bus.publish(events, token)
        self.published += len(events)
        self._token = token

    async def _prolong(self, tables: Sequence[str]) -> None:
        """Keeps the position now and then, and with it the lead."""
        while True:
            await asyncio.sleep(min(1.0, self._lease_seconds / 3))
            await self._keep(tables)
            kept = self._kept
            if not await self._hold() or self._kept != kept:
                raise LostLead("another publisher leads, or has led")

    async def _keep(self, tables: Sequence[str]) -> None:
        """What is published is to be kept, unless other tables have @events by now: then it may be behind theirs."""
        token = self._token
        if await self._watched() != tables:
            raise TablesChanged("other tables have @events than before")
        self._kept = token

    async def _hold(self) -> bool:
        """Whether this one leads; what is published is kept, or else what was kept is known."""
        asked = _now()
        position = await self._client.hold_position(
            self._consumer, self._holder, lease=self._lease_seconds, resume_token=self._kept
        )
        if not position.held:
            self._kept = ""
            return False
        self._held_until = asked + self._lease_seconds
        # It is another one than was told if somebody else has led since, or this one begins.
        self._kept = position.resume_token
        return True

    async def _let_go(self) -> None:
        """Lets the next one begin at once."""
        try:
            if _now() <= self._held_until:
                await self._client.hold_position(self._consumer, self._holder, lease=0, resume_token=self._kept)
        except errors.CrosskeyError as error:
            _log.info("the lead ends by itself", error=error.message)


def _now() -> float:
    return asyncio.get_running_loop().time()
