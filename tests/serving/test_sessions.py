"""Many calls on one stream, over real gRPC: none holds up another, and all end with the stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from crosskey import errors
from crosskey.internal.v1 import reads_pb2, session_pb2
from crosskey.serving.answer_stream import MAX_WAITING, MAX_WAITING_BYTES, AnswerStream
from tests.serving.toy_session import MAX_IN_FLIGHT, ToyClient, ToyServer, act, leave, served, wait

pytestmark = pytest.mark.processes

Toy = tuple[ToyServer, grpc.aio.Channel, grpc.aio.Server]


@pytest_asyncio.fixture
async def toy() -> AsyncIterator[Toy]:
    async with served() as toy:
        yield toy


@pytest_asyncio.fixture
async def server(toy: Toy) -> ToyServer:
    return toy[0]


@pytest_asyncio.fixture
async def client(toy: Toy) -> ToyClient:
    return ToyClient(toy[1])


def failure_of(answer: session_pb2.Answer) -> errors.CrosskeyError:
    """The error that was answered."""
    assert answer.HasField("failure"), answer
    return errors.from_failure(answer.failure)


async def test_a_call_that_waits_holds_up_no_other(server: ToyServer, client: ToyClient) -> None:
    await client.send(wait(1, "slow"), act(2, "four"))
    await client.send(act(3, "five!"))
    answers = await client.answers(2)
    assert {number: answer.count_rows.count for number, answer in answers.items()} == {2: 4, 3: 5}
    server.gates["slow"].set()
    assert (await client.answers(1))[1].read.rows_json == b"slow"


async def test_answers_that_wait_travel_together(server: ToyServer, client: ToyClient) -> None:
    number = MAX_IN_FLIGHT
    await client.send(*(wait(call, "all") for call in range(1, number + 1)))
    await server.until(lambda: "all" in server.waiting)
    server.gates["all"].set()
    assert len(await client.answers(number)) == number
    assert len(client.messages) < number / 2


async def test_an_answer_too_large_to_share_a_message_travels_alone(server: ToyServer, client: ToyClient) -> None:
    words = ["a" * 700_000, "b" * 700_000, "c" * 1_500_000, "d"]
    await client.send(*(wait(number, word) for number, word in enumerate(words, start=1)))
    await server.until(lambda: len(server.waiting) == len(words))
    for word in words:
        server.gates[word].set()
    answers = await client.answers(len(words))
    assert [answers[number].read.rows_json.decode() for number in range(1, 5)] == words
    for message in client.messages:
        assert len(message.answers) == 1 or message.ByteSize() <= (1 << 20) + 100


async def test_a_cancelled_call_is_stopped_and_not_answered(server: ToyServer, client: ToyClient) -> None:
    await client.send(wait(1, "given up"), wait(2, "wanted"))
    await server.until(lambda: server.waiting == {"given up", "wanted"})
    await client.send(session_pb2.Call(id=3, cancel=1))
    await server.until(lambda: server.stopped == ["given up"])
    server.gates["wanted"].set()
    await client.send(act(4))
    assert set(await client.answers(2)) == {2, 4}


async def test_a_call_is_cancelled_before_it_has_begun(server: ToyServer, client: ToyClient) -> None:
    await client.send(wait(1, "never"), session_pb2.Call(id=2, cancel=1), act(3))
    assert set(await client.answers(1)) == {3}
    assert server.waiting == set()
    # Nor does it count as being in flight.
    await client.send(*(wait(number, "room") for number in range(4, 4 + MAX_IN_FLIGHT)))
    await server.until(lambda: "room" in server.waiting)
    server.gates["room"].set()
    assert all(answer.HasField("read") for answer in (await client.answers(MAX_IN_FLIGHT)).values())


async def test_what_is_cancelled_may_have_ended_already(client: ToyClient) -> None:
    await client.send(act(1))
    await client.answers(1)
    await client.send(session_pb2.Call(id=2, cancel=1), session_pb2.Call(id=3, cancel=99), act(4))
    assert set(await client.answers(1)) == {4}


async def test_a_call_ends_with_its_deadline(server: ToyServer, client: ToyClient) -> None:
    await client.send(wait(1, "long", timeout_ms=1), act(2, timeout_ms=60_000))
    answers = await client.answers(2)
    assert isinstance(failure_of(answers[1]), errors.DeadlineExceeded)
    assert answers[2].HasField("count_rows")
    assert server.stopped == ["long"]


async def test_errors_arrive_as_what_they_were(client: ToyClient) -> None:
    with capture_logs() as lines:
        await client.send(act(1, "refuse", request_id="r-1"))
        await client.send(act(2, "crash", request_id="r-2"))
        answers = await client.answers(2)
    refused, crashed = failure_of(answers[1]), failure_of(answers[2])
    assert (type(refused), refused.message, refused.metadata) == (errors.UniqueViolation, "taken", {"table": "users"})
    assert type(crashed) is errors.InternalError
    assert crashed.message == "internal error; see the server's log, request id r-2"
    calls = {line["reason"]: (line["method"], line["code"]) for line in lines if line["event"] == "call"}
    assert calls == {"UNIQUE_VIOLATION": ("Toy/count_rows", "ALREADY_EXISTS"), None: ("Toy/count_rows", "INTERNAL")}
    assert any(line["event"] == "unhandled exception" for line in lines)


async def test_each_call_has_its_own_request_id(client: ToyClient) -> None:
    await client.send(act(1, "request id", request_id="a"), act(2, "request id", request_id="b"))
    answers = await client.answers(2)
    assert (answers[1].count_rows.count, answers[2].count_rows.count) == (0xA, 0xB)


async def test_calls_over_the_bound_are_refused(toy: Toy, server: ToyServer, client: ToyClient) -> None:
    """The bound is on all sessions together."""
    other = ToyClient(toy[1])
    await other.send(*(wait(number, "full") for number in range(1, MAX_IN_FLIGHT)))
    await server.until(lambda: "full" in server.waiting)
    await client.send(wait(1, "full"), act(2), act(3))
    refused = [failure_of(answer) for answer in (await client.answers(2)).values()]
    assert [type(error) for error in refused] == [errors.Overloaded, errors.Overloaded]
    server.gates["full"].set()
    await other.answers(MAX_IN_FLIGHT - 1)
    await client.answers(1)
    await client.send(act(4))
    assert (await client.answers(1))[4].HasField("count_rows")


async def test_a_client_that_takes_no_answers_keeps_no_room_from_others(
    toy: Toy, server: ToyServer, client: ToyClient
) -> None:
    """Its calls are done; what waits is bounded, and then its stream is not read on."""
    slow = ToyClient(toy[1])
    await slow.send(*(wait(number, "a" * 150_000) for number in range(1, MAX_IN_FLIGHT + 1)))
    await server.until(lambda: server.waiting)
    server.gates["a" * 150_000].set()
    while server.in_flight.number:  # noqa: ASYNC110 - nothing tells that a call has ended
        await asyncio.sleep(0.001)
    await client.send(act(1))
    assert (await client.answers(1))[1].HasField("count_rows")
    assert len(await slow.answers(MAX_IN_FLIGHT)) == MAX_IN_FLIGHT


async def test_the_number_of_a_call_in_flight_is_refused(server: ToyServer, client: ToyClient) -> None:
    await client.send(wait(1, "first"))
    await server.until(lambda: "first" in server.waiting)
    await client.send(act(1))
    refused = failure_of((await client.answers(1))[1])
    assert isinstance(refused, errors.InvalidRequest)
    server.gates["first"].set()
    assert (await client.answers(1))[1].HasField("read")


@pytest.mark.parametrize("call", [session_pb2.Call(id=1), session_pb2.Call(id=1, sort=reads_pb2.SortRequest())])
async def test_a_call_that_nobody_knows_is_refused_alone(client: ToyClient, call: session_pb2.Call) -> None:
    await client.send(call, act(2))
    answers = await client.answers(2)
    assert isinstance(failure_of(answers[1]), errors.InvalidRequest)
    assert answers[2].HasField("count_rows")


async def test_a_message_that_is_refused_refuses_its_calls(client: ToyClient) -> None:
    await client.send(act(1), act(2), shard=7)
    await client.send(act(3))
    answers = await client.answers(3)
    assert [type(failure_of(answers[number])) for number in (1, 2)] == [errors.WrongShard] * 2
    assert answers[3].HasField("count_rows")


async def test_garbage_ends_the_stream(toy: Toy, server: ToyServer) -> None:
    stream: Any = toy[1].stream_stream("/crosskey.internal.v1.ShardNode/Session")()
    await stream.write(session_pb2.SessionRequest(calls=[wait(1, "lost")]).SerializeToString())
    await server.until(lambda: server.waiting == {"lost"})
    await stream.write(b"\xff\xff\xff")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stream.read()
    assert isinstance(errors.from_rpc_error(caught.value), errors.InvalidRequest)
    assert server.stopped == ["lost"]


async def test_a_stream_that_breaks_off_stops_its_calls_and_ends_what_was_begun(
    server: ToyServer, client: ToyClient
) -> None:
    await client.send(act(1, "hold"), wait(2, "lost"))
    await server.until(lambda: server.waiting == {"lost"})
    client.stream.cancel()
    await server.until(lambda: server.opened[0].closed)
    assert server.stopped == ["lost"]


async def test_a_stream_without_further_calls_is_answered_to_its_end(server: ToyServer, client: ToyClient) -> None:
    await client.send(act(1, "hold"), wait(2, "last"))
    await client.stream.done_writing()
    await server.until(lambda: server.waiting == {"last"})
    server.gates["last"].set()
    assert set(await client.answers(2)) == {1, 2}
    assert await client.ends() is grpc.StatusCode.OK
    assert server.opened[0].closed


async def test_an_idle_session_ends_at_once_when_the_server_is_about_to_stop(
    server: ToyServer, client: ToyClient
) -> None:
    await client.send(act(1))
    await client.answers(1)
    await server.sessions.drain()
    await client.is_told_the_last()
    await client.stream.done_writing()
    assert await client.ends() is grpc.StatusCode.OK


async def test_what_is_sent_before_the_last_message_is_read_is_not_begun(server: ToyServer, client: ToyClient) -> None:
    await client.send(act(1))
    await client.answers(1)
    await server.idle()
    await server.sessions.drain()
    await client.send(wait(2, "late"))
    await client.is_told_the_last()
    await client.send(wait(3, "later"))
    await client.stream.done_writing()
    assert await client.ends() is grpc.StatusCode.OK
    assert server.waiting == set()


async def test_what_is_under_way_is_ended_when_the_server_is_about_to_stop(
    server: ToyServer, client: ToyClient
) -> None:
    await client.send(act(1, "hold"), wait(2, "under way"))
    await server.until(lambda: server.waiting == {"under way"})
    await server.sessions.drain()
    await client.send(act(3))
    answers = await client.answers(2)
    assert set(answers) == {1, 3}
    refused = failure_of(answers[3])
    assert isinstance(refused, errors.ShardUnavailable)
    assert refused.retryable
    server.gates["under way"].set()
    await client.answers(1)
    await client.send(leave(4))
    assert set(await client.answers(1)) == {4}
    await client.is_told_the_last()
    await client.stream.done_writing()
    assert await client.ends() is grpc.StatusCode.OK


async def test_a_server_that_stops_does_not_wait_for_idle_sessions(toy: Toy, server: ToyServer) -> None:
    client = ToyClient(toy[1])
    await client.send(act(1))
    await client.answers(1)
    await server.sessions.drain()
    await client.is_told_the_last()
    await client.stream.done_writing()
    await toy[2].stop(60)
    assert await client.ends() is grpc.StatusCode.OK


async def test_ten_thousand_calls_at_once_are_shed_and_none_is_lost(server: ToyServer, client: ToyClient) -> None:
    await client.send(*(wait(number, "kept") for number in range(1, MAX_IN_FLIGHT + 1)))
    for number in range(1000, 11_000, 1000):
        await client.send(*(act(call) for call in range(number, number + 1000)))
    answers = await client.answers(10_000)
    assert {type(failure_of(answer)) for answer in answers.values()} == {errors.Overloaded}
    server.gates["kept"].set()
    assert len(await client.answers(MAX_IN_FLIGHT)) == MAX_IN_FLIGHT


@pytest.mark.parametrize(("size", "bearable"), [(1, MAX_WAITING), (MAX_WAITING_BYTES // 10, 10)])
async def test_answers_that_nobody_takes_keep_the_stream_from_being_read(size: int, bearable: int) -> None:
    taken = asyncio.Event()

    async def write(_: session_pb2.SessionResponse) -> None:
        await taken.wait()

    stream = AnswerStream(write, session_pb2.SessionResponse, others=())
    assert stream.add(session_pb2.Answer(id=1), size)
    writing = asyncio.create_task(stream.write())
    await asyncio.sleep(0)
    for number in range(bearable + 1):
        assert stream.has_room.is_set()
        assert not stream.add(session_pb2.Answer(id=number), size)
    assert not stream.has_room.is_set()
    taken.set()
    await writing
    assert stream.has_room.is_set()
