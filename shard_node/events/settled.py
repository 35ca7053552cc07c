"""Up to which position all events are settled: committed and visible, or rolled back and never to come.

Positions are drawn from a sequence by transactions that are still open. So it is noted how many are drawn, and behind
that a transaction id is taken: whoever has drawn one of them has a smaller id. Once no transaction with a smaller id is
open or prepared, all these positions are settled. docs/decisions/0034-events-from-an-outbox.md tells why nothing
simpler will do.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import NamedTuple

from crosskey.shard_node.postgres.database import Connection

_DRAWN = b"""
SELECT CASE WHEN is_called THEN last_value ELSE 0 END, statement_timestamp() FROM crosskey.event_position_seq
"""
# Each statement has its own snapshot, so the second one is taken with the id taken.
_TAKE_ID = b"SELECT pg_current_xact_id()::text; SELECT pg_snapshot_xmin(pg_current_snapshot())::text"
_OLDEST_OPEN = b"SELECT pg_snapshot_xmin(pg_current_snapshot())::text"

MAX_MARKS = 1000
"""While a transaction stays open, marks pile up behind it; then the last one is replaced."""


class _Mark(NamedTuple):
    """All positions up to `drawn` were drawn by transactions with smaller ids than `transaction`.

    What was committed before `time` has one of them.
    """

    drawn: int
    transaction: int
    time: datetime


class Settled:
    """What one connection knows of it; to be forgotten with the connection.

    A crash of PostgreSQL may forget positions and ids that nobody committed, and give them anew.
    """

    def __init__(self, connection: Connection) -> None:
        """Knows nothing yet; `look` does."""
        self._connection = connection
        self._marks: deque[_Mark] = deque()
        self.drawn: int | None = None
        """The last position that was drawn when it was last looked; None before."""
        self.position: int | None = None
        """All positions up to here are settled; None if that is not known of any yet."""
        self.time: datetime | None = None
        """What was committed before this time has a position up to there."""

    async def look(self) -> None:
        """Looks how far it is by now. Raises psycopg.Error."""
        row = await (await self._connection.execute(_DRAWN)).fetchone()
        assert row is not None, "a sequence is one row"
        drawn, time = row
        if drawn == self.position:
            self.time = time
        elif drawn != self.drawn:
            self._pass(await self._mark(drawn, time))
        else:
            row = await (await self._connection.execute(_OLDEST_OPEN)).fetchone()
            assert row is not None, "a snapshot has an oldest transaction"
            self._pass(int(row[0]))
        self.drawn = drawn

    async def _mark(self, drawn: int, time: datetime) -> int:
        """Adds a mark. Answers the id of the oldest transaction that is open."""
        cursor = await self._connection.execute(_TAKE_ID, prepare=False)
        taken = await cursor.fetchone()
        cursor.nextset()
        oldest = await cursor.fetchone()
        assert taken is not None, "an id is taken"
        assert oldest is not None, "a snapshot has an oldest transaction"
        if len(self._marks) == MAX_MARKS:
            self._marks.pop()
        self._marks.append(_Mark(drawn, int(taken[0]), time))
        return int(oldest[0])

    def _pass(self, oldest_open: int) -> None:
        """Takes note of the marks whose transactions have all ended."""
        while self._marks and self._marks[0].transaction <= oldest_open:
            mark = self._marks.popleft()
            self.position, self.time = mark.drawn, mark.time
