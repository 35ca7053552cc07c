"""Many calls on one long-lived stream to a shard's node: the client half of `ShardNode.Session`.

A unary call in Python costs ten times the message that it carries. So calls that wait at the same moment share one
message: whoever writes takes all that waits, and while one message is being written the next one fills. Nothing waits
for others to come.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import grpc
import grpc.aio
import structlog

from crosskey import errors
from crosskey.internal.v1 import session_pb2 as proto
from crosskey.router.calls.node_errors import naming_shard
from crosskey.serving.answer_size import check_fits_message

MAX_BATCH_BYTES = 1 << 20
"""Of the calls in one message; a larger one travels alone."""

MAX_TIMEOUT_MS = 2**32 - 1
"""What a call can say: 49 days."""

MAX_CALLS_IN_FLIGHT = 1000
"""On each stream; the node's own queue is shorter."""

Stream: TypeAlias = "grpc.aio.StreamStreamCall[proto.SessionRequest, proto.SessionResponse]"

_log = structlog.get_logger(__name__)


class CallStream:
    """The calls to one shard. The stream is opened by the first call, and anew by the first one after it broke.

    Calls that were not sent when it broke go on with the next one; of those that were sent and not answered nobody
    knows what became of them, unless the node said which message is its last: it has begun none of them then.
    """

    def __init__(self, shard: int, open_stream: Callable[[], Stream]) -> None:
        """Opens nothing yet."""
        self._shard = shard
        self._open_stream = open_stream
        self._numbers = itertools.count(1)
        self._unsent: deque[proto.Call] = deque()
        self._sent: dict[int, proto.Call] = {}
        self._answers: dict[int, asyncio.Future[proto.Answer]] = {}
        self._something_waits = asyncio.Event()
        self._is_ending = False
        """Whether the node has sent its last message on this stream."""
        self._carrier: asyncio.Task[None] | None = None

    async def ask(self, call: proto.Call, timeout_seconds: float, *, goes_on: bool = False) -> proto.Answer:
        """Sends a call and answers what the node answered. The call gets its number here.

        One that goes on with what is begun is sent however many others are in flight.

        Raises what the node raised; ShardUnavailable, with `answered` False if the call may have been carried out;
        Overloaded; DeadlineExceeded. All of them name the shard. If the caller is cancelled, so is the call.
        """
        if len(self._answers) >= MAX_CALLS_IN_FLIGHT and not goes_on:
            raise errors.Overloaded(f"too many calls to shard {self._shard} are in flight", shard=self._shard)
        with naming_shard(self._shard):
            check_fits_message(call)
        call.id = next(self._numbers)
        call.timeout_ms = min(max(1, int(timeout_seconds * 1000)), MAX_TIMEOUT_MS)
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[proto.Answer] = loop.create_future()
        self._answers[call.id] = answered
        expiry = loop.call_later(timeout_seconds, self._expire, call.id)
        self._send(call)
        try:
            answer = await answered
        except asyncio.CancelledError:
            self._withdraw(call.id)
            raise
        finally:
            expiry.cancel()
        if answer.HasField("failure"):
            raise self._failed(answer)
        return answer

    async def close(self) -> None:
        """Ends the stream; calls that are in flight fail."""
        if self._carrier is not None:
            self._carrier.cancel()
            await asyncio.wait({self._carrier})

    def _send(self, call: proto.Call) -> None:
        self._unsent.append(call)
        self._something_waits.set()
        if self._carrier is None or self._carrier.done():
            self._carrier = asyncio.create_task(self._carry_while_wanted())

    def _expire(self, number: int) -> None:
        answered = self._answers.get(number)
        if answered is not None and not answered.done():
            self._withdraw(number)
            late = errors.DeadlineExceeded(
                f"the deadline passed before shard {self._shard} answered", shard=self._shard
            )
            late.answered = False
            answered.set_exception(late)

    def _withdraw(self, number: int) -> None:
        """Nobody waits for the answer any more: the node is told to stop."""
        self._answers.pop(number, None)
        if self._sent.pop(number, None) is not None:
            self._send(proto.Call(cancel=number))
        else:
            self._unsent = deque(call for call in self._unsent if call.id != number)

    def _failed(self, answer: proto.Answer) -> errors.CrosskeyError:
        error = errors.from_failure(answer.failure)
        error.metadata["shard"] = str(self._shard)
        return error

    async def _carry_while_wanted(self) -> None:
        """Opens a stream, and another one when that has ended while calls wait."""
        try:
            while self._unsent:
                await self._carry()
        except asyncio.CancelledError:
            self._fail_all(was_sent=True)
            raise
        except Exception:
            _log.exception("a stream failed", shard=self._shard)
            self._fail_all(was_sent=True)

    async def _carry(self) -> None:
        """One stream, from its opening to its end."""
        self._is_ending = False
        stream = self._open_stream()
        try:
            await stream.wait_for_connection()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            _log.debug("no stream", shard=self._shard, error=str(error))
            self._fail_all(was_sent=False)
            return
        writing = asyncio.create_task(self._write_all(stream))
        # If writing fails, reading says why.
        writing.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await self._read_all(stream)
            # What the node has begun it has answered.
            self._unsent.extendleft(reversed(self._sent.values()))
            self._sent.clear()
            self._something_waits.set()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            _log.debug("a stream broke", shard=self._shard, error=str(error))
            self._fail_sent()
        finally:
            writing.cancel()
            stream.cancel()

    async def _write_all(self, stream: Stream) -> None:
        while True:
            await self._something_waits.wait()
            if self._is_ending:
                await stream.done_writing()
                return
            batch = self._take_batch()
            if batch:
                await stream.write(proto.SessionRequest(shard=self._shard, calls=batch))

    def _take_batch(self) -> list[proto.Call]:
        """What waits, and somebody still wants; noted as sent."""
        batch: list[proto.Call] = []
        size = 0
        while self._unsent:
            call = self._unsent[0]
            size += call.ByteSize()
            if batch and size > MAX_BATCH_BYTES:
                break
            self._unsent.popleft()
            if call.HasField("cancel"):
                batch.append(call)
            elif call.id in self._answers:
                batch.append(call)
                self._sent[call.id] = call
        if not self._unsent:
            self._something_waits.clear()
        return batch

    async def _read_all(self, stream: Stream) -> None:
        while isinstance(response := await stream.read(), proto.SessionResponse):
            for answer in response.answers:
                self._sent.pop(answer.id, None)
                answered = self._answers.pop(answer.id, None)
                if answered is not None and not answered.done():
                    answered.set_result(answer)
            if response.last:
                self._is_ending = True
                self._something_waits.set()
        if response is not grpc.aio.EOF:
            raise asyncio.InvalidStateError("an answer cannot be read")
        if not self._is_ending or await stream.code() is not grpc.StatusCode.OK:
            raise asyncio.InvalidStateError(f"it ended early: {await stream.details()}")

    def _fail_all(self, *, was_sent: bool) -> None:
        self._fail_sent()
        for call in self._unsent:
            self._fail(call.id, was_sent=was_sent)
        self._unsent.clear()

    def _fail_sent(self) -> None:
        for number in list(self._sent):
            self._fail(number, was_sent=True)
        self._sent.clear()

    def _fail(self, number: int, *, was_sent: bool) -> None:
        answered = self._answers.pop(number, None)
        if answered is not None and not answered.done():
            error = errors.ShardUnavailable(f"shard {self._shard} does not answer", shard=self._shard)
            error.answered, error.retryable = not was_sent, not was_sent
            answered.set_exception(error)
