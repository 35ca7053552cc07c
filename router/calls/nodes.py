"""Calls to the shards' nodes: one channel a node, deadlines and request ids passed on, errors turned back."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Protocol

import grpc
import grpc.aio
from google.protobuf.message import Message

from crosskey import errors
from crosskey.v1 import shard_node_pb2_grpc
from router.calls.call_context import current_call_context
from router.calls.node_errors import MAX_MESSAGE_MIB, errors_of
from router.calls.participant import Participant, StreamParticipant
from serving.request_id import metadata_to_pass_on

MAX_MESSAGE_BYTES = MAX_MESSAGE_MIB * 1024 * 1024
"""Rows of a whole request for one shard; requests themselves are bounded where they come in."""

MAX_CALLS_IN_FLIGHT = 1000
"""For each node; its own queue is shorter."""

_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A node that comes back is found soon: by default the waits between attempts grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 250),
)


class NodeCalls(Protocol):
    """Unary calls to the nodes of a cluster, by shard: all that reads need."""

    async def call(self, shard: int, method: str, request: Message) -> Any:
        """Calls the unary method of ShardNode on the node of that shard, and answers its response.

        Raises what the node raised; ShardUnavailable, Overloaded and DeadlineExceeded also for what gRPC says. Every
        error names the shard.
        """
        ...


class Nodes(NodeCalls, Protocol):
    """The nodes of a cluster, by shard."""

    @property
    def shards(self) -> int:
        """How many nodes there are."""
        ...

    def stub(self, shard: int) -> shard_node_pb2_grpc.ShardNodeAsyncStub:
        """The bare stub, for calls that answer a stream."""
        ...

    def participate(self, shard: int) -> AbstractAsyncContextManager[Participant]:
        """A participant on that shard, which leaves with the context. Raises Overloaded and DeadlineExceeded."""
        ...


class GrpcNodes:
    """The nodes behind a list of addresses, in the order of the shards. To be made in the event loop, and closed."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._channels = [grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS) for address in addresses]
        self._stubs = [shard_node_pb2_grpc.ShardNodeStub(channel) for channel in self._channels]
        self._in_flight: Counter[int] = Counter()

    @property
    def shards(self) -> int:
        """How many nodes there are."""
        return len(self._stubs)

    def stub(self, shard: int) -> shard_node_pb2_grpc.ShardNodeAsyncStub:
        """The bare stub, for calls that answer a stream."""
        return self._stubs[shard]

    async def close(self) -> None:
        """Cancels what is in flight and closes the connections."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def call(self, shard: int, method: str, request: Message) -> Any:
        """As NodeCalls.call."""
        with self._in_flight_call(shard, method) as timeout, errors_of(shard):
            return await getattr(self._stubs[shard], method)(request, timeout=timeout, metadata=metadata_to_pass_on())

    @asynccontextmanager
    async def participate(self, shard: int) -> AsyncIterator[Participant]:
        """As Nodes.participate."""
        with self._in_flight_call(shard, "Participate") as timeout:
            stream = self._stubs[shard].Participate(timeout=timeout, metadata=metadata_to_pass_on())
            participant = StreamParticipant(shard, stream)
            try:
                yield participant
            finally:
                await participant.leave()

    @contextmanager
    def _in_flight_call(self, shard: int, method: str) -> Iterator[float]:
        """Records and counts a call, and says how many seconds it may take. Raises Overloaded and DeadlineExceeded."""
        context = current_call_context()
        remaining_seconds = context.remaining_seconds()
        if self._in_flight[shard] >= MAX_CALLS_IN_FLIGHT:
            raise errors.Overloaded(f"too many calls to shard {shard} are in flight", shard=shard)
        context.record(shard, method)
        self._in_flight[shard] += 1
        try:
            yield remaining_seconds
        finally:
            self._in_flight[shard] -= 1
