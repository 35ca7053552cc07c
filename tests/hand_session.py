"""A session with one shard node, driven by hand from any number of threads."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

import grpc

from crosskey import errors
from crosskey.internal.v1 import session_pb2
from crosskey.internal.v1.session_pb2_grpc import ShardNodeStub

CALL_SECONDS = 30.0


class HandSession:
    """One stream. Answers are taken in any order."""

    def __init__(self, channel: grpc.Channel, shard: int) -> None:
        """Opens the stream to the node of the shard."""
        self.shard = shard
        self._ids = itertools.count(1)
        self._lock = Lock()
        self._calls: dict[int, Future[session_pb2.Answer]] = {}
        self._ended: errors.CrosskeyError | None = None
        self._requests: SimpleQueue[session_pb2.SessionRequest | None] = SimpleQueue()
        self._responses = ShardNodeStub(channel).Session(iter(self._requests.get, None))
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def has_ended(self) -> bool:
        """Whether the stream is gone."""
        return self._ended is not None

    def call(self, *, timeout: float = CALL_SECONDS, request_id: str = "", **request: Any) -> Any:
        """Sends a call, given as a field of Call, and returns the field of its answer. Raises what the node answers."""
        [kind] = request
        return getattr(self.begin(timeout=timeout, request_id=request_id, **request)[1].result(CALL_SECONDS), kind)

    def begin(
        self, *, timeout: float = CALL_SECONDS, request_id: str = "", **request: Any
    ) -> tuple[int, Future[session_pb2.Answer]]:
        """Sends a call; returns its number, and its answer to come."""
        number, answer = self._expect()
        self._send(session_pb2.Call(id=number, timeout_ms=int(timeout * 1000), request_id=request_id, **request))
        return number, answer

    def begin_together(self, *requests: Mapping[str, Any]) -> list[Future[session_pb2.Answer]]:
        """Sends calls, each given as `begin` takes one, in one message; returns their answers to come."""
        expected = [self._expect() for _ in requests]
        self._send(
            *(
                session_pb2.Call(id=number, timeout_ms=int(CALL_SECONDS * 1000), **request)
                for (number, _), request in zip(expected, requests, strict=True)
            )
        )
        return [answer for _, answer in expected]

    def cancel(self, number: int) -> None:
        """Cancels a call, which then has no answer."""
        with self._lock:
            self._calls.pop(number, None)
        self._send(session_pb2.Call(id=next(self._ids), cancel=number))

    def leave(self) -> None:
        """Ends the stream in good order, and waits for the node to do so."""
        self._requests.put(None)
        self._reader.join(CALL_SECONDS)

    def die(self) -> None:
        """Breaks the stream off, as a killed router would."""
        self._responses.cancel()
        self._requests.put(None)
        self._reader.join(CALL_SECONDS)

    def wait_for_end(self) -> grpc.StatusCode:
        """Waits until the node has ended the stream, and returns how."""
        self._reader.join(CALL_SECONDS)
        code: grpc.StatusCode = self._responses.code()
        return code

    def _expect(self) -> tuple[int, Future[session_pb2.Answer]]:
        answer: Future[session_pb2.Answer] = Future()
        with self._lock:
            number = next(self._ids)
            if self._ended is not None:
                raise self._ended
            self._calls[number] = answer
        return number, answer

    def _send(self, *calls: session_pb2.Call) -> None:
        self._requests.put(session_pb2.SessionRequest(shard=self.shard, calls=calls))

    def _read(self) -> None:
        ended: errors.CrosskeyError = errors.ShardUnavailable("the node has ended the session")
        try:
            for answer in _answers(self._responses):
                with self._lock:
                    call = self._calls.pop(answer.id, None)
                if call is None:
                    continue
                if answer.HasField("failure"):
                    call.set_exception(errors.from_failure(answer.failure))
                else:
                    call.set_result(answer)
        except grpc.RpcError as error:
            ended = errors.from_rpc_error(error)
        with self._lock:
            self._ended = ended
            unanswered, self._calls = list(self._calls.values()), {}
        for call in unanswered:
            call.set_exception(ended)


def _answers(responses: Any) -> Iterator[session_pb2.Answer]:
    for response in responses:
        yield from response.answers
