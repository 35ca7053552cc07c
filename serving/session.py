"""One session: a stream that carries many calls at once, each with its own deadline, request id and log line.

Messages of a session have `calls`: each has `id`, `timeout_ms` (0 for no deadline), `request_id`, and a oneof `call`
with a field for each handler and `cancel`, the id of a call to stop. Those of the other direction have `answers`: each
has `id` and a oneof `answer` with fields of the same names, or `failure`. Each is answered once, or cancelled.

A session that is drained says so in a message with `last`, and ends when its other end has ended its half: a stream
that ended while its other end writes would leave that in doubt about what it wrote.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
import structlog

from crosskey import errors
from crosskey.serving.answer_size import check_fits_message
from crosskey.serving.answer_stream import AnswerStream
from crosskey.serving.call_handlers import CallHandlers
from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.interceptor import internal_error, too_many_in_flight, well_formed
from crosskey.serving.request_id import bind

Context = grpc.aio.ServicerContext[Any, Any]

_log = structlog.get_logger(__name__)


class SessionTypes(NamedTuple):
    """The messages of a kind of sessions, and how an error becomes the `failure` of an answer.

    `name` is what their calls' log lines begin with.
    """

    name: str
    answer: Callable[..., Any]
    response: Callable[..., Any]
    failure: Callable[[errors.CrosskeyError], Any] = errors.to_failure


class Session:
    """Serves one stream; used once."""

    def __init__(self, types: SessionTypes, handlers: CallHandlers, context: Context, in_flight: CallsInFlight) -> None:
        self._types = types
        self._handlers = handlers
        handlers.on_idle = self._end_if_draining
        self._context = context
        self._in_flight = in_flight
        self._calls: dict[int, asyncio.Task[None]] = {}
        """Those that are at work, by their ids."""
        self._answers = AnswerStream(context.write, types.response, self._calls)
        self._tasks: set[asyncio.Task[None]] = set()
        self._expired: set[int] = set()
        self._draining = False
        self._drained = asyncio.Event()

    async def serve(self) -> None:
        """Serves until the stream ends or is drained; then nothing of it is left. Raises what ends the stream.

        If its other end only says that it has no more calls, those that are in flight are answered before.
        """
        reading = asyncio.ensure_future(self._read())
        drained = asyncio.ensure_future(self._drained.wait())
        try:
            await asyncio.wait({reading, drained}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                await self._answers.write_last()
            await reading
            while self._tasks:
                await asyncio.wait(self._tasks)
        finally:
            await asyncio.shield(self._end(reading, drained))

    def drain(self) -> None:
        """Takes no new calls from now on, but for those that end what is under way.

        When nothing is left the other end is told, and what it had sent before it knew is not begun.
        """
        self._draining = True
        self._end_if_drained()

    async def _read(self) -> None:
        while (message := await self._context.read()) is not grpc.aio.EOF:
            refusal = self._handlers.refusal(well_formed(message))
            if self._drained.is_set():
                continue
            for call in message.calls:
                if refusal is not None:
                    self._refuse(call, refusal)
                elif call.HasField("cancel"):
                    self._cancel(call.cancel)
                else:
                    self._begin(call)
                if not self._answers.has_room.is_set():
                    await self._answers.has_room.wait()

    def _begin(self, call: Any) -> None:
        kind = call.WhichOneof("call")
        if kind not in self._handlers.handlers:
            self._refuse(call, errors.InvalidRequest("the call is of no kind that this server knows"))
        elif call.id in self._calls:
            self._refuse(call, errors.InvalidRequest(f"another call with the id {call.id} is in flight"))
        elif self._is_full_or_draining and not self._handlers.goes_on(kind, getattr(call, kind)):
            self._refuse(call, self._why_nothing_new())
        else:
            self._in_flight.number += 1
            task = self._calls[call.id] = asyncio.create_task(self._serve_call(call, kind))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    @property
    def _is_full_or_draining(self) -> bool:
        """Whether only what goes on with something that is begun is taken."""
        return self._draining or self._in_flight.is_full

    def _why_nothing_new(self) -> errors.CrosskeyError:
        if self._draining:
            return errors.ShardUnavailable("this server is about to stop")
        return too_many_in_flight(self._in_flight)

    async def _serve_call(self, call: Any, kind: str) -> None:
        """Answers one call and logs it; in the end it writes what answers wait, for itself and others."""
        bind(call.request_id)
        started, code, reason, expiry = time.perf_counter(), "OK", None, None
        if call.timeout_ms:
            loop = asyncio.get_running_loop()
            expiry = loop.call_later(call.timeout_ms / 1000, self._expire, call.id)
        try:
            answered = await self._handlers.answer(kind, call)
            answer = self._types.answer(id=call.id, **answered)
            check_fits_message(answer)
        except asyncio.CancelledError:
            code = grpc.StatusCode.CANCELLED.name
            if call.id not in self._expired:
                raise
            answer = self._failure(call, self._handlers.expired(kind, getattr(call, kind)))
        except errors.CrosskeyError as error:
            code, reason = error.code.name, error.reason_name
            answer = self._failure(call, error)
        except Exception:
            _log.exception("unhandled exception")
            code = grpc.StatusCode.INTERNAL.name
            answer = self._failure(call, internal_error())
        finally:
            # From here on nobody stops this task: it may be writing the answers of others.
            self._calls.pop(call.id, None)
            self._expired.discard(call.id)
            if expiry is not None:
                expiry.cancel()
            duration_ms = round((time.perf_counter() - started) * 1000, 3)
            _log.info("call", method=f"{self._types.name}/{kind}", code=code, reason=reason, duration_ms=duration_ms)
        self._in_flight.number -= 1
        if self._answers.add(answer, answer.ByteSize()):
            await self._answers.write()

    def _expire(self, call_id: int) -> None:
        if call_id in self._calls:
            self._expired.add(call_id)
            self._cancel(call_id)

    def _cancel(self, call_id: int) -> None:
        task = self._calls.get(call_id)
        if task is not None and not task.cancelling():
            task.cancel()

    def _failure(self, call: Any, error: errors.CrosskeyError) -> Any:
        return self._types.answer(id=call.id, failure=self._types.failure(error))

    def _refuse(self, call: Any, error: errors.CrosskeyError) -> None:
        """Answers a call that is not begun."""
        answer = self._failure(call, error)
        if self._answers.add(answer, answer.ByteSize()):
            task = asyncio.create_task(self._answers.write())
            self._tasks.add(task)
            task.add_done_callback(self._written)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._in_flight.number -= 1
        self._written(task)

    def _written(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._end_if_draining()

    def _end_if_draining(self) -> None:
        if self._draining:
            self._end_if_drained()

    def _end_if_drained(self) -> None:
        if not self._tasks and self._handlers.is_idle:
            self._drained.set()

    async def _end(self, *sources: asyncio.Task[Any]) -> None:
        """Stops what brings new calls, then all that is at work, and then ends what was begun."""
        for source in sources:
            source.cancel()
        await asyncio.gather(*sources, return_exceptions=True)
        tasks = list(self._tasks)
        for task in tasks:
            if not task.cancelling():
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._answers.close()
        await self._handlers.close()
