"""What becomes of the calls of threads when a stream ends just as gRPC asks for its next message."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from crosskey import errors
from crosskey.blocking_call_stream import BlockingCallStream
from crosskey.pending_calls import Peer
from crosskey.v1 import router_pb2


class _Broke(grpc.RpcError):
    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return "the connection was cut"


class _Stream:
    """Of answers; `cancel` is what gRPC's streams have."""

    def __init__(self, responses: Iterator[router_pb2.SessionResponse]) -> None:
        self._responses = responses

    def __iter__(self) -> Iterator[router_pb2.SessionResponse]:
        return self._responses

    def cancel(self) -> None:
        """Nothing is left to end."""


def _broken() -> Iterator[router_pb2.SessionResponse]:
    raise _Broke
    yield


def _ended() -> Iterator[router_pb2.SessionResponse]:
    yield from ()


def _last() -> Iterator[router_pb2.SessionResponse]:
    yield router_pb2.SessionResponse(last=True)


def _answered(messages: Iterator[Any]) -> Iterator[router_pb2.SessionResponse]:
    for message in messages:
        answers = [router_pb2.Answer(id=call.id, get=router_pb2.GetResponse()) for call in message.calls]
        yield router_pb2.SessionResponse(answers=answers)


@pytest.mark.parametrize("first_stream", [_broken, _ended, _last])
def test_a_stream_that_has_ended_takes_no_calls(first_stream: Any) -> None:
    """The first stream is asked for a message when the second one was opened; the call goes with the second."""
    all_messages: list[Iterator[Any]] = []
    taken_too_late: list[Any] = []

    def open_stream(messages: Iterator[Any]) -> _Stream:
        all_messages.append(messages)
        if len(all_messages) == 1:
            return _Stream(first_stream())
        taken_too_late.extend(all_messages[0])
        return _Stream(_answered(messages))

    peer = Peer("the peer", router_pb2.Call, router_pb2.SessionRequest, lambda _error: errors.ShardUnavailable("lost"))
    stream = BlockingCallStream(peer, open_stream)
    answer = stream.ask(router_pb2.Call(get=router_pb2.GetRequest(table="users")), timeout_seconds=10)
    assert answer.HasField("get")
    assert taken_too_late == []
