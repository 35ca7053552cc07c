"""The cluster that rows are loaded into: calls to its router, each repeated until its outcome is known."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import grpc

from crosskey import Client, errors
from crosskey._channel import with_defaults
from crosskey.cli.connection import router_client, router_identity
from crosskey.pauses import growing_pauses
from crosskey.tls import channel_credentials
from crosskey.v1 import router_pb2
from crosskey.v1.admin_pb2 import DescribeSchemaResponse
from crosskey.v1.router_pb2_grpc import RouterStub

MOST_TRIES = 12
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0

# What the reading of a stream raises is told by those who read; gRPC would print its traceback.
logging.getLogger("grpc._channel").setLevel(logging.CRITICAL)

_OPEN_OUTCOMES = (errors.OutcomeUnknown, errors.ShardUnavailable, errors.Cancelled, errors.DeadlineExceeded)
"""Of these a batch may be loaded or not. It says so itself when it is sent again."""

Answer = TypeVar("Answer")
Requests = Callable[[], Iterator[router_pb2.LoadRequest]]


class Target:
    """A cluster behind a router; safe to share between threads. Made by `open_target`. Raises CrosskeyError."""

    def __init__(self, client: Client, stub: RouterStub, timeout_seconds: float) -> None:
        self._client = client
        self._stub = stub
        self._timeout_seconds = timeout_seconds

    def describe(self) -> DescribeSchemaResponse:
        """The schema in force."""
        return self._client.describe_schema()

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return self._client.count(table)

    def loaded_batches(self, load: str) -> dict[str, bytes]:
        """The batches of a load that are committed, with their digests."""
        request = router_pb2.ListLoadedBatchesRequest(load=load)
        response = self._patiently(lambda: self._stub.ListLoadedBatches(request, timeout=self._timeout_seconds))
        return {batch.batch: batch.digest for batch in response.batches}

    def load(self, requests: Requests) -> router_pb2.LoadResponse:
        """Loads a batch, which must have a name: however often it is sent, it is loaded once."""
        return self._patiently(lambda: self._stub.Load(requests(), timeout=self._timeout_seconds))

    def finish(self, load: str, tables: Sequence[str]) -> None:
        """Moves the tables' sequences past their rows' numbers, and has the cluster forget the batches."""
        request = router_pb2.FinishLoadRequest(load=load, tables=tables)
        self._patiently(lambda: self._stub.FinishLoad(request, timeout=self._timeout_seconds))

    def _patiently(self, call: Callable[[], Answer]) -> Answer:
        for pause in islice(growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS), MOST_TRIES - 1):
            try:
                return _translated(call)
            except errors.CrosskeyError as error:
                if not error.retryable and not isinstance(error, _OPEN_OUTCOMES):
                    raise
            time.sleep(pause)
        return _translated(call)


def _translated(call: Callable[[], Answer]) -> Answer:
    try:
        return call()
    except grpc.RpcError as error:
        raise errors.from_rpc_error(error) from error


@contextmanager
def open_target(router: str, timeout_seconds: float) -> Iterator[Target]:
    """The cluster behind a router."""
    tls, token = router_identity()
    credentials = channel_credentials(None, tls, token)
    channel: Any = (
        grpc.insecure_channel(router, with_defaults(()))
        if credentials is None
        else grpc.secure_channel(router, credentials, with_defaults(()))
    )
    with router_client(router, timeout_seconds) as client, channel:
        yield Target(client, RouterStub(channel), timeout_seconds)
