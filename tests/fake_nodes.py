"""Nodes without gRPC: a test answers their calls itself."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable

from typing_extensions import override

from crosskey.internal.v1 import session_pb2
from crosskey.router.calls.call_context import current_call_context
from crosskey.router.calls.nodes import Node, Nodes

Answering = Callable[[int, session_pb2.Call], Awaitable[session_pb2.Answer]]
"""Answers a call to a shard, or raises what a node would."""


class FakeNode(Node):
    """A node whose calls are answered by a function."""

    def __init__(self, shard: int, answering: Answering) -> None:
        """Connects to nothing."""
        self._shard = shard
        self._answering = answering
        self._branches = itertools.count(1)

    @override
    async def ask(self, name: str, call: session_pb2.Call) -> session_pb2.Answer:
        if name:
            current_call_context().record(self._shard, name)
        return await self._answering(self._shard, call)

    @override
    async def ask_aside(self, call: session_pb2.Call, timeout_seconds: float) -> session_pb2.Answer:
        return await self._answering(self._shard, call)

    @override
    async def close(self) -> None:
        """Nothing is open."""


def fake_nodes(shards: int, answering: Answering) -> Nodes:
    """A cluster of such nodes."""
    return Nodes([FakeNode(shard, answering) for shard in range(shards)])
