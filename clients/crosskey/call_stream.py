"""Many calls on one long-lived stream, for asyncio: what routers have to nodes, and AsyncClient to its router.

A unary call in Python costs ten times the message that it carries. So calls that wait at the same moment share one
message: whoever writes takes all that waits, and while one message is being written the next one fills. Nothing waits
for time to pass.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeAlias

import grpc
import grpc.aio

from crosskey import errors
from crosskey.message_sharing import let_others_join
from crosskey.pending_calls import Peer, PendingCalls

Stream: TypeAlias = "grpc.aio.StreamStreamCall[Any, Any]"

_log = logging.getLogger(__name__)


class CallStream:
    """The calls to one peer. The stream is opened by the first call, and anew by the first one after it ended."""

    def __init__(self, peer: Peer, open_stream: Callable[[], Stream]) -> None:
        """Opens nothing yet."""
        self._peer = peer
        self._open_stream = open_stream
        self._calls = PendingCalls(peer)
        self._something_waits = asyncio.Event()
        self._is_ending = False
        """Whether the peer has sent its last message on this stream."""
        self._carrier: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def in_flight(self) -> int:
        """How many calls have no answer."""
        return len(self._calls)

    async def ask(self, call: Any, timeout_seconds: float) -> Any:
        """Sends a call and answers what the peer answered. The call gets its number and deadline here.

        Raises what the peer raised; what `peer.lost` says, with `answered` False if the call may have been carried out;
        DeadlineExceeded; Cancelled if the stream was closed. If the caller is cancelled, so is the call.
        """
        if self._is_closed:
            raise self._peer.closed()
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[Any] = loop.create_future()
        number = self._calls.begin(call, timeout_seconds, answered)
        expiry = loop.call_later(timeout_seconds, self._expire, number, answered)
        self._wake()
        try:
            answer = await answered
        except asyncio.CancelledError:
            self._withdraw(number)
            raise
        finally:
            expiry.cancel()
        if answer.HasField("failure"):
            raise errors.from_failure(answer.failure)
        return answer

    async def close(self) -> None:
        """Ends the stream; calls that are in flight fail."""
        self._is_closed = True
        if self._carrier is not None:
            self._carrier.cancel()
            await asyncio.wait({self._carrier})

    def let_go(self) -> None:
        """Ends the stream without waiting, from whichever thread: nobody can make calls any more."""
        carrier = self._carrier
        if carrier is not None and not carrier.done():
            # If the loop is closed, it has ended the carrier.
            with suppress(RuntimeError):
                carrier.get_loop().call_soon_threadsafe(carrier.cancel)

    def _wake(self) -> None:
        self._something_waits.set()
        if self._carrier is None or self._carrier.done():
            self._carrier = asyncio.create_task(self._carry_while_wanted())

    def _expire(self, number: int, answered: asyncio.Future[Any]) -> None:
        if not answered.done():
            self._withdraw(number)
            answered.set_exception(self._peer.late())

    def _withdraw(self, number: int) -> None:
        self._calls.withdraw(number)
        if self._calls.wait_to_be_sent:
            self._wake()

    async def _carry_while_wanted(self) -> None:
        """Opens a stream, and another one when that has ended while calls wait."""
        try:
            while self._calls.wait_to_be_sent:
                await self._carry()
        except asyncio.CancelledError:
            self._calls.close()
            raise
        except Exception:
            _log.exception("the stream to %s failed", self._peer.name)
            self._calls.broke(None)
            self._calls.unreachable(None)

    async def _carry(self) -> None:
        """One stream, from its opening to its end."""
        self._is_ending = False
        stream = self._open_stream()
        try:
            await stream.wait_for_connection()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            _log.debug("no stream to %s: %s", self._peer.name, error)
            self._calls.unreachable(error if isinstance(error, grpc.RpcError) else None)
            return
        writing = asyncio.create_task(self._write_all(stream))
        # If writing fails, reading says why.
        writing.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            await self._read_all(stream)
            self._calls.ended_in_order()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            _log.debug("the stream to %s broke: %s", self._peer.name, error)
            self._calls.broke(error if isinstance(error, grpc.RpcError) else None)
        finally:
            writing.cancel()
            stream.cancel()

    async def _write_all(self, stream: Stream) -> None:
        while True:
            await self._something_waits.wait()
            if len(self._calls) > 1:
                await let_others_join()
            # Nothing is awaited from here to where the event is cleared: it also tells that the stream is ending.
            if self._is_ending:
                await stream.done_writing()
                return
            batch = self._calls.take_batch()
            if not self._calls.wait_to_be_sent:
                self._something_waits.clear()
            if batch:
                await stream.write(self._peer.request(calls=batch))

    async def _read_all(self, stream: Stream) -> None:
        response: Any
        while (response := await stream.read()) is not grpc.aio.EOF:
            if response is None:
                raise asyncio.InvalidStateError("an answer cannot be read")
            self._calls.answer(response.answers)
            if response.last:
                self._is_ending = True
                self._something_waits.set()
        if not self._is_ending:
            raise asyncio.InvalidStateError("it ended without a last message")
