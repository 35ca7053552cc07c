"""Asking several shards at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

Answer = TypeVar("Answer")


async def fan_out(calls: Mapping[int, Coroutine[Any, Any, Answer]]) -> dict[int, Answer]:
    """Awaits one call a shard, all at once, and answers what each answered.

    The first error ends the other calls and is raised as it is.
    """
    if len(calls) == 1:
        ((shard, call),) = calls.items()
        return {shard: await call}
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {shard: group.create_task(call) for shard, call in calls.items()}
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None
    return {shard: task.result() for shard, task in tasks.items()}
