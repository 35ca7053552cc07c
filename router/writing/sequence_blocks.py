"""Numbers drawn ahead from the user's sequences, a block at a time, and each given once.

All routers draw from the sequence on one shard, where PostgreSQL gives no number twice; so neither do they. What is
left of a block when a router stops is a gap.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from crosskey.catalog.model import TableName
from crosskey.internal.v1 import generated_values_pb2 as proto
from crosskey.router.calls.node_errors import safe_to_retry
from crosskey.router.calls.nodes import Nodes
from crosskey.router.planning.writes import FIRST_SHARD

FIRST_BLOCK = 32
"""As many as PostgreSQL itself logs at a time: what a crash of its server skips anyway."""

LARGEST_BLOCK = 4096
"""Some milliseconds' work for PostgreSQL, and a gap that an integer can afford."""

FIRST_EPOCH = 1
BUSY_SECONDS = 1.0
IDLE_SECONDS = 60.0


def next_block(size: int, lasted_seconds: float) -> int:
    """How large the block after one of that size is to be: larger if it was soon used up, smaller if it lasted long."""
    if lasted_seconds < BUSY_SECONDS:
        return min(2 * size, LARGEST_BLOCK)
    return max(size // 2, FIRST_BLOCK) if lasted_seconds > IDLE_SECONDS else size


@dataclass
class _Stock:
    """The numbers that are left of one sequence; `wanted` is how many all who are taking some still need."""

    numbers: deque[int] = field(default_factory=deque)
    wanted: int = 0
    block: int = FIRST_BLOCK
    drawn_at: float = -IDLE_SECONDS
    drawing: asyncio.Lock = field(default_factory=asyncio.Lock)


class SequenceBlocks:
    """A router's numbers of every sequence."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._stocks: dict[TableName, _Stock] = {}
        self._epoch = FIRST_EPOCH

    def keep_up(self, epoch: int) -> None:
        """Gives up all numbers if the schema is a newer one: a name may be another sequence's by now."""
        if epoch > self._epoch:
            self._epoch = epoch
            self._stocks = {}

    def left(self, sequence: TableName) -> Sequence[int]:
        """The numbers that come next, as far as they are drawn already."""
        stock = self._stocks.get(sequence)
        return () if stock is None else tuple(stock.numbers)

    async def take(self, sequence: TableName, count: int, *, soon: int = 0) -> list[int]:
        """The next numbers, in order; `soon` is how many more the caller is going to take.

        No RPC if there are enough left; all who need more meanwhile share one. Raises PostgreSQL's error if the
        sequence has not as many, and what calls to nodes raise.
        """
        stock = self._stocks.setdefault(sequence, _Stock())
        stock.wanted += count
        try:
            while len(stock.numbers) < count:
                async with stock.drawing:
                    if len(stock.numbers) < count:
                        await self._draw(sequence, stock, count, soon)
            return [stock.numbers.popleft() for _ in range(count)]
        finally:
            stock.wanted -= count

    def forget(self, sequence: TableName) -> None:
        """Gives up the numbers that are left: rows that were loaded may have them."""
        stock = self._stocks.get(sequence)
        if stock is not None:
            stock.numbers.clear()

    async def _draw(self, sequence: TableName, stock: _Stock, count: int, soon: int) -> None:
        """Adds a block that is large enough for `count`, and if PostgreSQL has as many, for all who wait."""
        now = time.monotonic()
        block = next_block(stock.block, now - stock.drawn_at)
        left = len(stock.numbers)
        request = proto.DrawNumbersRequest(
            sequence=sequence.qualified,
            needed=count - left,
            wanted=max(block, stock.wanted + soon - left),
        )
        # Whoever does not learn of the numbers may draw others.
        with safe_to_retry():
            response = await self._nodes[FIRST_SHARD].draw_numbers(request)
        stock.numbers.extend(response.numbers)
        stock.block, stock.drawn_at = block, now
