"""Runs a gRPC server from start to drain."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import grpc.aio
import structlog

from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.discovery import Health, register_discovery
from crosskey.serving.exposure import Exposure
from crosskey.serving.interceptor import Admission, ErrorInterceptor

MAX_PUBLIC_REQUEST_BYTES = 4 * 1024 * 1024
"""What a caller of the public API may send in one message: gRPC's own default, said aloud."""

REFUSED_REQUEST_BYTES = 12 * 1024 * 1024
"""How much larger a request may be and still be refused in words of ours; gRPC refuses larger ones in its own."""

MAX_INTERNAL_REQUEST_BYTES = 64 * 1024 * 1024
"""What a router may send to a node: a public request's rows as JSON, with ids and keys added."""

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""What a server may answer in one message; clients and routers accept as much."""

KEEPALIVE_TIME_MS = 30_000
"""How often an idle connection is probed, so that a dead peer is noticed before the next call."""

KEEPALIVE_TIMEOUT_MS = 10_000
"""How long a probe may stay without an answer."""

MIN_PING_INTERVAL_MS = 10_000
"""How often a client may probe us before we call it abuse; must be below any client's keepalive time."""

_log = structlog.get_logger(__name__)

Register = Callable[[grpc.aio.Server], None]
AsyncAction = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class ServerSettings:
    """How a server listens and what it bears. `listen` is HOST:PORT; port 0 takes a free one."""

    listen: str
    max_request_bytes: int = MAX_PUBLIC_REQUEST_BYTES
    drain_seconds: float = 10.0
    shares_address: bool = False
    """Whether other processes of the same server listen on it too."""
    exposure: Exposure = field(default_factory=Exposure)
    """Who reaches it."""
    admission: Admission | None = None
    """Who is let in of those; None for everybody."""


async def _nothing() -> None:
    """The default action."""


async def run_server(
    settings: ServerSettings,
    in_flight: CallsInFlight,
    *,
    register: Register,
    service_names: Sequence[str],
    ready: AsyncAction = _nothing,
    on_drain: AsyncAction = _nothing,
) -> None:
    """Serves until SIGTERM or SIGINT, then drains and returns. `in_flight` bounds the calls.

    `register` adds the servicers, `service_names` are their full names. Health says NOT_SERVING until `ready` returns,
    which waits for the dependencies; what `ready` raises ends the server and is raised here. When a signal comes,
    health says NOT_SERVING, `on_drain` runs, and calls in flight get `drain_seconds` to end.
    A server that shares its address does not listen before `ready` returns.

    Raises OSError if the address cannot be listened on, or the certificates are none.
    """
    with _stop_signal() as stop:
        if settings.shares_address:
            # Others serve there already: who connects to this one must not find it unready.
            await _until_first(stop, ready())
            if stop.is_set():
                return
            ready = _nothing
        async with _listening(settings, in_flight, register, service_names, on_drain) as health:
            await _until_first(stop, _serve_when_ready(health, ready))
            await stop.wait()
            _log.info("draining", drain_seconds=settings.drain_seconds)


@contextmanager
def _stop_signal() -> Iterator[asyncio.Event]:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _listening(
    settings: ServerSettings,
    in_flight: CallsInFlight,
    register: Register,
    service_names: Sequence[str],
    on_drain: AsyncAction,
) -> AsyncIterator[Health]:
    """A started server; drained at the end."""
    interceptor = ErrorInterceptor(in_flight, settings.max_request_bytes, settings.admission)
    server = grpc.aio.server(interceptors=[interceptor], options=_options(settings))
    register(server)
    health = register_discovery(server, service_names, reflection=settings.exposure.reflection)
    await health.hold()
    address = _bind(server, settings)
    await server.start()
    _log.info("listening", address=address)
    try:
        yield health
    finally:
        await health.shut_down()
        await on_drain()
        await server.stop(settings.drain_seconds)
        _log.info("stopped")


async def _serve_when_ready(health: Health, ready: AsyncAction) -> None:
    await ready()
    await health.serve()
    _log.info("serving")


async def _until_first(stop: asyncio.Event, work: Awaitable[None]) -> None:
    """Waits for the work or the event. Raises what the work raises; cancels it if the event comes first."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not working.done():
        working.cancel()
        await asyncio.wait({working})
    if not working.cancelled():
        working.result()


def _bind(server: grpc.aio.Server, settings: ServerSettings) -> str:
    """Binds HOST:PORT and returns it with the real port. Raises OSError if it cannot, or certificates do not fit."""
    listen, tls = settings.listen, settings.exposure.tls
    credentials = None if tls is None else tls.credentials()
    try:
        port = server.add_secure_port(listen, credentials) if credentials else server.add_insecure_port(listen)
    except RuntimeError as error:
        raise OSError(f"cannot listen on {listen}: the port is taken, or the address is not this machine's") from error
    return f"{listen.rpartition(':')[0]}:{port}"


def _options(settings: ServerSettings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_request_bytes + REFUSED_REQUEST_BYTES),
        ("grpc.max_send_message_length", MAX_RESPONSE_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", MIN_PING_INTERVAL_MS),
        # Two servers on one port would share its connections silently.
        ("grpc.so_reuseport", int(settings.shares_address)),
    ]
