"""Errors as callers of the public API get them, and what must be true of every one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from crosskey.local_cluster.postgres import SUPERUSER
from crosskey.v1.admin_pb2_grpc import AdminStub
from crosskey.v1.router_pb2_grpc import RouterStub

CALL_SECONDS = 30.0
CHANNEL_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
DETAILS_KEY = "grpc-status-details-bin"
MAX_DETAILS_BYTES = 4096
TRACES_OF_CODE = (b"Traceback", b'.py"', b"psycopg", b"user=", b"host=", b"password", f"user={SUPERUSER}".encode())


@dataclass(frozen=True)
class Refusal:
    """An error of the API, as it was sent."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: dict[str, str]
    retryable: bool


class RawCalls:
    """The public services without the client package between."""

    def __init__(self, address: str) -> None:
        """Connects to the router at `address`."""
        self.channel = grpc.insecure_channel(address, options=CHANNEL_OPTIONS)
        self.router = RouterStub(self.channel)
        self.admin = AdminStub(self.channel)

    def send(self, request: Message, seconds: float = CALL_SECONDS) -> Any:
        """Calls the method that takes such a request, and waits for its answer."""
        return self._method(request)(request, timeout=seconds)

    def start(self, request: Message, seconds: float | None = None) -> Any:
        """Calls the method that takes such a request; what it returns can be waited for and cancelled."""
        return self._method(request).future(request, timeout=seconds or CALL_SECONDS)

    def refusal(self, request: Message) -> Refusal:
        """The error of a request that must be refused."""
        return refusal_of(lambda: self.send(request))

    def _method(self, request: Message) -> Any:
        name = type(request).__name__.removesuffix("Request")
        return getattr(self.router if hasattr(self.router, name) else self.admin, name)

    def close(self) -> None:
        """Closes the connection."""
        self.channel.close()


def refusal_of(call: Callable[[], object]) -> Refusal:
    """The error of a call that must fail; AssertionError if it is not fit for a stranger's eyes."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return refusal_of_error(error)
    raise AssertionError(f"the call should have been refused, and was answered with {answer}")


def refusal_of_error(raised: grpc.RpcError) -> Refusal:
    """The error that gRPC raised; AssertionError if it is not fit for a stranger's eyes."""
    error = cast("grpc.Call", raised)
    details = dict(error.trailing_metadata())[DETAILS_KEY]
    assert isinstance(details, bytes)
    assert len(details) < MAX_DETAILS_BYTES
    assert not [trace for trace in TRACES_OF_CODE if trace in details]
    status = status_pb2.Status.FromString(details)
    assert (status.code, status.message) == (error.code().value[0], error.details())
    info, *rest = status.details
    assert [one.Is(error_details_pb2.RetryInfo.DESCRIPTOR) for one in rest] in ([], [True])
    found = error_details_pb2.ErrorInfo()
    assert info.Unpack(found)
    assert found.domain == "crosskey"
    assert all(found.metadata.values())
    return Refusal(error.code(), found.reason, status.message, dict(found.metadata), bool(rest))
