"""Many calls on one long-lived stream, for threads: CallStream for those who block.

A thread that has a call leaves it with `PendingCalls` and waits. gRPC's own thread takes all that wait into one
message. One thread of ours, the carrier, reads the answers and opens the next stream when one has ended.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any, TypeAlias
from weakref import WeakSet

import grpc

from crosskey import errors
from crosskey.pending_calls import Peer, PendingCalls

Stream: TypeAlias = Any
"""Of responses: an iterator that has `cancel`."""

_log = logging.getLogger(__name__)

_all: WeakSet[BlockingCallStream] = WeakSet()
_of_parents: list[object] = []


class _Answered:
    """What one thread waits for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._answer: Any = None
        self._error: Exception | None = None

    def done(self) -> bool:
        """Whether it came."""
        return self._answer is not None or self._error is not None

    def set_result(self, answer: Any) -> None:
        """Wakes the thread."""
        self._answer = answer
        self._lock.release()

    def set_exception(self, error: Exception) -> None:
        """Wakes the thread."""
        self._error = error
        self._lock.release()

    def wait(self, timeout_seconds: float) -> bool:
        """Whether it comes in time."""
        return self._lock.acquire(timeout=min(max(0.0, timeout_seconds), threading.TIMEOUT_MAX))

    def result(self) -> Any:
        """The answer, once it came; raises the error that came in its place."""
        if self._error is not None:
            raise self._error
        return self._answer


class BlockingCallStream:
    """The calls to one peer, safe to share between threads.

    The stream is opened by the first call, and anew by the first one after it ended.
    """

    def __init__(self, peer: Peer, open_stream: Callable[[Iterator[Any]], Stream]) -> None:
        """Opens nothing yet; `open_stream` is given the messages to send."""
        self._peer = peer
        self._open_stream = open_stream
        self._is_closed = False
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        """Without calls, stream and carrier."""
        self._lock = threading.Lock()
        """Held by whoever uses the calls, or starts or ends the carrier."""
        self._calls = PendingCalls(self._peer)
        self._wakes: SimpleQueue[bool] = SimpleQueue()
        """Tells the thread that writes the present stream that something waits; False that the stream has ended."""
        self._carrier: threading.Thread | None = None
        self._stream: Stream | None = None
        self._is_ending = False
        """Whether the present stream takes no calls any more: the peer has sent its last message, or it has ended."""

    def ask(self, call: Any, timeout_seconds: float) -> Any:
        """Sends a call and answers what the peer answered. The call gets its number and deadline here.

        Raises what CallStream raises.
        """
        answered = _Answered()
        with self._lock:
            if self._is_closed:
                raise self._peer.closed()
            number = self._calls.begin(call, timeout_seconds, answered)
            self._wake()
        try:
            if not answered.wait(timeout_seconds):
                raise self._peer.late()
        except BaseException:
            self._withdraw(number)
            raise
        answer = answered.result()
        if answer.HasField("failure"):
            raise errors.from_failure(answer.failure)
        return answer

    def close(self) -> None:
        """Ends the stream; calls that are in flight fail."""
        with self._lock:
            self._is_closed = True
            self._calls.close()
            stream, carrier = self._stream, self._carrier
        if stream is not None:
            stream.cancel()
        if carrier is not None:
            carrier.join()

    def let_go(self) -> None:
        """Ends the stream in good order, without waiting: nobody can make calls any more. Takes no lock.

        So it may be called while an object is collected, in whichever thread that happens.
        """
        self._is_closed = True
        self._wakes.put(False)

    def begin_anew(self) -> None:
        """After a fork, in the child: the threads, and the calls that wait, are the parent's."""
        # What belongs to the parent's stream is kept: its end would wait for locks that the parent's threads had.
        _of_parents.append((self._stream, self._carrier, self._calls))
        self._begin()

    def _wake(self) -> None:
        """Has what waits sent. The lock is held."""
        if self._carrier is None:
            self._carrier = threading.Thread(target=self._carry_while_wanted, name="crosskey-session", daemon=True)
            self._carrier.start()
        self._wakes.put(True)

    def _withdraw(self, number: int) -> None:
        with self._lock:
            self._calls.withdraw(number)
            if self._calls.wait_to_be_sent and not self._is_closed:
                self._wake()

    def _carry_while_wanted(self) -> None:
        """Opens a stream, and another one when that has ended while calls wait."""
        while True:
            with self._lock:
                self._stream = None
                if self._is_closed or not self._calls.wait_to_be_sent:
                    self._carrier = None
                    return
                self._is_ending = False
                wakes = self._wakes = SimpleQueue()
            wakes.put(True)
            try:
                self._carry(wakes)
            except Exception:
                _log.exception("the stream to %s failed", self._peer.name)
                with self._lock:
                    self._is_ending = True
                    self._calls.broke(None)
                    self._calls.unreachable(None)
            finally:
                wakes.put(False)

    def _carry(self, wakes: SimpleQueue[bool]) -> None:
        """One stream, from its opening to its end."""
        stream = self._open_stream(self._messages(wakes))
        with self._lock:
            self._stream = stream
            if self._is_closed:
                stream.cancel()
        try:
            for response in stream:
                with self._lock:
                    self._calls.answer(response.answers)
                    self._is_ending = self._is_ending or response.last
                if response.last:
                    wakes.put(True)
        except grpc.RpcError as error:
            self._broke(error)
            return
        with self._lock:
            if self._is_ending:
                self._calls.ended_in_order()
            else:
                self._is_ending = True
                self._calls.broke(None)

    def _broke(self, error: grpc.RpcError) -> None:
        _log.debug("the stream to %s broke: %s", self._peer.name, error)
        with self._lock:
            self._is_ending = True
            if errors.was_never_sent(error):
                self._calls.unreachable(error)
            else:
                self._calls.broke(error)

    def _messages(self, wakes: SimpleQueue[bool]) -> Iterator[Any]:
        """What gRPC sends on one stream: it asks for the next message when it has sent one.

        gRPC may ask once more after the stream has ended, even after the next one was opened: calls that it took then
        would count as sent, and nobody would ever answer them.
        """
        while wakes.get():
            with self._lock:
                if self._is_ending or wakes is not self._wakes:
                    return
                batch = self._calls.take_batch()
            if batch:
                yield self._peer.request(calls=batch)


def _begin_all_anew() -> None:
    for stream in list(_all):
        stream.begin_anew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all_anew)
