"""The answers of a session: whoever has one writes all that wait, while others' add up to the next message.

So there is no timer, and nothing waits when nothing is being written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from crosskey.serving.calls_in_flight import CallsInFlight

MAX_MESSAGE_BYTES = 1 << 20
"""Of the answers in one message; a larger one travels alone."""

MAX_WAITING = 1000
"""With more answers waiting, the reader of the stream does not read on: its other end takes none."""


class AnswerStream:
    """One direction of a stream."""

    def __init__(
        self, write: Callable[[Any], Awaitable[None]], response: Callable[..., Any], in_flight: CallsInFlight
    ) -> None:
        """`write` sends a message, which `response` makes of `answers` or `last`."""
        self._write = write
        self._response = response
        self._in_flight = in_flight
        self._waiting: deque[Any] = deque()
        self._is_writing = False
        self.has_room = asyncio.Event()
        """Not set while too many answers wait."""
        self.has_room.set()

    async def send(self, answer: Any) -> None:
        """Has an answer written: by this call, unless another one is writing. Returns also if nobody reads any more."""
        self._waiting.append(answer)
        if self._is_writing:
            if len(self._waiting) > MAX_WAITING:
                self.has_room.clear()
            return
        self._is_writing = True
        while self._waiting:
            answers = [self._waiting.popleft()] if len(self._waiting) == 1 else self._next_answers()
            try:
                await self._write(self._response(answers=answers))
            except (asyncio.CancelledError, Exception):
                # The stream has ended, which gRPC has many ways to say. Its reader learns of it.
                self.close()
            self._in_flight.number -= len(answers)
            if len(self._waiting) <= MAX_WAITING:
                self.has_room.set()
        self._is_writing = False

    async def send_last(self) -> None:
        """Tells the reader that nothing follows. Nothing may be waiting. Returns also if nobody reads any more."""
        with suppress(Exception):
            await self._write(self._response(last=True))

    def close(self) -> None:
        """Drops what was not written."""
        self._in_flight.number -= len(self._waiting)
        self._waiting.clear()

    def _next_answers(self) -> list[Any]:
        """What fits into the next message, of those that wait longest."""
        answers = [self._waiting.popleft()]
        size = answers[0].ByteSize()
        while self._waiting and (size := size + self._waiting[0].ByteSize()) <= MAX_MESSAGE_BYTES:
            answers.append(self._waiting.popleft())
        return answers
