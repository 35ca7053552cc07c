"""Wraps every handler of a server: request id, bound on calls in flight, errors, one log line a call.

grpc.aio would send `str(exc)` of an unhandled exception to the caller, with whatever secrets are in it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, aclosing, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from inspect import isasyncgenfunction
from typing import Any, NoReturn, TypeAlias

import grpc
import grpc.aio
import structlog
from google.protobuf.message import DecodeError
from typing_extensions import override

from crosskey import errors
from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.request_id import adopt_or_mint, request_id

_INFRASTRUCTURE = ("/grpc.health.", "/grpc.reflection.")
"""Methods that answer however busy the server is, and that nobody wants a log line of."""

_log = structlog.get_logger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Behaviour: TypeAlias = Callable[[Any, Any], Any]
Admission: TypeAlias = Callable[[str, Context], None]
"""Is told a call's method and context before its handler starts. Raises CrosskeyError for who is not let in."""


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Answers CrosskeyError as its status, and any other exception as INTERNAL with a fixed text.

    Calls that `in_flight` has no room for, and requests over `max_request_bytes`, are refused with RESOURCE_EXHAUSTED
    before their handler starts. So is who is not let in by `admission`. A stream in both directions is a session: it
    counts its calls, and is none itself.
    """

    def __init__(
        self, in_flight: CallsInFlight, max_request_bytes: int = sys.maxsize, admission: Admission | None = None
    ) -> None:
        self._in_flight = in_flight
        self._admission = admission
        self._max_request_bytes = max_request_bytes
        self._wrapped: dict[str, Handler] = {}

    @override
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wraps the method's handler, whichever of the four kinds it is.

        A method's handler never changes, and wrapping it anew would cost each call a tenth of its time.
        """
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None and (handler := await continuation(handler_call_details)) is not None:
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        if method.startswith(_INFRASTRUCTURE):
            return self._rewrap(handler, lambda behaviour: _guarded(behaviour, _errors_answered))
        admitted = nullcontext if handler.request_streaming and handler.response_streaming else self._admitted
        guard = partial(self._call, method, admitted)
        return self._rewrap(handler, lambda behaviour: _guarded(behaviour, guard))

    def _rewrap(self, handler: Handler, wrap: Callable[[Behaviour], Behaviour]) -> Handler:
        return _rewrap(handler, wrap, _decoder(handler.request_deserializer, self._max_request_bytes))

    @asynccontextmanager
    async def _call(
        self, method: str, admitted: Callable[[], AbstractContextManager[None]], context: Context
    ) -> AsyncIterator[None]:
        """The life of one call, around its handler."""
        adopt_or_mint(context.invocation_metadata() or ())
        with _logged(method):
            async with _errors_answered(context):
                if self._admission is not None:
                    self._admission(method, context)
                with admitted():
                    yield

    @contextmanager
    def _admitted(self) -> Iterator[None]:
        """Counts a call in flight. Raises Overloaded if there are too many."""
        if self._in_flight.is_full:
            raise too_many_in_flight(self._in_flight)
        self._in_flight.number += 1
        try:
            yield
        finally:
            self._in_flight.number -= 1


@asynccontextmanager
async def _errors_answered(context: Context) -> AsyncIterator[None]:
    """Turns exceptions into statuses. Cancellation passes, and so does a handler's own `context.abort`."""
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except errors.CrosskeyError as error:
        await _abort(context, error)
    except Exception:
        _log.exception("unhandled exception")
        await _abort(context, internal_error())


def too_many_in_flight(in_flight: CallsInFlight) -> errors.Overloaded:
    """What is raised for a call that a server has no room for."""
    return errors.Overloaded(f"this server has {in_flight.number} calls in flight already; try again later")


def request_too_large(size: int, max_bytes: int) -> errors.RequestTooLarge:
    """What is raised for a request of more bytes than a server takes."""
    return errors.RequestTooLarge(
        f"the request has {size:,} bytes, and a request may have {max_bytes:,}",
        hint="Send fewer rows at a time; `crosskey load` does so by itself.",
    )


def internal_error() -> errors.InternalError:
    """What is answered for an exception that nobody foresaw: where to look, and nothing of the exception itself."""
    identifier = request_id.get()
    return errors.InternalError(
        f"internal error; see the server's log, request id {identifier}", request_id=identifier or None
    )


async def _abort(context: Context, error: errors.CrosskeyError) -> NoReturn:
    status = errors.to_status(error)
    try:
        await context.abort(error.code, status.message, ((errors.DETAILS_KEY, status.SerializeToString()),))
    except grpc.aio.AbortError as abort:
        raise abort from error


@contextmanager
def _logged(method: str) -> Iterator[None]:
    """Logs one line when the call ends."""
    started = time.perf_counter()
    code, reason = "OK", None
    try:
        yield
    except grpc.aio.AbortError as abort:
        code, reason = _outcome_of(abort)
        raise
    except asyncio.CancelledError:
        code = grpc.StatusCode.CANCELLED.name
        raise
    finally:
        duration_ms = round((time.perf_counter() - started) * 1000, 3)
        _log.info("call", method=method, code=code, reason=reason, duration_ms=duration_ms)


def _outcome_of(abort: grpc.aio.AbortError) -> tuple[str, str | None]:
    """Code and reason of an aborted call; a handler that aborts by itself gives neither."""
    cause = abort.__cause__
    if isinstance(cause, errors.CrosskeyError):
        return cause.code.name, cause.reason_name
    return "ABORTED_BY_HANDLER", None


def _guarded(behaviour: Behaviour, guard: Callable[[Context], Any]) -> Behaviour:
    """The handler's function with a context manager around it."""

    async def streamed(request: Any, context: Context) -> None:
        # Not a generator: a cancelled call would leave one suspended, to be ended later and by another task.
        async with guard(context), aclosing(behaviour(well_formed(request), context)) as responses:
            async for response in responses:
                await context.write(response)

    async def awaited(request: Any, context: Context) -> Any:
        async with guard(context):
            return await behaviour(well_formed(request), context)

    return streamed if isasyncgenfunction(behaviour) else awaited


@dataclass(frozen=True)
class _Refused:
    """Stands for a request that cannot be taken, until the handler's guard can answer why."""

    error: errors.CrosskeyError


def _decoder(decode: Callable[[bytes], Any] | None, max_bytes: int) -> Callable[[bytes], Any] | None:
    """The decoder, answering _Refused instead of raising: grpc.aio would send the exception's text to the caller."""
    if decode is None:
        return None

    def decode_or_mark(data: bytes) -> Any:
        if len(data) > max_bytes:
            return _Refused(request_too_large(len(data), max_bytes))
        try:
            return decode(data)
        except DecodeError:
            return _Refused(errors.InvalidRequest("the request is not a message of the method's type"))

    return decode_or_mark


def well_formed(request: Any) -> Any:
    """The request, or the iterator over requests. Raises InvalidRequest or RequestTooLarge if it was not taken.

    A handler that reads its requests itself asks it of each.
    """
    if isinstance(request, _Refused):
        raise request.error
    return request


def _rewrap(
    handler: Handler, wrap: Callable[[Behaviour], Behaviour], decoder: Callable[[bytes], Any] | None
) -> Handler:
    """The same handler with its function wrapped, and another decoder."""
    coders = {"request_deserializer": decoder, "response_serializer": handler.response_serializer}
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(wrap(handler.unary_unary), **coders)
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(wrap(handler.unary_stream), **coders)
    if handler.stream_unary:
        return grpc.stream_unary_rpc_method_handler(wrap(handler.stream_unary), **coders)
    if handler.stream_stream:
        return grpc.stream_stream_rpc_method_handler(wrap(handler.stream_stream), **coders)
    raise ValueError("a handler of no kind")
