"""Asking several shards at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from crosskey import errors

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


async def fan_out_to_the_end(calls: Mapping[int, Coroutine[Any, Any, Answer]]) -> dict[int, Answer]:
    """As `fan_out`, but no call is ended by another's error, so that each shard is in a known state afterwards.

    Of several errors, one that ends the transaction is raised; or else one that names its statement, as the others came
    later; or else that of the first shard in the order of `calls`.
    """
    answers = await asyncio.gather(*calls.values(), return_exceptions=True)
    done = {
        shard: answer for shard, answer in zip(calls, answers, strict=True) if not isinstance(answer, BaseException)
    }
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    if failures:
        raise min(failures, key=_rank)
    return done


async def fan_out_until_all_ended(calls: Mapping[int, Coroutine[Any, Any, Answer]]) -> dict[int, Answer]:
    """As `fan_out_to_the_end`, for calls of which several may be to one shard.

    Of several errors the first in time is raised: on its shard, the others came of it.
    """
    failures: list[BaseException] = []

    async def noting_failure(call: Coroutine[Any, Any, Answer]) -> Answer:
        try:
            return await call
        except BaseException as failure:
            failures.append(failure)
            raise

    answers = await asyncio.gather(*map(noting_failure, calls.values()), return_exceptions=True)
    if failures:
        raise failures[0]
    return {
        place: answer for place, answer in zip(calls, answers, strict=True) if not isinstance(answer, BaseException)
    }


def _rank(failure: BaseException) -> int:
    if not isinstance(failure, errors.STATEMENT_ERRORS):
        return 0
    return 1 if "statement" in failure.metadata else 2
