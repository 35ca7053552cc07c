"""Calls to nodes over real gRPC: deadlines, request ids, errors, bounds, branches, and streams that end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from typing_extensions import override

from crosskey import errors
from crosskey.internal.v1 import reads_pb2, session_pb2, session_pb2_grpc
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.calls import nodes as calls_to_nodes
from crosskey.router.calls.call_context import call_context
from crosskey.router.calls.nodes import Nodes
from crosskey.serving.call_handlers import CallHandlers
from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.request_id import request_id
from crosskey.serving.session import SessionTypes
from crosskey.serving.sessions import Sessions

COMMAND = proto.Command(tag="a tag", check=proto.CheckConstraints())
TYPES = SessionTypes("Session", session_pb2.Answer, session_pb2.SessionResponse)


class ToyNode(session_pb2_grpc.ShardNodeServicer):
    """Does as the table's name says; remembers what reached it. All its streams can be broken off."""

    def __init__(self) -> None:
        self.request_ids: list[str] = []
        self.left: list[int] = []
        self.slow = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.sessions = Sessions(TYPES, lambda: ToyCalls(self), CallsInFlight(1000))
        self.streams: set[asyncio.Task[None]] = set()

    @override
    async def Session(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        stream = asyncio.ensure_future(self.sessions.serve(context))
        self.streams.add(stream)
        with suppress(asyncio.CancelledError):
            await stream
        self.streams.discard(stream)
        if stream.cancelled():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "broken off")

    async def restart(self) -> None:
        """As a node that is told to stop, and another one in its place."""
        old, self.sessions = self.sessions, Sessions(TYPES, lambda: ToyCalls(self), CallsInFlight(1000))
        await old.drain()

    async def break_off(self) -> None:
        """As a node that is killed."""
        for stream in self.streams:
            stream.cancel()

    async def wait(self) -> None:
        """For as long as somebody wants it."""
        self.slow.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


class ToyCalls(CallHandlers):
    """The calls of one stream."""

    def __init__(self, node: ToyNode) -> None:
        super().__init__({"count_rows": self._count_rows, "run": self._run, "leave": self._leave})
        self._node = node

    async def _count_rows(self, request: reads_pb2.CountRowsRequest) -> reads_pb2.CountRowsResponse:
        self._node.request_ids.append(request_id.get())
        if request.table == "missing":
            raise errors.UnknownTable("no such table", table="missing")
        if request.table == "slow":
            await self._node.wait()
        return reads_pb2.CountRowsResponse(count=len(request.table))

    async def _run(self, request: proto.RunRequest) -> proto.RunResponse:
        if len(request.commands) == 2:
            raise errors.Conflict("lock time-out")
        if len(request.commands) == 3:
            await self._node.wait()
        if len(request.commands) == 4:
            failure = errors.to_failure(errors.UniqueViolation("taken"))
            return proto.RunResponse(failure=failure)
        result = proto.CommandResult(tag=request.commands[0].tag, count=request.branch)
        return proto.RunResponse(results=[result], finished=request.start == proto.RunRequest.START_PLAIN)

    async def _leave(self, request: proto.LeaveRequest) -> proto.LeaveResponse:
        self._node.left.append(request.branch)
        return proto.LeaveResponse()


class ToyServer:
    """A toy node on a port that it keeps through restarts."""

    def __init__(self) -> None:
        self.toy = ToyNode()
        self.port = 0

    async def start(self) -> None:
        """Serves."""
        self.server = grpc.aio.server()
        session_pb2_grpc.add_ShardNodeServicer_to_server(self.toy, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self.server.start()


@pytest_asyncio.fixture
async def node() -> AsyncIterator[tuple[ToyNode, Nodes]]:
    """A toy node as shard 0, and nobody as shard 1."""
    server = ToyServer()
    await server.start()
    nodes = Nodes.behind([f"127.0.0.1:{server.port}", "127.0.0.1:1"])
    yield server.toy, nodes
    await nodes.close()
    await server.server.stop(0)


def count_rows(table: str = "users") -> reads_pb2.CountRowsRequest:
    return reads_pb2.CountRowsRequest(table=table)


async def test_a_call_passes_on_its_request_id_and_is_noted(node: tuple[ToyNode, Nodes]) -> None:
    toy, nodes = node
    token = request_id.set("abc")
    with call_context(5.0) as context:
        assert (await nodes[0].count_rows(count_rows())).count == len("users")
    request_id.reset(token)
    assert toy.request_ids == ["abc"]
    assert context.calls == ["s0 ShardNode.CountRows"]


async def test_a_nodes_error_comes_back_with_its_shard(node: tuple[ToyNode, Nodes]) -> None:
    with pytest.raises(errors.UnknownTable, match="no such table") as caught:
        await node[1][0].count_rows(count_rows("missing"))
    assert caught.value.metadata == {"table": "missing", "shard": "0"}


async def test_a_node_that_is_down(node: tuple[ToyNode, Nodes]) -> None:
    for _ in range(2):
        with pytest.raises(errors.ShardUnavailable, match=r"^shard 1 does not answer$") as caught:
            await node[1][1].count_rows(count_rows())
        assert (caught.value.answered, caught.value.retryable) == (True, True)
        assert caught.value.metadata == {"shard": "1"}


async def test_a_blocked_call_holds_up_no_other(node: tuple[ToyNode, Nodes]) -> None:
    toy, nodes = node
    slow = asyncio.create_task(nodes[0].count_rows(count_rows("slow")))
    await toy.slow.wait()
    names = ["a" * length for length in range(1, 501)]
    answers = await asyncio.gather(*(nodes[0].count_rows(count_rows(name)) for name in names))
    assert [answer.count for answer in answers] == [len(name) for name in names]
    assert not slow.done()
    slow.cancel()
    await asyncio.wait([slow])


async def test_calls_in_flight_when_a_node_dies(node: tuple[ToyNode, Nodes]) -> None:
    """Nobody knows what became of them; the next call opens a new stream."""
    toy, nodes = node
    slow = [asyncio.create_task(nodes[0].count_rows(count_rows("slow"))) for _ in range(500)]
    await toy.slow.wait()
    await toy.break_off()
    await asyncio.wait(slow)
    failures = [task.exception() for task in slow]
    assert {type(failure) for failure in failures} == {errors.ShardUnavailable}
    assert {failure.answered for failure in failures if isinstance(failure, errors.ShardUnavailable)} <= {True, False}
    assert (await nodes[0].count_rows(count_rows())).count == len("users")


async def test_calls_that_a_stopping_node_has_not_begun_go_on_elsewhere(node: tuple[ToyNode, Nodes]) -> None:
    toy, nodes = node
    assert (await nodes[0].count_rows(count_rows())).count == len("users")
    streams = [*toy.streams]
    await toy.restart()
    await asyncio.wait(streams)
    assert (await nodes[0].count_rows(count_rows())).count == len("users")


async def test_whatever_is_asked_while_a_node_stops_is_answered_or_not_begun(node: tuple[ToyNode, Nodes]) -> None:
    toy, nodes = node
    failures = []
    for number in range(100):
        asked = [asyncio.create_task(nodes[0].count_rows(count_rows())) for _ in range(1 + number % 3)]
        await asyncio.wait(asked)
        await toy.restart()
        for _ in range(number % 5):
            await asyncio.sleep(0)
        asked += [asyncio.create_task(nodes[0].count_rows(count_rows())) for _ in range(1 + number % 3)]
        await asyncio.wait(asked)
        failures += [error for task in asked if (error := task.exception())]
    assert [error for error in failures if not (isinstance(error, errors.ShardUnavailable) and error.retryable)] == []


async def test_a_deadline_that_passes_at_a_node(node: tuple[ToyNode, Nodes]) -> None:
    toy, nodes = node
    with call_context(0.3), pytest.raises(errors.DeadlineExceeded):
        await nodes[0].count_rows(count_rows("slow"))
    await asyncio.wait_for(toy.cancelled.wait(), 5)


async def test_a_deadline_that_has_passed_makes_no_call(node: tuple[ToyNode, Nodes]) -> None:
    with call_context(0.0) as context, pytest.raises(errors.DeadlineExceeded):
        await node[1][0].count_rows(count_rows())
    assert context.calls == []


async def test_a_cancelled_call_is_stopped(node: tuple[ToyNode, Nodes]) -> None:
    toy, nodes = node
    slow = asyncio.create_task(nodes[0].count_rows(count_rows("slow")))
    await toy.slow.wait()
    slow.cancel()
    await asyncio.wait_for(toy.cancelled.wait(), 5)


async def test_too_many_calls_are_refused(node: tuple[ToyNode, Nodes], monkeypatch: pytest.MonkeyPatch) -> None:
    toy, nodes = node
    monkeypatch.setattr(calls_to_nodes, "MAX_CALLS_IN_FLIGHT", 1)
    slow = asyncio.create_task(nodes[0].count_rows(count_rows("slow")))
    await toy.slow.wait()
    with pytest.raises(errors.Overloaded, match="too many calls to shard 0"):
        await nodes[0].count_rows(count_rows())
    slow.cancel()
    await asyncio.wait([slow])
    assert (await nodes[0].count_rows(count_rows())).count == len("users")


async def test_branches_have_numbers_of_their_own(node: tuple[ToyNode, Nodes]) -> None:
    toy, nodes = node
    first, second = nodes[0].branch(), nodes[0].branch()
    results = [(await branch.run([COMMAND])).results[0] for branch in (first, second, first)]
    assert [result.count for result in results] == [1, 2, 1]
    assert {result.tag for result in results} == {COMMAND.tag}
    for branch in (first, second, first):
        await branch.leave()
    assert toy.left == [1, 2]


async def test_what_never_began_or_has_ended_is_not_left(node: tuple[ToyNode, Nodes]) -> None:
    toy, nodes = node
    never, finished, failed = nodes[0].branch(), nodes[0].branch(), nodes[0].branch()
    await finished.run([COMMAND], proto.RunRequest.START_PLAIN)
    with pytest.raises(errors.Conflict) as caught:
        await failed.run([COMMAND] * 2)
    assert caught.value.metadata == {"shard": "0"}
    for branch in (never, finished, failed):
        await branch.leave()
    assert toy.left == []


async def test_a_failure_behind_a_savepoint_leaves_the_branch_open(node: tuple[ToyNode, Nodes]) -> None:
    toy, nodes = node
    branch = nodes[0].branch()
    with pytest.raises(errors.UniqueViolation) as caught:
        await branch.run([COMMAND] * 4)
    assert caught.value.metadata == {"shard": "0"}
    await branch.leave()
    assert toy.left == [1]


async def test_a_branch_that_is_cancelled_is_stopped_and_left_past_the_deadline(node: tuple[ToyNode, Nodes]) -> None:
    toy, nodes = node
    with call_context(0.3):
        branch = nodes[0].branch()
        with pytest.raises(errors.DeadlineExceeded):
            await branch.run([COMMAND] * 3)
        await asyncio.wait_for(toy.cancelled.wait(), 5)
        await branch.leave()
    assert toy.left in ([], [1])


async def test_a_branch_of_a_node_that_is_down(node: tuple[ToyNode, Nodes]) -> None:
    branch = node[1][1].branch()
    with pytest.raises(errors.ShardUnavailable, match="shard 1 does not answer"):
        await branch.run([COMMAND])
    await branch.leave()
