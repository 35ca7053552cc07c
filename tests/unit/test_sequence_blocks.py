"""Numbers drawn ahead: each given once, few RPCs, one refill for all who wait."""

import asyncio
import itertools

import pytest

from crosskey import errors
from crosskey.catalog.model import TableName
from crosskey.internal.v1 import generated_values_pb2 as proto
from crosskey.internal.v1 import session_pb2
from crosskey.router.calls.nodes import Nodes
from crosskey.router.writing.sequence_blocks import FIRST_BLOCK, LARGEST_BLOCK, SequenceBlocks, next_block
from tests.fake_nodes import FakeNode

SEQUENCE = TableName("public", "numbers")


class CountingNodes(Nodes):
    """Nodes with a sequence of a number of numbers; it answers once the event loop has gone round."""

    def __init__(self, numbers: int = 1_000_000) -> None:
        super().__init__([FakeNode(0, self._draw)])
        self.requests: list[proto.DrawNumbersRequest] = []
        self._remaining = iter(range(1, numbers + 1))

    async def _draw(self, _: int, call: session_pb2.Call) -> session_pb2.Answer:
        request = call.draw_numbers
        self.requests.append(request)
        await asyncio.sleep(0)
        numbers = [*itertools.islice(self._remaining, request.wanted)]
        if len(numbers) < request.needed:
            raise errors.InvalidValue("nextval: reached maximum value")
        return session_pb2.Answer(draw_numbers=proto.DrawNumbersResponse(numbers=numbers))


@pytest.mark.parametrize(
    ("size", "lasted_seconds", "following"),
    [
        (FIRST_BLOCK, 1e6, FIRST_BLOCK),
        (FIRST_BLOCK, 0.1, 2 * FIRST_BLOCK),
        (256, 10.0, 256),
        (256, 100.0, 128),
        (LARGEST_BLOCK, 0.1, LARGEST_BLOCK),
    ],
)
def test_a_block_is_larger_the_sooner_the_last_was_used_up(size: int, lasted_seconds: float, following: int) -> None:
    assert next_block(size, lasted_seconds) == following


async def test_a_block_is_used_before_the_next_is_drawn() -> None:
    nodes = CountingNodes()
    blocks = SequenceBlocks(nodes)
    taken = [number for _ in range(FIRST_BLOCK) for number in await blocks.take(SEQUENCE, 1)]
    assert taken == [*range(1, FIRST_BLOCK + 1)]
    assert len(nodes.requests) == 1
    assert await blocks.take(SEQUENCE, 2) == [FIRST_BLOCK + 1, FIRST_BLOCK + 2]
    assert [request.wanted for request in nodes.requests] == [FIRST_BLOCK, 2 * FIRST_BLOCK]


async def test_a_large_request_is_one_rpc_and_takes_what_is_left_first() -> None:
    nodes = CountingNodes()
    blocks = SequenceBlocks(nodes)
    await blocks.take(SEQUENCE, FIRST_BLOCK - 2)
    assert blocks.left(SEQUENCE) == (FIRST_BLOCK - 1, FIRST_BLOCK)
    assert len(await blocks.take(SEQUENCE, 1000)) == 1000
    assert [(request.needed, request.wanted) for request in nodes.requests][1:] == [(998, 998)]


async def test_all_who_wait_share_a_refill() -> None:
    nodes = CountingNodes()
    blocks = SequenceBlocks(nodes)
    taken = await asyncio.gather(*(blocks.take(SEQUENCE, 10) for _ in range(20)))
    numbers = [number for each in taken for number in each]
    assert sorted(numbers) == [*range(1, 201)]
    assert len(nodes.requests) <= 2


async def test_what_is_taken_soon_is_drawn_along() -> None:
    nodes = CountingNodes()
    blocks = SequenceBlocks(nodes)
    await blocks.take(SEQUENCE, 100, soon=300)
    await blocks.take(SEQUENCE, 300)
    assert [(request.needed, request.wanted) for request in nodes.requests] == [(100, 400)]


async def test_whoever_needs_fewer_than_are_left_gets_them() -> None:
    blocks = SequenceBlocks(CountingNodes(numbers=5))
    assert await blocks.take(SEQUENCE, 3) == [1, 2, 3]
    with pytest.raises(errors.InvalidValue):
        await blocks.take(SEQUENCE, 3)
    assert await blocks.take(SEQUENCE, 2) == [4, 5]


async def test_a_caller_that_gives_up_does_not_hold_up_the_others() -> None:
    blocks = SequenceBlocks(CountingNodes())
    impatient = asyncio.create_task(blocks.take(SEQUENCE, 1))
    patient = asyncio.create_task(blocks.take(SEQUENCE, 1))
    await asyncio.sleep(0)
    impatient.cancel()
    assert len(await patient) == 1
    assert impatient.cancelled()


async def test_numbers_are_given_up_with_the_schema_that_they_were_drawn_by() -> None:
    nodes = CountingNodes()
    blocks = SequenceBlocks(nodes)
    blocks.keep_up(2)
    await blocks.take(SEQUENCE, 1)
    blocks.keep_up(2)
    assert blocks.left(SEQUENCE)
    blocks.keep_up(3)
    assert blocks.left(SEQUENCE) == ()
    # A request that still goes by the older schema changes nothing.
    await blocks.take(SEQUENCE, 1)
    blocks.keep_up(2)
    assert blocks.left(SEQUENCE)
    assert len(nodes.requests) == 2
