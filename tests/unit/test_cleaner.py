"""Who waits for whom when shards are asked what is to be cleaned up."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from crosskey.router.administration.cleaning_up import Cleaner
from crosskey.v1 import admin_pb2
from tests.schema_builders import column, foreign_key, plan_of, table

PLAN = plan_of(
    table("drivers", "@shard_by id", column("id")),
    table("trips", "@shard_by id", column("id"), column("driver")),
    foreign_key("trips", "driver", "drivers", on_delete="CASCADE", comment="@enforce eventual"),
)


class Cluster:
    """Knows the schema."""

    async def view(self) -> Any:
        """What is planned."""
        return type("View", (), {"plan": PLAN})


class Node:
    """Has nothing to clean up, and says so, or hangs."""

    def __init__(self, shard: int, *, hangs: bool) -> None:
        self.shard = shard
        self.asked: asyncio.Queue[None] = asyncio.Queue()
        self._hangs = hangs

    async def list_cleanups(self, _: object) -> admin_pb2.ListCleanupsResponse:
        """Nothing, if it answers."""
        await self.asked.put(None)
        if self._hangs:
            await asyncio.Event().wait()
        return admin_pb2.ListCleanupsResponse()


async def test_a_shard_that_hangs_keeps_no_other_from_being_asked() -> None:
    hanging, fine = Node(0, hangs=True), Node(1, hangs=False)
    cleaner = Cleaner(cast(Any, Cluster()), cast(Any, [hanging, fine]), cast(Any, None))
    running = asyncio.create_task(cleaner.run())
    async with asyncio.timeout(20):
        await hanging.asked.get()
        for _ in range(5):
            await fine.asked.get()
            cleaner.deleted()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
