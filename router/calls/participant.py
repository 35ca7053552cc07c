"""A participant of a distributed transaction, seen from the router."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, TypeAlias

import grpc
import grpc.aio

from crosskey import errors
from crosskey.v1 import error_reason_pb2, shard_node_pb2
from router.calls.node_errors import errors_of

LEAVE_SECONDS = 2.0
"""How long leaving waits for the node to roll back, so that a retry does not meet its own locks."""

Stream: TypeAlias = "grpc.aio.StreamStreamCall[shard_node_pb2.ParticipateRequest, shard_node_pb2.ParticipateResponse]"


class Participant(Protocol):
    """One participant; it rolls back when it is left, unless it was prepared or committed."""

    async def run(self, commands: Sequence[shard_node_pb2.Command]) -> Sequence[shard_node_pb2.CommandResult]:
        """Runs commands in order and answers one result each. Raises what the node raised, naming the shard.

        Behind a savepoint it can be told to roll back to that after one of STATEMENT_ERRORS, after others to nothing.
        """
        ...


class StreamParticipant:
    """A participant at the other end of a stream."""

    def __init__(self, shard: int, stream: Stream) -> None:
        self._shard = shard
        self._stream = stream
        self._is_running = False

    async def run(self, commands: Sequence[shard_node_pb2.Command]) -> Sequence[shard_node_pb2.CommandResult]:
        """As Participant.run."""
        self._is_running = True
        with errors_of(self._shard):
            response = await self._exchange(shard_node_pb2.ParticipateRequest(shard=self._shard, commands=commands))
        self._is_running = False
        if response.HasField("failure"):
            raise self._failed(response.failure)
        return response.results

    def _failed(self, failure: error_reason_pb2.Failure) -> errors.CrosskeyError:
        """The error of a statement behind a savepoint: the stream goes on."""
        error = errors.from_failure(failure)
        error.metadata["shard"] = str(self._shard)
        return error

    async def leave(self) -> None:
        """Ends the stream: waits for the node's end of it, or cuts a command short that still runs."""
        try:
            # However the stream ends, the node rolls back once it is gone.
            with suppress(TimeoutError, grpc.aio.AioRpcError, grpc.aio.InternalError, asyncio.InvalidStateError):
                if not self._is_running:
                    await self._finish()
        finally:
            self._stream.cancel()

    async def _finish(self) -> None:
        async with asyncio.timeout(LEAVE_SECONDS):
            await self._stream.done_writing()
            await self._stream.read()

    async def _exchange(self, request: shard_node_pb2.ParticipateRequest) -> shard_node_pb2.ParticipateResponse:
        # Writing to a stream that has ended already says nothing; reading says why it ended.
        with suppress(asyncio.InvalidStateError):
            await self._stream.write(request)
        response = await self._stream.read()
        if not isinstance(response, shard_node_pb2.ParticipateResponse):
            raise errors.ShardUnavailable(f"shard {self._shard} ended a transaction early", shard=self._shard)
        return response
