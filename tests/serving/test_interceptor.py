"""What a caller sees of a handler's errors, whichever of the four kinds it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs

from crosskey import errors
from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.interceptor import ErrorInterceptor
from tests.serving import toy_server

pytestmark = pytest.mark.processes

MAX_IN_FLIGHT = 3
LOG_SECONDS = 10
KINDS = list(toy_server.HANDLERS)


class Toy:
    """Calls the toy's handlers with one request each and collects all responses."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel

    async def call(self, kind: str, request: bytes, **options: Any) -> list[bytes]:
        """Returns all responses."""
        method = f"/toy.Toy/{kind}"
        match kind:
            case "UnaryUnary":
                return [await self.channel.unary_unary(method)(request, **options)]
            case "UnaryStream" | "UnaryWritten":
                return [response async for response in self.channel.unary_stream(method)(request, **options)]
            case "StreamUnary":
                return [await self.channel.stream_unary(method)(iter([request]), **options)]
            case _:
                return [r async for r in self.channel.stream_stream(method)(iter([request]), **options)]

    async def refused(self, kind: str, request: bytes, **options: Any) -> grpc.aio.AioRpcError:
        """Returns the error that the call must end with."""
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(kind, request, **options)
        return caught.value


async def written(lines: list[Any], count: int) -> None:
    """Waits for that many log lines: an error is on its way to the caller before its line is written."""
    async with asyncio.timeout(LOG_SECONDS):
        while len(lines) < count:  # noqa: ASYNC110 - nothing tells that a line was written
            await asyncio.sleep(0.001)


@pytest.fixture
async def toy() -> AsyncIterator[Toy]:
    server = grpc.aio.server(interceptors=[ErrorInterceptor(CallsInFlight(MAX_IN_FLIGHT))])
    toy_server.register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Toy(channel)
    await server.stop(0)


@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_passes(toy: Toy, kind: str) -> None:
    assert (await toy.call(kind, b"hello"))[-1] == b"hello"


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_arrives_as_what_it_was(toy: Toy, kind: str) -> None:
    refused = await toy.refused(kind, b"refuse")
    error = errors.from_rpc_error(refused)
    assert refused.code() is grpc.StatusCode.ALREADY_EXISTS
    assert type(error) is errors.UniqueViolation
    assert error.message == refused.details() == "taken"
    assert error.metadata == {"table": "users", "shard": "1"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_very_long_error_arrives_with_its_details(toy: Toy, kind: str) -> None:
    error = errors.from_rpc_error(await toy.refused(kind, b"refuse at length"))
    assert type(error) is errors.InvalidValue
    assert set(error.metadata) == {"detail", "key"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_crash_tells_the_caller_nothing_and_the_log_everything(toy: Toy, kind: str) -> None:
    with capture_logs() as lines:
        refused = await toy.refused(kind, b"crash", metadata=(("crosskey-request-id", "r-1"),))
        await written(lines, 2)
    assert refused.code() is grpc.StatusCode.INTERNAL
    assert refused.details() == "internal error; see the server's log, request id r-1"
    assert "hunter2" not in repr(refused)
    assert errors.from_rpc_error(refused).metadata == {"request_id": "r-1"}
    assert [line["event"] for line in lines] == ["unhandled exception", "call"]
    assert lines[0]["exc_info"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_handlers_own_abort_passes(toy: Toy, kind: str) -> None:
    refused = await toy.refused(kind, b"abort")
    assert (refused.code(), refused.details()) == (grpc.StatusCode.OUT_OF_RANGE, "the handler's own")


@pytest.mark.parametrize("kind", KINDS)
async def test_every_call_has_one_log_line(toy: Toy, kind: str) -> None:
    with capture_logs() as lines:
        await toy.call(kind, b"hello")
        await written(lines, 1)
        await toy.refused(kind, b"refuse")
        await written(lines, 2)
    assert [(line["method"], line["code"], line["reason"]) for line in lines] == [
        (f"/toy.Toy/{kind}", "OK", None),
        (f"/toy.Toy/{kind}", "ALREADY_EXISTS", "UNIQUE_VIOLATION"),
    ]
    assert all(line["duration_ms"] >= 0 for line in lines)


async def test_a_request_id_is_adopted(toy: Toy) -> None:
    assert await toy.call("UnaryUnary", b"request id", metadata=(("crosskey-request-id", "mine"),)) == [b"mine"]


async def test_a_request_id_is_cut_to_a_bearable_length(toy: Toy) -> None:
    [identifier] = await toy.call("UnaryUnary", b"request id", metadata=(("crosskey-request-id", "x" * 500),))
    assert identifier == b"x" * 64


async def test_a_request_without_an_id_gets_one_of_its_own(toy: Toy) -> None:
    first, second = [await toy.call("UnaryUnary", b"request id") for _ in range(2)]
    assert first != second
    assert all(len(identifier) == 16 for identifier in (*first, *second))


async def test_a_cancelled_call_is_logged_as_cancelled_and_leaves_room(toy: Toy) -> None:
    with capture_logs() as lines:
        await asyncio.gather(*(toy.refused("UnaryUnary", b"wait long", timeout=0.1) for _ in range(MAX_IN_FLIGHT)))
        assert await toy.call("UnaryUnary", b"hello") == [b"hello"]
    assert [line["code"] for line in lines] == ["CANCELLED"] * MAX_IN_FLIGHT + ["OK"]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "StreamStream"])
async def test_calls_over_the_bound_are_refused_as_retryable(toy: Toy, kind: str) -> None:
    waiting = [asyncio.create_task(toy.call(kind, b"wait")) for _ in range(MAX_IN_FLIGHT)]
    await asyncio.sleep(0.2)
    error = errors.from_rpc_error(await toy.refused(kind, b"hello"))
    assert type(error) is errors.Overloaded
    assert error.retryable
    await asyncio.gather(*waiting)
    assert (await toy.call(kind, b"hello"))[-1] == b"hello"


async def test_a_session_counts_its_calls_and_is_none_itself(toy: Toy) -> None:
    waiting = [asyncio.create_task(toy.call("StreamStream", b"wait long")) for _ in range(MAX_IN_FLIGHT)]
    full = [asyncio.create_task(toy.call("UnaryUnary", b"wait")) for _ in range(MAX_IN_FLIGHT)]
    await asyncio.sleep(0.2)
    assert await toy.call("StreamStream", b"hello") == [b"hello"]
    assert type(errors.from_rpc_error(await toy.refused("UnaryUnary", b"hello"))) is errors.Overloaded
    await asyncio.gather(*full)
    assert await toy.call("UnaryUnary", b"hello") == [b"hello"]
    for call in waiting:
        call.cancel()
    await asyncio.wait(waiting)


async def test_an_unknown_method_is_unimplemented(toy: Toy) -> None:
    refused = await toy.refused("UnaryUnary2", b"hello")
    assert refused.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_garbage_instead_of_a_message_is_an_invalid_request(toy: Toy) -> None:
    call = toy.channel.unary_unary("/crosskey.v1.Router/Count")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff\xff\xff")
    assert isinstance(errors.from_rpc_error(caught.value), errors.InvalidRequest)
    assert caught.value.details() == "the request is not a message of the method's type"
