"""The answers of a session: whoever has one writes all that wait, while others' add up to the next message.

So there is no timer, and nothing waits when nothing is being written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

MAX_MESSAGE_BYTES = 1 << 20
"""Of the answers in one message; a larger one travels alone."""

MAX_WAITING = 1000
"""With more answers waiting, the reader of the stream does not read on: its other end takes none."""


class AnswerStream:
    """One direction of a stream."""

    def __init__(
        self, write: Callable[[Any], Awaitable[None]], response: Callable[..., Any], written: Callable[[int], None]
    ) -> None:
        """`write` sends a message, which `response` makes of `answers`; `written` is told how many are, or are lost."""
        self._write = write
        self._response = response
        self._written = written
        self._waiting: deque[Any] = deque()
        self._is_writing = False
        self._has_room = asyncio.Event()
        self._has_room.set()

    async def send(self, answer: Any) -> None:
        """Has an answer written: by this call, unless another one is writing. Returns also if nobody reads any more."""
        self._waiting.append(answer)
        if len(self._waiting) > MAX_WAITING:
            self._has_room.clear()
        if self._is_writing:
            return
        self._is_writing = True
        try:
            while self._waiting:
                await self._write_next()
        finally:
            self._is_writing = False

    async def room(self) -> None:
        """Waits while too many answers wait."""
        if not self._has_room.is_set():
            await self._has_room.wait()

    def close(self) -> None:
        """Drops what was not written."""
        self._written(len(self._waiting))
        self._waiting.clear()

    async def _write_next(self) -> None:
        answers = [self._waiting.popleft()]
        size = answers[0].ByteSize()
        while self._waiting and (size := size + self._waiting[0].ByteSize()) <= MAX_MESSAGE_BYTES:
            answers.append(self._waiting.popleft())
        try:
            await self._write(self._response(answers=answers))
        except (asyncio.CancelledError, Exception):
            # The stream has ended, which gRPC has many ways to say. Its reader learns of it.
            self.close()
        finally:
            self._written(len(answers))
            if len(self._waiting) <= MAX_WAITING:
                self._has_room.set()
