"""How fast a node cleans up: so many rows at a time, and a pause in between, whoever has it done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

RATE_SECONDS = 60.0
"""How far back the rate is counted."""


class Pace:
    """The batches of one process of a node."""

    def __init__(
        self,
        batch_rows: int = 1000,
        pause_ms: int = 20,
        late_seconds: float = 300.0,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """A clean-up that has not come to its end after `late_seconds` is late."""
        self.late_seconds = late_seconds
        self._batch_rows = batch_rows
        self._pause_seconds = pause_ms / 1000
        self._now = now
        self._next: dict[str, float] = {}
        self._done: dict[str, deque[tuple[float, int]]] = {}

    def take(self, referenced_key: str) -> int:
        """How many rows may be cleaned up now; 0 if it is too early for any."""
        if self._now() < self._next.get(referenced_key, 0.0):
            return 0
        self._next[referenced_key] = self._now() + self._pause_seconds
        return self._batch_rows

    def note(self, referenced_key: str, rows: int) -> None:
        """Notes a batch that is done; the pause begins now. Nothing left to do is no batch."""
        now = self._now()
        self._next[referenced_key] = now + (self._pause_seconds if rows else 0.0)
        done = self._done.setdefault(referenced_key, deque())
        if rows:
            done.append((now, rows))
        while done and done[0][0] < now - RATE_SECONDS:
            done.popleft()

    def pause_ms(self, referenced_key: str) -> int:
        """For how long no batch may follow."""
        return max(0, round((self._next.get(referenced_key, 0.0) - self._now()) * 1000))

    def rows_last_minute(self, referenced_key: str) -> int:
        """How many rows were cleaned up of late."""
        since = self._now() - RATE_SECONDS
        return sum(rows for when, rows in self._done.get(referenced_key, ()) if when >= since)
