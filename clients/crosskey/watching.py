"""Watching tables: committed changes as they come, from `client.watch(..)`."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, Self, TypeAlias

import grpc
import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from crosskey import errors
from crosskey.exact_json import decode
from crosskey.v1 import router_pb2

Change: TypeAlias = Literal["insert", "update", "delete"]

_CHANGES: dict[router_pb2.Event.Type.ValueType, Change] = {
    router_pb2.Event.TYPE_INSERT: "insert",
    router_pb2.Event.TYPE_UPDATE: "update",
    router_pb2.Event.TYPE_DELETE: "delete",
}


@dataclass(frozen=True)
class Event:
    """A committed change of a row.

    An event that comes again has the same `id`. `key` is the primary key as text, of several columns as a JSON array of
    texts. `before` is None for an insert, `after` for a delete; both are in PostgreSQL's JSON form, also for a typed
    client. `watch(.., after=token)` goes on behind this event, or a few before it, which then come again.
    """

    id: str
    table: str
    key: str
    type: Change
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    time: datetime
    shard: int
    position: int
    transaction: int
    request_id: str
    token: str


@dataclass(frozen=True)
class Resolved:
    """All that was committed before `time`, by the clock of each shard, has come; None if that is not known yet."""

    time: datetime | None
    token: str


class _Received:
    """What has come and is not taken yet, and the token behind what was taken."""

    def __init__(self) -> None:
        self._waiting: deque[Event | Resolved] = deque()
        self._token = ""
        self.token = ""

    def add(self, response: router_pb2.WatchResponse) -> None:
        """Adds the events of a response, each with a token that loses none, and a mark."""
        former, self._token = self._token, response.resume_token
        last = len(response.events) - 1
        for place, event in enumerate(response.events):
            self._waiting.append(_to_event(event, self._token if place == last else former))
        time = _to_time(response.resolved) if response.HasField("resolved") else None
        self._waiting.append(Resolved(time, self._token))

    def take(self) -> Event | Resolved | None:
        """The next one; None if there is none."""
        if not self._waiting:
            return None
        one = self._waiting.popleft()
        self.token = one.token
        return one


class Watch:
    """A stream of events: iterate over it, and close it, or use `with`.

    `token` is behind what was read, or a few events before: a next `watch(.., after=token)` loses none.
    """

    def __init__(self, call: Any) -> None:
        """Waits for the first response of the call of Router.Watch. Raises what the router says."""
        self._call = call
        self._is_closed = False
        self._received = _Received()
        if not self._receive():
            raise _ended()
        self._received.take()

    @property
    def token(self) -> str:
        """What goes on behind what was read."""
        return self._received.token

    def __iter__(self) -> Iterator[Event]:
        return (one for one in self.with_resolved() if isinstance(one, Event))

    def with_resolved(self) -> Iterator[Event | Resolved]:
        """The events, and between them marks up to when all have come: one at least for each `resolved_interval`."""
        while True:
            one = self._received.take()
            if one is not None:
                yield one
            elif not self._receive():
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the stream, and every iteration over it."""
        self._is_closed = True
        self._call.cancel()

    def _receive(self) -> bool:
        """Waits for a response; False if there is none, as the stream is closed."""
        try:
            self._received.add(next(self._call))
        except StopIteration:
            return False
        except grpc.RpcError as error:
            if self._is_closed:
                return False
            raise errors.from_rpc_error(error) from error
        return True


class AsyncWatch:
    """The same for asyncio: it begins with `async with`, or with the first `async for`."""

    def __init__(self, start: Callable[[], Any]) -> None:
        """Makes the call of Router.Watch when it begins."""
        self._start = start
        self._call: Any = None
        self._is_closed = False
        self._received = _Received()

    @property
    def token(self) -> str:
        """What goes on behind what was read; empty before it has begun."""
        return self._received.token

    async def begin(self) -> None:
        """Waits for the first response, unless it has begun. Raises what the router says."""
        if self._call is None:
            self._call = self._start()
            if not await self._receive():
                raise _ended()
            self._received.take()

    async def __aiter__(self) -> AsyncIterator[Event]:
        async with aclosing(self.with_resolved()) as all_of_them:
            async for one in all_of_them:
                if isinstance(one, Event):
                    yield one

    async def with_resolved(self) -> AsyncGenerator[Event | Resolved, None]:
        """The events, and between them marks up to when all have come: one at least for each `resolved_interval`."""
        await self.begin()
        while True:
            one = self._received.take()
            if one is not None:
                yield one
            elif not await self._receive():
                return

    async def __aenter__(self) -> Self:
        await self.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the stream, and every iteration over it."""
        self._is_closed = True
        if self._call is not None:
            self._call.cancel()

    async def _receive(self) -> bool:
        """Waits for a response; False if there is none, as the stream is closed."""
        try:
            response = await self._call.read()
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from error
        except asyncio.CancelledError:
            # Of the call, if it was closed; else of whoever waits for it.
            if self._is_closed:
                return False
            raise
        if response is grpc.aio.EOF:
            return False
        self._received.add(response)
        return True


def _to_event(event: router_pb2.Event, token: str) -> Event:
    return Event(
        id=event.id,
        table=event.table,
        key=event.key,
        type=_CHANGES[event.type],
        before=decode(event.before_json) if event.before_json else None,
        after=decode(event.after_json) if event.after_json else None,
        time=_to_time(event.time),
        shard=event.shard,
        position=event.position,
        transaction=event.transaction,
        request_id=event.request_id,
        token=token,
    )


def _to_time(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(UTC)


def _ended() -> errors.ShardUnavailable:
    return errors.ShardUnavailable("the router ended the stream")
