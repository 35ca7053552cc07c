"""The calls on a stream, at the end that makes them: which wait to be sent, which were sent, who waits for what.

It knows neither event loops nor threads: `CallStream` carries calls for asyncio, `BlockingCallStream` for threads.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from crosskey import errors

MAX_BATCH_BYTES = 1 << 20
"""Of the calls in one message; a larger one travels alone."""

MAX_TIMEOUT_MS = 2**32 - 1
"""What a call can say: 49 days."""


@dataclass(frozen=True)
class Peer:
    """The other end of a stream, and the messages that it takes."""

    name: str
    """What errors call it, such as "shard 0"."""
    call: Callable[..., Any]
    """Makes a call; its `cancel` is the id of a call to stop."""
    request: Callable[..., Any]
    """Makes a message of `calls`."""
    lost: Callable[[grpc.RpcError | None], errors.CrosskeyError]
    """What is raised where the stream broke, or could not be opened; the error is gRPC's, if it has one."""

    def late(self) -> errors.DeadlineExceeded:
        """What is raised if the deadline passes before there is an answer."""
        error = errors.DeadlineExceeded(f"the deadline passed before {self.name} answered")
        error.answered = False
        return error

    def closed(self) -> errors.Cancelled:
        """What is raised if this end closes the stream, or has closed it."""
        error = errors.Cancelled(f"the connection to {self.name} was closed")
        error.answered = False
        return error


class Waiter(Protocol):
    """Who waits for an answer; an asyncio.Future is one."""

    def done(self) -> bool:
        """Whether nothing is waited for any more."""
        ...

    def set_result(self, answer: Any, /) -> None:
        """The answer."""
        ...

    def set_exception(self, error: Exception, /) -> None:
        """There will be none."""
        ...


@dataclass(slots=True)
class _Pending:
    """A call without an answer."""

    call: Any
    waiter: Waiter
    was_sent: bool = False


class PendingCalls:
    """All calls to one peer that are not answered, from one stream to the next.

    Those that were not sent when a stream ends go on with the next one. Of those that were sent nobody knows what
    became of them, unless the peer said which message is its last: it has begun none of them then.
    """

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._numbers = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._unsent: deque[Any] = deque()

    def __len__(self) -> int:
        """How many have no answer."""
        return len(self._pending)

    @property
    def wait_to_be_sent(self) -> bool:
        """Whether there is something to send."""
        return bool(self._unsent)

    def begin(self, call: Any, timeout_seconds: float, waiter: Waiter) -> int:
        """Takes a call to be sent; returns the number that it gets."""
        number: int = next(self._numbers)
        call.id = number
        call.timeout_ms = min(max(1, int(timeout_seconds * 1000)), MAX_TIMEOUT_MS)
        self._pending[number] = _Pending(call, waiter)
        self._unsent.append(call)
        return number

    def withdraw(self, number: int) -> None:
        """Nobody waits for the answer any more: if the call was sent, the peer is told to stop."""
        pending = self._pending.pop(number, None)
        if pending is not None and pending.was_sent:
            self._unsent.append(self._peer.call(cancel=number))

    def take_batch(self) -> list[Any]:
        """What waits, and somebody still wants, as far as it fits into a message; noted as sent."""
        batch: list[Any] = []
        size = 0
        while self._unsent:
            call = self._unsent[0]
            pending = self._pending.get(call.id)
            if pending is not None or call.cancel:
                size += call.ByteSize()
                if batch and size > MAX_BATCH_BYTES:
                    break
                batch.append(call)
            if pending is not None:
                pending.was_sent = True
            self._unsent.popleft()
        return batch

    def answer(self, answers: Iterable[Any]) -> None:
        """Passes answers on to those who wait for them."""
        for answer in answers:
            pending = self._pending.pop(answer.id, None)
            if pending is not None and not pending.waiter.done():
                pending.waiter.set_result(answer)

    def ended_in_order(self) -> None:
        """The peer has said which message is its last: what it has not answered it has not begun."""
        cancels_aside = (call for call in self._unsent if call.id in self._pending)
        sent = [pending for pending in self._pending.values() if pending.was_sent]
        self._unsent = deque([*(pending.call for pending in sent), *cancels_aside])
        for pending in sent:
            pending.was_sent = False

    def broke(self, rpc_error: grpc.RpcError | None) -> None:
        """The stream broke: nobody knows what became of what was sent."""
        for number, pending in list(self._pending.items()):
            if pending.was_sent:
                self._fail(number, self._peer.lost(rpc_error), was_sent=True)
        self._unsent = deque(call for call in self._unsent if call.id in self._pending)

    def unreachable(self, rpc_error: grpc.RpcError | None) -> None:
        """No stream can be opened, so that no call was begun."""
        for number in list(self._pending):
            self._fail(number, self._peer.lost(rpc_error), was_sent=False)
        self._unsent.clear()

    def close(self) -> None:
        """Nobody wants answers any more: all fail."""
        for number, pending in list(self._pending.items()):
            self._fail(number, self._peer.closed(), was_sent=pending.was_sent)
        self._unsent.clear()

    def _fail(self, number: int, error: errors.CrosskeyError, *, was_sent: bool) -> None:
        waiter = self._pending.pop(number).waiter
        error.answered = not was_sent
        error.retryable = not was_sent and type(error).retryable
        if not waiter.done():
            waiter.set_exception(error)
