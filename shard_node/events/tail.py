"""The last events of the outbox, in memory: many watchers share one read of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from crosskey.shard_node.events.outbox import Bounds, Entry, size_of

MAX_TAIL_BYTES = 8 * 1024 * 1024
"""Who has fallen further behind reads the outbox."""


class Tail:
    """All events behind position `begin`, up to position `end`."""

    def __init__(self, begin: int) -> None:
        """Has none yet."""
        self.begin = begin
        self.end = begin
        self._positions: list[int] = []
        self._events: list[Entry] = []
        self._bytes = 0

    def add(self, events: Sequence[Entry], end: int) -> None:
        """Adds those that come next, up to a position; forgets the first ones if all are too many."""
        self._positions += [event.position for event in events]
        self._events += events
        self._bytes += sum(map(size_of, events))
        self.end = end
        forgotten = 0
        while self._bytes > MAX_TAIL_BYTES:
            self._bytes -= size_of(self._events[forgotten])
            self.begin = self._positions[forgotten]
            forgotten += 1
        del self._positions[:forgotten], self._events[:forgotten]

    def after(self, position: int, bounds: Bounds) -> list[Entry]:
        """The events behind a position that is not before `begin`, within bounds but for the first of them."""
        found: list[Entry] = []
        total = 0
        for place in range(bisect_right(self._positions, position), len(self._events)):
            if len(found) == bounds.events or total >= bounds.bytes:
                break
            found.append(self._events[place])
            total += size_of(self._events[place])
        return found
