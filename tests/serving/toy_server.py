"""A server whose every handler does what its request says.

Run it with `python -m tests.serving.toy_server HOST:PORT DRAIN_SECONDS [broken]`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
import grpc.aio
import uvloop

from crosskey import errors
from crosskey.serving.call_handlers import CallHandlers
from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.logging import configure_logging
from crosskey.serving.request_id import request_id
from crosskey.serving.server import ServerSettings, run_server
from crosskey.serving.session import SessionTypes
from crosskey.serving.sessions import Sessions
from crosskey.v1 import router_pb2

SECRET = "postgresql://app:hunter2@db.example/app"


async def act(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    match request:
        case b"refuse":
            raise errors.UniqueViolation("taken", table="users", shard=1)
        case b"refuse at length":
            raise errors.InvalidValue("ü" * 100_000, detail="ä" * 100_000, key="k" * 100_000)
        case b"crash":
            raise RuntimeError(f"cannot connect to {SECRET}")
        case b"abort":
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, "the handler's own")
        case b"request id":
            return request_id.get().encode()
        case b"wait":
            await asyncio.sleep(1)
        case b"wait long":
            await asyncio.sleep(60)
    return request


async def unary_unary(request: bytes, context: Any) -> bytes:
    return await act(request, context)


async def unary_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
    yield b"first"
    yield await act(request, context)


async def unary_written(request: bytes, context: Any) -> None:
    await context.write(b"first")
    await context.write(await act(request, context))


async def stream_unary(requests: AsyncIterator[bytes], context: Any) -> bytes:
    return b",".join([await act(request, context) async for request in requests])


async def stream_stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for request in requests:
        yield await act(request, context)


HANDLERS: dict[str, Any] = {
    "UnaryUnary": grpc.unary_unary_rpc_method_handler(unary_unary),
    "UnaryStream": grpc.unary_stream_rpc_method_handler(unary_stream),
    "UnaryWritten": grpc.unary_stream_rpc_method_handler(unary_written),
    "StreamUnary": grpc.stream_unary_rpc_method_handler(stream_unary),
    "StreamStream": grpc.stream_stream_rpc_method_handler(stream_stream),
}


async def count(request: router_pb2.CountRequest, context: Any) -> router_pb2.CountResponse:
    await act(request.table.encode(), context)
    return router_pb2.CountResponse(count=7)


IN_FLIGHT = CallsInFlight(1000)
SESSIONS = Sessions(
    SessionTypes("Router", router_pb2.Answer, router_pb2.SessionResponse),
    lambda: CallHandlers({"count": partial(count, context=None)}),
    IN_FLIGHT,
)


async def session(_: Any, context: Any) -> None:
    await SESSIONS.serve(context)


ROUTER_HANDLERS: dict[str, Any] = {
    "Count": grpc.unary_unary_rpc_method_handler(
        count,
        request_deserializer=router_pb2.CountRequest.FromString,
        response_serializer=router_pb2.CountResponse.SerializeToString,
    ),
    "Session": grpc.stream_stream_rpc_method_handler(
        session,
        request_deserializer=router_pb2.SessionRequest.FromString,
        response_serializer=router_pb2.SessionResponse.SerializeToString,
    ),
}


def register(server: grpc.aio.Server) -> None:
    for service, handlers in (("toy.Toy", HANDLERS), ("crosskey.v1.Router", ROUTER_HANDLERS)):
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))


async def ready() -> None:
    """Ready a moment after the start, so that a test can see both states; never if the last argument says so."""
    await asyncio.sleep(0.3)
    if sys.argv[3:] == ["broken"]:
        raise RuntimeError("the database is not there")


def main() -> None:
    configure_logging(service="toy")
    settings = ServerSettings(listen=sys.argv[1], drain_seconds=float(sys.argv[2]))
    services = ["crosskey.v1.Router"]
    server = run_server(
        settings, IN_FLIGHT, register=register, service_names=services, ready=ready, on_drain=SESSIONS.drain
    )
    uvloop.run(server)


if __name__ == "__main__":
    main()
