"""The answers of a session: whoever has one writes all that wait, while others' add up to the next message.

So there is no timer, and nothing waits for time to pass.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sized
from contextlib import suppress
from typing import Any

from crosskey.message_sharing import let_others_join

MAX_MESSAGE_BYTES = 1 << 20
"""Of the answers in one message; a larger one travels alone."""

MAX_WAITING = 1000
"""With more answers waiting, the reader of the stream does not read on: its other end takes none."""

MAX_WAITING_BYTES = 16 << 20
"""The same with more bytes in them."""


class AnswerStream:
    """One direction of a stream."""

    def __init__(self, write: Callable[[Any], Awaitable[None]], response: Callable[..., Any], others: Sized) -> None:
        """`write` sends a message, which `response` makes of `answers` or `last`; `others` are calls at work."""
        self._write = write
        self._others = others
        self._response = response
        self._waiting: deque[tuple[Any, int]] = deque()
        """Answers with their sizes in bytes."""
        self._waiting_bytes = 0
        self._is_writing = False
        self.has_room = asyncio.Event()
        """Not set while too many answers wait."""
        self.has_room.set()

    def add(self, answer: Any, size: int) -> bool:
        """Puts an answer of so many bytes with those that wait. Whether the caller must `write` them: nobody does."""
        self._waiting.append((answer, size))
        self._waiting_bytes += size
        if self._is_writing:
            if not self._is_room_left():
                self.has_room.clear()
            return False
        self._is_writing = True
        return True

    async def write(self) -> None:
        """Writes what waits, and what is added meanwhile. Returns also if nobody reads any more."""
        while self._waiting:
            try:
                if self._others:
                    await let_others_join()
                await self._write(self._response(answers=self._next_answers()))
            except (asyncio.CancelledError, Exception):
                # The stream has ended, which gRPC has many ways to say. Its reader learns of it.
                self.close()
            if self._is_room_left():
                self.has_room.set()
        self._is_writing = False

    async def write_last(self) -> None:
        """Tells the reader that nothing follows. Nothing may be waiting. Returns also if nobody reads any more."""
        with suppress(Exception):
            await self._write(self._response(last=True))

    def close(self) -> None:
        """Drops what was not written."""
        self._waiting.clear()
        self._waiting_bytes = 0

    def _is_room_left(self) -> bool:
        return len(self._waiting) <= MAX_WAITING and self._waiting_bytes <= MAX_WAITING_BYTES

    def _next_answers(self) -> list[Any]:
        """What fits into the next message, of those that wait longest."""
        answers: list[Any] = []
        size = 0
        while self._waiting and (not answers or size + self._waiting[0][1] <= MAX_MESSAGE_BYTES):
            answer, answer_size = self._waiting.popleft()
            answers.append(answer)
            size += answer_size
        self._waiting_bytes -= size
        return answers
