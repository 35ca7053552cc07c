"""The clients: AsyncClient for asyncio, Client for everything else. They have the same methods."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from contextlib import suppress
from copy import copy
from typing import Any, Concatenate, ParamSpec, Self, TypeVar
from weakref import finalize

import grpc
import grpc.aio

from crosskey import _operations as operations
from crosskey import errors, requests
from crosskey._channel import Options, checked_address, with_defaults
from crosskey._operations import Call
from crosskey._paging import Pages
from crosskey.blocking_call_stream import BlockingCallStream
from crosskey.call_stream import CallStream
from crosskey.exact_json import Row
from crosskey.includes import Include
from crosskey.pending_calls import Peer
from crosskey.predicates import Order, Where
from crosskey.requests import Watched
from crosskey.row_reading import JsonRows, RowReader, TypedRows, ask_for
from crosskey.v1 import router_pb2
from crosskey.v1.admin_pb2_grpc import AdminStub
from crosskey.v1.router_pb2_grpc import RouterStub
from crosskey.watching import AsyncWatch, Watch

DEFAULT_TIMEOUT = 30.0
"""Seconds that a call may take, unless the client says otherwise."""

_ROUTER = Peer(
    name="the router",
    call=router_pb2.Call,
    request=router_pb2.SessionRequest,
    lost=lambda error: (
        errors.ShardUnavailable("the router ended the connection") if error is None else errors.from_rpc_error(error)
    ),
)

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")


def _awaited(
    operation: Callable[Arguments, Call[Answer]],
) -> Callable[Concatenate[AsyncClient, Arguments], Coroutine[Any, Any, Answer]]:
    """The operation as a method of AsyncClient."""

    async def method(self: AsyncClient, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        return await self._carry_out(operation(*args, **kwargs))

    _name_after(method, operation)
    return method


def _blocking(
    operation: Callable[Arguments, Call[Answer]],
) -> Callable[Concatenate[Client, Arguments], Answer]:
    """The operation as a method of Client."""

    def method(self: Client, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        return self._carry_out(operation(*args, **kwargs))

    _name_after(method, operation)
    return method


def _name_after(method: Callable[..., Any], operation: Callable[..., Any]) -> None:
    """Gives the method the operation's name and docstring; functools.wraps would show its signature less one."""
    method.__name__ = operation.__name__
    method.__doc__ = operation.__doc__


class _InUse:
    """Shared by all clients on one connection: when none of them is left, `let_go` ends what they did not close."""

    def __init__(self, let_go: Callable[[], None]) -> None:
        finalize(self, let_go)


class AsyncClient:
    """A client of a router, for asyncio.

    `address` is HOST:PORT, `timeout` the seconds that each call may take. Calls are never repeated by themselves:
    the `retryable` of an error says whether that is safe. Close the client, or use `async with`. All calls share one
    stream, Router.Session, which is opened anew when it breaks. Raises ValueError for an address that is none.

    A client that is `typed` reads values of Python's types, by the schema, which it asks for once: int, Decimal, UUID,
    datetime, bytes and others, as docs/types.md says. Else what JSON has no type for is read as text.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        options: Options = (),
        typed: bool = False,
    ) -> None:
        address = checked_address(address)
        self.timeout = timeout
        self._rows: RowReader = TypedRows() if typed else JsonRows()
        self._channel = (
            grpc.aio.insecure_channel(address, with_defaults(options))
            if credentials is None
            else grpc.aio.secure_channel(address, credentials, with_defaults(options))
        )
        router = self._router = RouterStub(self._channel)
        self._stubs = {"Router": router, "Admin": AdminStub(self._channel)}
        self._session = CallStream(_ROUTER, router.Session)
        self._in_use = _InUse(self._session.let_go)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls in flight are cancelled."""
        await self._session.close()
        await self._channel.close()

    def with_timeout(self, timeout: float) -> Self:
        """Returns a client on the same connection whose calls may take that many seconds."""
        other = copy(self)
        other.timeout = timeout
        return other

    async def wait_until_connected(self) -> None:
        """Waits for the router to accept connections. Raises ShardUnavailable if it does not within the timeout."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), self.timeout)
        except TimeoutError as error:
            raise _no_connection(self.timeout) from error

    insert = _awaited(operations.insert)
    get = _awaited(operations.get)
    update = _awaited(operations.update)
    delete = _awaited(operations.delete)
    list_page = _awaited(operations.list_page)
    first = _awaited(operations.first)
    exists = _awaited(operations.exists)
    count = _awaited(operations.count)
    aggregate = _awaited(operations.aggregate)
    transact = _awaited(operations.transact)
    explain = _awaited(operations.explain)
    apply_schema = _awaited(operations.apply_schema)
    describe_schema = _awaited(operations.describe_schema)
    describe_topology = _awaited(operations.describe_topology)
    audit = _awaited(operations.audit)
    drop_unused_shadows = _awaited(operations.drop_unused_shadows)
    list_in_doubt = _awaited(operations.list_in_doubt)
    describe_events = _awaited(operations.describe_events)

    async def get_or_none(self, table: str, key: Row | None = None, /, **columns: Any) -> dict[str, Any] | None:
        """Returns the row with that primary or unique key, as `get` does; None if there is none."""
        try:
            return await self.get(table, key, **columns)
        except errors.RowNotFound:
            return None

    async def list(
        self,
        table: str,
        where: Where | None = None,
        order_by: Order | None = None,
        page_size: int = 0,
        *,
        limit: int | None = None,
        columns: Iterable[str] = (),
        include: Include | None = None,
    ) -> AsyncIterator[dict[str, Any]]:
        """Yields all rows in order, or the first `limit` of them, fetching a page at a time.

        `columns` and `include` are those of `get`.
        """
        pages = Pages(page_size, limit)
        columns = [*columns]
        while pages.wants_more:
            page = await self.list_page(table, where, order_by, pages.next_size, pages.next_token, columns, include)
            for row in pages.take(page):
                yield row

    def watch(
        self, tables: Watched, where: Where | None = None, *, after: str = "", resolved_interval: float = 1.0
    ) -> AsyncWatch:
        """Watches tables with the tag @events: one, several, or a mapping of tables to conditions.

        Yields each committed change of a row as an `Event`, from now on or behind a token. `where` has conditions of
        which the row before or after a change meets all, for the tables that have none of their own. The `timeout` of
        the client is no bound of it. What is committed once it has begun is told: that of AsyncClient begins with
        `async with` or `async for`, that of Client with this call.

        Raises UnknownTable, InvalidRequest for a table without @events, InvalidPageToken for a damaged token,
        EventsGone for one that is too old, and ShardUnavailable where the stream breaks: then watch again, after its
        `token`.
        """
        request = requests.watch(tables, where, after, resolved_interval)
        return AsyncWatch(lambda: self._router.Watch(request))

    async def _carry_out(self, call: Call[Answer]) -> Answer:
        tables = ask_for(call.request, self._rows.form)
        if isinstance(self._rows, TypedRows) and not self._rows.knows(tables):
            await self._learn(self._rows)
        if field := call.session_field:
            answer = await self._session.ask(call.on_session(field), self.timeout)
            return call.read(getattr(answer, field), self._rows)
        rpc = getattr(self._stubs[call.service], call.method)(call.request, timeout=self.timeout)
        try:
            response = [one async for one in rpc] if call.streaming else await rpc
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from error
        return call.read(response, self._rows)

    async def _learn(self, rows: TypedRows) -> None:
        """Learns the schema. Without one the call itself is refused, in words that fit it."""
        with suppress(errors.SchemaNotLoaded):
            rows.learn(await self.describe_schema())


class Client:
    """A client of a router that blocks; safe to share between threads.

    `address` is HOST:PORT, `timeout` the seconds that each call may take. Calls are never repeated by themselves:
    the `retryable` of an error says whether that is safe. Close the client, or use `with`. All calls share one
    stream, Router.Session, which is opened anew when it breaks. Raises ValueError for an address that is none.

    A client that is `typed` reads values of Python's types, by the schema, which it asks for once: int, Decimal, UUID,
    datetime, bytes and others, as docs/types.md says. Else what JSON has no type for is read as text.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        options: Options = (),
        typed: bool = False,
    ) -> None:
        address = checked_address(address)
        self.timeout = timeout
        self._rows: RowReader = TypedRows() if typed else JsonRows()
        self._channel = (
            grpc.insecure_channel(address, with_defaults(options))
            if credentials is None
            else grpc.secure_channel(address, credentials, with_defaults(options))
        )
        router = self._router = RouterStub(self._channel)
        self._stubs = {"Router": router, "Admin": AdminStub(self._channel)}
        self._session = BlockingCallStream(_ROUTER, router.Session)
        self._in_use = _InUse(self._session.let_go)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls in flight are cancelled."""
        self._session.close()
        self._channel.close()

    def with_timeout(self, timeout: float) -> Self:
        """Returns a client on the same connection whose calls may take that many seconds."""
        other = copy(self)
        other.timeout = timeout
        return other

    def wait_until_connected(self) -> None:
        """Waits for the router to accept connections. Raises ShardUnavailable if it does not within the timeout."""
        try:
            grpc.channel_ready_future(self._channel).result(self.timeout)
        except grpc.FutureTimeoutError as error:
            raise _no_connection(self.timeout) from error

    insert = _blocking(operations.insert)
    get = _blocking(operations.get)
    update = _blocking(operations.update)
    delete = _blocking(operations.delete)
    list_page = _blocking(operations.list_page)
    first = _blocking(operations.first)
    exists = _blocking(operations.exists)
    count = _blocking(operations.count)
    aggregate = _blocking(operations.aggregate)
    transact = _blocking(operations.transact)
    explain = _blocking(operations.explain)
    apply_schema = _blocking(operations.apply_schema)
    describe_schema = _blocking(operations.describe_schema)
    describe_topology = _blocking(operations.describe_topology)
    audit = _blocking(operations.audit)
    drop_unused_shadows = _blocking(operations.drop_unused_shadows)
    list_in_doubt = _blocking(operations.list_in_doubt)
    describe_events = _blocking(operations.describe_events)

    def get_or_none(self, table: str, key: Row | None = None, /, **columns: Any) -> dict[str, Any] | None:
        """Returns the row with that primary or unique key, as `get` does; None if there is none."""
        try:
            return self.get(table, key, **columns)
        except errors.RowNotFound:
            return None

    def list(
        self,
        table: str,
        where: Where | None = None,
        order_by: Order | None = None,
        page_size: int = 0,
        *,
        limit: int | None = None,
        columns: Iterable[str] = (),
        include: Include | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yields all rows in order, or the first `limit` of them, fetching a page at a time.

        `columns` and `include` are those of `get`.
        """
        pages = Pages(page_size, limit)
        columns = [*columns]
        while pages.wants_more:
            page = self.list_page(table, where, order_by, pages.next_size, pages.next_token, columns, include)
            yield from pages.take(page)

    def watch(
        self, tables: Watched, where: Where | None = None, *, after: str = "", resolved_interval: float = 1.0
    ) -> Watch:
        """Watches tables with the tag @events: one, several, or a mapping of tables to conditions.

        Yields each committed change of a row as an `Event`, from now on or behind a token. `where` has conditions of
        which the row before or after a change meets all, for the tables that have none of their own. The `timeout` of
        the client is no bound of it. What is committed once it has begun is told: that of AsyncClient begins with
        `async with` or `async for`, that of Client with this call.

        Raises UnknownTable, InvalidRequest for a table without @events, InvalidPageToken for a damaged token,
        EventsGone for one that is too old, and ShardUnavailable where the stream breaks: then watch again, after its
        `token`.
        """
        return Watch(self._router.Watch(requests.watch(tables, where, after, resolved_interval)))

    def _carry_out(self, call: Call[Answer]) -> Answer:
        tables = ask_for(call.request, self._rows.form)
        if isinstance(self._rows, TypedRows) and not self._rows.knows(tables):
            self._learn(self._rows)
        if field := call.session_field:
            answer = self._session.ask(call.on_session(field), self.timeout)
            return call.read(getattr(answer, field), self._rows)
        rpc = getattr(self._stubs[call.service], call.method)
        try:
            response = rpc(call.request, timeout=self.timeout)
            responses = [*response] if call.streaming else response
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from error
        return call.read(responses, self._rows)

    def _learn(self, rows: TypedRows) -> None:
        """Learns the schema. Without one the call itself is refused, in words that fit it."""
        with suppress(errors.SchemaNotLoaded):
            rows.learn(self.describe_schema())


def _no_connection(timeout: float) -> errors.ShardUnavailable:
    return errors.ShardUnavailable(f"the router accepts no connection (tried for {timeout:g} s)")
