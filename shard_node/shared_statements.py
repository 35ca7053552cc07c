"""Statements of one shape that are asked for at the same moment run as one.

Those that come in one message of a stream do. Nothing waits for others to come: what is asked for alone runs alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeAlias, TypeVar

from crosskey.shard_node.postgres.epochs import call_epoch

MAX_TOGETHER = 100
"""Requests that one statement answers, at most: more hold a connection for too long, and gain little."""

Shape = TypeVar("Shape", bound=Hashable)
Request = TypeVar("Request")
Response = TypeVar("Response")

RunTogether: TypeAlias = Callable[[Shape, Sequence[Request]], Awaitable["Sequence[Response] | None"]]
"""Runs one statement for all. Answers None if it did nothing and each is to run alone, to learn of its own error."""


class SharedStatements(Generic[Shape, Request, Response]):
    """Requests that wait for the others of this moment, by their shapes."""

    def __init__(self, run_together: RunTogether[Shape, Request, Response]) -> None:
        self._run_together = run_together
        self._waiting: dict[tuple[int, Shape], list[tuple[Request, asyncio.Future[Response | None]]]] = {}
        """By the epoch of their plans, too: the task of a shared statement has that of its requests."""
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, shape: Shape, request: Request) -> Response | None:
        """What a shared statement answered to the request; None if the request is to run alone, and nothing was done.

        Raises what the shared statement raised, which all of its requests are told.
        """
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Response | None] = loop.create_future()
        planned = call_epoch.get(), shape
        together = self._waiting.get(planned)
        if together is None:
            together = self._waiting[planned] = []
            # Behind the tasks that are ready now, among them those of all calls of the same message.
            loop.call_soon(self._begin, planned)
        together.append((request, answered))
        return await answered

    def _begin(self, planned: tuple[int, Shape]) -> None:
        together = [one for one in self._waiting.pop(planned) if not one[1].done()]
        for start in range(0, len(together), MAX_TOGETHER):
            some = together[start : start + MAX_TOGETHER]
            if len(some) == 1:
                some[0][1].set_result(None)
                continue
            task = asyncio.get_running_loop().create_task(self._run(planned[1], some))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, shape: Shape, together: Sequence[tuple[Request, asyncio.Future[Response | None]]]) -> None:
        try:
            responses = await self._run_together(shape, [request for request, _ in together])
        except Exception as error:
            for _, answered in together:
                if not answered.done():
                    answered.set_exception(error)
            return
        for place, (_, answered) in enumerate(together):
            if not answered.done():
                answered.set_result(None if responses is None else responses[place])
