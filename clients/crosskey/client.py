"""The clients: AsyncClient for asyncio, Client for everything else. They have the same methods."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from typing import Any, Self, TypeVar
from weakref import finalize

import grpc
import grpc.aio
from typing_extensions import override

from crosskey import _operations as operations
from crosskey import errors, requests
from crosskey._channel import Options, checked_address, with_defaults
from crosskey._operations import Call
from crosskey.blocking_call_stream import BlockingCallStream
from crosskey.call_stream import CallStream
from crosskey.open_transactions import AsyncTransaction, Transaction
from crosskey.pending_calls import Peer
from crosskey.predicates import Where
from crosskey.repeating import Attempts
from crosskey.requests import Watched
from crosskey.row_reading import JsonRows, RowReader, TypedRows, ask_for
from crosskey.statements import AsyncStatements, Statements, awaited, blocking
from crosskey.tls import Tls, channel_credentials
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

Answer = TypeVar("Answer")


class _InUse:
    """Shared by all clients on one connection: when none of them is left, `let_go` ends what they did not close."""

    def __init__(self, let_go: Callable[[], None]) -> None:
        finalize(self, let_go)


class AsyncClient(AsyncStatements):
    """A client of a router, for asyncio.

    `address` is HOST:PORT, `timeout` the seconds that each call may take. With `retries`, reads and writes are
    repeated within that time if a connection is lost, a shard does not answer, or there is a conflict or a full pool;
    each write is carried out once. `repeated` counts the repeats by their reason, such as SHARD_UNAVAILABLE. Without,
    nothing is: the `retryable` of an error says whether that is safe. Close the client, or use `async with`. All
    calls share one stream, Router.Session, which is opened anew when it breaks. Raises ValueError for an address that
    is none.

    `tls` is a crosskey.Tls: by which CA the router is known, and perhaps who the client is. `token` says the latter
    too, and only goes over TLS (else ValueError). Raises OSError for a file that cannot be read.

    A client that is `typed` reads values of Python's types, by the schema, which it asks for once: int, Decimal, UUID,
    datetime, bytes and others, as docs/types.md says. Else what JSON has no type for is read as text.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        tls: Tls | None = None,
        token: str | None = None,
        options: Options = (),
        typed: bool = False,
        retries: bool = False,
    ) -> None:
        address = checked_address(address)
        credentials = channel_credentials(credentials, tls, token)
        self.timeout = timeout
        self.retries = retries
        self.repeated: Counter[str] = Counter()
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

    transact = awaited(operations.transact)
    explain = awaited(operations.explain)
    apply_schema = awaited(operations.apply_schema)
    describe_schema = awaited(operations.describe_schema)
    describe_topology = awaited(operations.describe_topology)
    audit = awaited(operations.audit)
    drop_unused_shadows = awaited(operations.drop_unused_shadows)
    list_in_doubt = awaited(operations.list_in_doubt)
    describe_events = awaited(operations.describe_events)
    list_cleanups = awaited(operations.list_cleanups)
    hold_position = awaited(operations.hold_position)
    plan_migration = awaited(operations.plan_migration)
    apply_migration = awaited(operations.apply_migration)
    list_migrations = awaited(operations.list_migrations)
    abort_migration = awaited(operations.abort_migration)

    def transaction(self, *, idle_timeout: float | None = None, timeout: float | None = None) -> AsyncTransaction:
        """Returns a transaction to talk to, for a block: `with client.transaction() as tx:`, or `async with`.

        `idle_timeout` and `timeout` are how many seconds it may be idle, and last until its commit; the router has
        bounds of its own, 10 and 60 seconds unless set otherwise. Beyond them it is rolled back, and raises
        TransactionTimedOut. Raises Overloaded if too many are open on the router.
        """
        return AsyncTransaction(self._ask, self._rows_for, idle_timeout, timeout)

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

    @override
    async def _perform(self, call: Call[Answer]) -> Answer:
        rows = await self._rows_for(call)
        if not self.retries:
            return call.read(await self._send(call, self.timeout), rows)
        attempts = Attempts(call, self.timeout, self.repeated)
        while True:
            try:
                response = await self._send(call, attempts.remaining_seconds)
            except errors.CrosskeyError as error:
                pause = attempts.pause_after(error)
            else:
                return call.read(response, rows)
            await asyncio.sleep(pause)

    async def _send(self, call: Call[Any], seconds: float) -> Any:
        if field := call.session_field:
            return getattr(await self._session.ask(call.on_session(field), seconds), field)
        rpc = getattr(self._stubs[call.service], call.method)(call.request, timeout=seconds)
        try:
            return [one async for one in rpc] if call.streaming else await rpc
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from error

    async def _ask(self, call: router_pb2.Call) -> Any:
        return await self._session.ask(call, self.timeout)

    async def _rows_for(self, call: Call[Any]) -> RowReader:
        """What reads the rows that a call answers, and asks for them in its form."""
        tables = ask_for(call.request, self._rows.form)
        if isinstance(self._rows, TypedRows) and not self._rows.knows(tables):
            await self._read_types(self._rows)
        return self._rows

    async def _read_types(self, rows: TypedRows) -> None:
        """Learns the schema. Without one the call itself is refused, in words that fit it."""
        with suppress(errors.SchemaNotLoaded):
            rows.use_schema(await self.describe_schema())


class Client(Statements):
    """A client of a router that blocks; safe to share between threads.

    `address` is HOST:PORT, `timeout` the seconds that each call may take. With `retries`, reads and writes are
    repeated within that time if a connection is lost, a shard does not answer, or there is a conflict or a full pool;
    each write is carried out once. `repeated` counts the repeats by their reason, such as SHARD_UNAVAILABLE. Without,
    nothing is repeated: the `retryable` of an error says whether that is safe. Close the client, or use `with`. All
    calls share one stream, Router.Session, which is opened anew when it breaks. Raises ValueError for an address that
    is none.

    `tls` is a crosskey.Tls: by which CA the router is known, and perhaps who the client is. `token` says the latter
    too, and only goes over TLS (else ValueError). Raises OSError for a file that cannot be read.

    A client that is `typed` reads values of Python's types, by the schema, which it asks for once: int, Decimal, UUID,
    datetime, bytes and others, as docs/types.md says. Else what JSON has no type for is read as text.
    """

    def __init__(
        self,
        address: str,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        credentials: grpc.ChannelCredentials | None = None,
        tls: Tls | None = None,
        token: str | None = None,
        options: Options = (),
        typed: bool = False,
        retries: bool = False,
    ) -> None:
        address = checked_address(address)
        credentials = channel_credentials(credentials, tls, token)
        self.timeout = timeout
        self.retries = retries
        self.repeated: Counter[str] = Counter()
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

    transact = blocking(operations.transact)
    explain = blocking(operations.explain)
    apply_schema = blocking(operations.apply_schema)
    describe_schema = blocking(operations.describe_schema)
    describe_topology = blocking(operations.describe_topology)
    audit = blocking(operations.audit)
    drop_unused_shadows = blocking(operations.drop_unused_shadows)
    list_in_doubt = blocking(operations.list_in_doubt)
    describe_events = blocking(operations.describe_events)
    list_cleanups = blocking(operations.list_cleanups)
    hold_position = blocking(operations.hold_position)
    plan_migration = blocking(operations.plan_migration)
    apply_migration = blocking(operations.apply_migration)
    list_migrations = blocking(operations.list_migrations)
    abort_migration = blocking(operations.abort_migration)

    def transaction(self, *, idle_timeout: float | None = None, timeout: float | None = None) -> Transaction:
        """Returns a transaction to talk to, for a block: `with client.transaction() as tx:`, or `async with`.

        `idle_timeout` and `timeout` are how many seconds it may be idle, and last until its commit; the router has
        bounds of its own, 10 and 60 seconds unless set otherwise. Beyond them it is rolled back, and raises
        TransactionTimedOut. Raises Overloaded if too many are open on the router.
        """
        return Transaction(self._ask, self._rows_for, idle_timeout, timeout)

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

    @override
    def _perform(self, call: Call[Answer]) -> Answer:
        rows = self._rows_for(call)
        if not self.retries:
            return call.read(self._send(call, self.timeout), rows)
        attempts = Attempts(call, self.timeout, self.repeated)
        while True:
            try:
                response = self._send(call, attempts.remaining_seconds)
            except errors.CrosskeyError as error:
                pause = attempts.pause_after(error)
            else:
                return call.read(response, rows)
            time.sleep(pause)

    def _send(self, call: Call[Any], seconds: float) -> Any:
        if field := call.session_field:
            return getattr(self._session.ask(call.on_session(field), seconds), field)
        rpc = getattr(self._stubs[call.service], call.method)
        try:
            response = rpc(call.request, timeout=seconds)
            return [*response] if call.streaming else response
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from error

    def _ask(self, call: router_pb2.Call) -> Any:
        return self._session.ask(call, self.timeout)

    def _rows_for(self, call: Call[Any]) -> RowReader:
        """What reads the rows that a call answers, and asks for them in its form."""
        tables = ask_for(call.request, self._rows.form)
        if isinstance(self._rows, TypedRows) and not self._rows.knows(tables):
            self._read_types(self._rows)
        return self._rows

    def _read_types(self, rows: TypedRows) -> None:
        """Learns the schema. Without one the call itself is refused, in words that fit it."""
        with suppress(errors.SchemaNotLoaded):
            rows.use_schema(self.describe_schema())


def _no_connection(timeout: float) -> errors.ShardUnavailable:
    return errors.ShardUnavailable(f"the router accepts no connection (tried for {timeout:g} s)")
