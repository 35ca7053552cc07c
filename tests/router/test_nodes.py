"""Calls to nodes over real gRPC: deadlines, request ids, errors, bounds, and the ends of streams."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from typing_extensions import override

from crosskey import errors
from crosskey.v1 import shard_node_pb2 as proto
from crosskey.v1 import shard_node_pb2_grpc
from router.calls import nodes as nodes_module
from router.calls.call_context import call_context
from router.calls.nodes import GrpcNodes
from serving.interceptor import ErrorInterceptor
from serving.request_id import METADATA_KEY, request_id

COMMAND = proto.Command(check=proto.CheckConstraints())


class ToyNode(shard_node_pb2_grpc.ShardNodeServicer):
    """Does as the table's name says; remembers what reached it."""

    def __init__(self) -> None:
        self.seconds_left: float | None = None
        self.request_id: object = None
        self.ended = asyncio.Event()
        self.cancelled = asyncio.Event()

    @override
    async def CountRows(self, request: proto.CountRowsRequest, context: Any) -> proto.CountRowsResponse:
        self.seconds_left = context.time_remaining()
        self.request_id = dict(context.invocation_metadata()).get(METADATA_KEY)
        if request.table == "missing":
            raise errors.UnknownTable("no such table", table="missing")
        if request.table == "cancelled":
            await context.abort(grpc.StatusCode.CANCELLED)
        if request.table == "slow":
            await asyncio.sleep(30)
        return proto.CountRowsResponse(count=7)

    @override
    async def Participate(self, request_iterator: Any, context: Any) -> AsyncIterator[proto.ParticipateResponse]:
        try:
            async for request in request_iterator:
                await self._run(len(request.commands))
                yield proto.ParticipateResponse(results=[proto.CommandResult(count=request.shard)])
            self.ended.set()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def _run(self, commands: int) -> None:
        if commands == 2:
            raise errors.Conflict("lock time-out")
        if commands == 3:
            await asyncio.sleep(30)


@pytest_asyncio.fixture
async def node() -> AsyncIterator[tuple[ToyNode, GrpcNodes]]:
    """A toy node as shard 0, and nobody as shard 1."""
    toy = ToyNode()  # type: ignore[abstract]
    server = grpc.aio.server(interceptors=[ErrorInterceptor(100)])
    shard_node_pb2_grpc.add_ShardNodeServicer_to_server(toy, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    nodes = GrpcNodes([f"127.0.0.1:{port}", "127.0.0.1:1"])
    yield toy, nodes
    await nodes.close()
    await server.stop(0)


def count_rows(table: str = "users") -> proto.CountRowsRequest:
    return proto.CountRowsRequest(table=table)


async def test_a_call_passes_on_deadline_and_request_id(node: tuple[ToyNode, GrpcNodes]) -> None:
    toy, nodes = node
    token = request_id.set("abc")
    with call_context(5.0) as context:
        assert (await nodes.call(0, "CountRows", count_rows())).count == 7
    request_id.reset(token)
    assert toy.seconds_left is not None
    assert 3 < toy.seconds_left <= 5
    assert toy.request_id == "abc"
    assert context.calls == ["s0 ShardNode.CountRows"]


async def test_no_call_waits_for_ever(node: tuple[ToyNode, GrpcNodes]) -> None:
    toy, nodes = node
    with call_context(None):
        await nodes.call(0, "CountRows", count_rows())
    assert toy.seconds_left is not None


async def test_a_nodes_error_comes_back_with_its_shard(node: tuple[ToyNode, GrpcNodes]) -> None:
    with pytest.raises(errors.UnknownTable, match="no such table") as caught:
        await node[1].call(0, "CountRows", count_rows("missing"))
    assert caught.value.metadata == {"table": "missing", "shard": "0"}


async def test_a_node_that_is_down(node: tuple[ToyNode, GrpcNodes]) -> None:
    with pytest.raises(errors.ShardUnavailable, match=r"^shard 1 does not answer$") as caught:
        await node[1].call(1, "CountRows", count_rows())
    assert caught.value.retryable
    assert caught.value.metadata == {"shard": "1"}


async def test_a_node_that_cancels_a_call_because_it_stops(node: tuple[ToyNode, GrpcNodes]) -> None:
    with pytest.raises(errors.ShardUnavailable, match=r"^shard 0 does not answer$") as caught:
        await node[1].call(0, "CountRows", count_rows("cancelled"))
    assert (caught.value.answered, caught.value.retryable) == (False, False)


async def test_a_deadline_that_passes_at_a_node(node: tuple[ToyNode, GrpcNodes]) -> None:
    with call_context(0.2), pytest.raises(errors.DeadlineExceeded, match="before shard 0 answered"):
        await node[1].call(0, "CountRows", count_rows("slow"))


async def test_a_deadline_that_has_passed_makes_no_call(node: tuple[ToyNode, GrpcNodes]) -> None:
    with call_context(0.0) as context, pytest.raises(errors.DeadlineExceeded):
        await node[1].call(0, "CountRows", count_rows())
    assert context.calls == []


async def test_too_many_calls_are_refused(node: tuple[ToyNode, GrpcNodes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes_module, "MAX_CALLS_IN_FLIGHT", 1)
    slow = asyncio.create_task(node[1].call(0, "CountRows", count_rows("slow")))
    await asyncio.sleep(0.1)
    with pytest.raises(errors.Overloaded, match="too many calls to shard 0"):
        await node[1].call(0, "CountRows", count_rows())
    slow.cancel()
    await asyncio.wait([slow])
    assert (await node[1].call(0, "CountRows", count_rows())).count == 7


async def test_a_participant_answers_each_request_and_ends_its_stream(node: tuple[ToyNode, GrpcNodes]) -> None:
    toy, nodes = node
    with call_context(5.0) as context:
        async with nodes.participate(0) as participant:
            for _ in range(3):
                [result] = await participant.run([COMMAND])
                assert result.count == 0
        assert toy.ended.is_set()
    assert context.calls == ["s0 ShardNode.Participate"]


async def test_a_participant_raises_what_its_node_raised(node: tuple[ToyNode, GrpcNodes]) -> None:
    async with node[1].participate(0) as participant:
        await participant.run([COMMAND])
        with pytest.raises(errors.Conflict) as caught:
            await participant.run([COMMAND, COMMAND])
    assert caught.value.retryable
    assert caught.value.metadata == {"shard": "0"}


async def test_an_error_elsewhere_waits_for_the_rollback(node: tuple[ToyNode, GrpcNodes]) -> None:
    toy, nodes = node

    async def work() -> None:
        async with nodes.participate(0) as participant:
            await participant.run([COMMAND])
            raise errors.UniqueViolation("of another shard")

    with pytest.raises(errors.UniqueViolation):
        await work()
    assert toy.ended.is_set()


async def test_a_cancelled_participant_stops_its_command(node: tuple[ToyNode, GrpcNodes]) -> None:
    toy, nodes = node

    async def work() -> None:
        async with nodes.participate(0) as participant:
            await participant.run([COMMAND] * 3)

    task = asyncio.create_task(work())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(toy.cancelled.wait(), 5)


async def test_a_participant_of_a_node_that_is_down(node: tuple[ToyNode, GrpcNodes]) -> None:
    async with node[1].participate(1) as participant:
        with pytest.raises(errors.ShardUnavailable, match="shard 1 does not answer"):
            await participant.run([COMMAND])
