"""Health and reflection: what lets tools and load balancers find their way without knowing our protos."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio
from google.protobuf import descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection as grpc_reflection
from grpc_reflection.v1alpha import reflection_pb2

_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
"""The same messages as v1alpha under the name that newer tools ask for first."""


class Health:
    """The health of a server and of each of its services: NOT_SERVING until `serve`, and again after `shut_down`."""

    def __init__(self, service_names: Sequence[str]) -> None:
        self.servicer = health.aio.HealthServicer()
        self._names = ("", *service_names)

    async def hold(self) -> None:
        """Says NOT_SERVING."""
        await self._set(health_pb2.HealthCheckResponse.NOT_SERVING)

    async def serve(self) -> None:
        """Says SERVING."""
        await self._set(health_pb2.HealthCheckResponse.SERVING)

    async def shut_down(self) -> None:
        """Says NOT_SERVING for good."""
        await self.servicer.enter_graceful_shutdown()

    async def _set(self, status: int) -> None:
        for name in self._names:
            await self.servicer.set(name, status)


def register_discovery(server: grpc.aio.Server, service_names: Sequence[str], *, reflection: bool = True) -> Health:
    """Registers health, and if wanted reflection v1alpha and v1, of these services. Returns the health."""
    state = Health(service_names)
    health_pb2_grpc.add_HealthServicer_to_server(state.servicer, server)
    if not reflection:
        return state
    names = (*service_names, health.SERVICE_NAME, grpc_reflection.SERVICE_NAME)
    reflector = grpc_reflection.aio.ReflectionServicer(names, pool=_PoolThatFindsMethods())
    server.add_generic_rpc_handlers(
        (_reflection(grpc_reflection.SERVICE_NAME, reflector), _reflection(_REFLECTION_V1, reflector))
    )
    return state


class _PoolThatFindsMethods:
    """The default pool; unlike it, finds the file of a method too, so that tools can describe one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(descriptor_pool.Default(), name)

    def FindFileContainingSymbol(self, symbol: str) -> FileDescriptor:  # noqa: N802 - the pool's own name
        """Returns the file that declares the symbol. Raises KeyError if there is none."""
        pool = descriptor_pool.Default()
        try:
            return pool.FindFileContainingSymbol(symbol)
        except KeyError:
            return pool.FindMethodByName(symbol).containing_service.file


def _reflection(name: str, reflector: grpc_reflection.aio.ReflectionServicer) -> grpc.GenericRpcHandler:
    handler = grpc.stream_stream_rpc_method_handler(
        reflector.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})
