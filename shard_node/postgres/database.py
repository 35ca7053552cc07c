"""The node's connections to its PostgreSQL: bounded pools with a bounded queue."""

from __future__ import annotations

import asyncio
import logging
import select
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from crosskey import errors
from crosskey.shard_node.postgres.epochs import EPOCH_OPTION, FIRST_EPOCH, TELL_EPOCH, call_epoch
from crosskey.shard_node.postgres.refused_connections import NO_ROOM, NOT_REACHED, not_connected
from crosskey.shard_node.postgres.server_identity import REPLACED, leads_home

Connection = psycopg.AsyncConnection[TupleRow]

# Whoever holds a connection may be waiting for a prepared transaction to be finished: finishing has its own few.
FINISHING_POOL_SIZE = 2
# As many as there can be requests in flight: what is committed must not be refused its second phase.
FINISHING_POOL_QUEUE = 2000
POOL_TIMEOUT_SECONDS = 2.0
OPEN_TIMEOUT_SECONDS = 10.0
PROBE_TIMEOUT_SECONDS = 2
# A router that vanished without closing its stream must not hold locks for ever.
IDLE_IN_TRANSACTION_TIMEOUT_MS = 60_000
# A statement that waits for a lock does not see that its node is gone, or has closed the connection because a request
# to cancel came too early: it would go on, and be committed, long after nobody wants it.
CONNECTION_CHECK_INTERVAL_MS = 1000
# Just-in-time compilation is off: PostgreSQL's guess at how many rows a JSON text holds makes short statements seem
# long, and to compile them takes seconds.
PLANNER_OPTIONS = "-c jit=off"
PREPARE_AFTER_EXECUTIONS = 2
_UNKNOWN_EPOCH = 0

NO_CONNECTION: dict[str, tuple[type[errors.CrosskeyError], str]] = {
    "busy": (errors.Overloaded, "no connection to the shard's PostgreSQL became free in time"),
    "full": (errors.Overloaded, NO_ROOM),
    "down": (errors.ShardUnavailable, NOT_REACHED),
    "replaced": (errors.ShardUnavailable, REPLACED),
}
"""Why there is none, and what is raised then."""

# The default search path begins with "$user": a role named crosskey would put the user's tables among ours.
SESSION_OPTIONS = (
    "-c search_path=public -c synchronous_commit=on -c client_encoding=UTF8"
    " -c default_transaction_isolation=read\\ committed -c timezone=UTC -c datestyle=ISO"
    " -c extra_float_digits=1 -c bytea_output=hex -c intervalstyle=postgres"
)
"""What a statement means depends on these; a schema is read under them wherever it is read."""

# The pool logs every failed attempt with the connection's parameters; the health check reports the state instead.
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)

# A server that vanished without a word must not hold a connection for as long as TCP is patient: two hours.
_DEAD_PEER_PARAMETERS = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


class Database:
    """One PostgreSQL database, reached through a pool for requests and another for finishing transactions.

    Connections are in autocommit mode: transactions are begun and ended by explicit statements.
    """

    def __init__(self, dsn: str, *, pool_size: int, pool_queue: int, lock_timeout_ms: int) -> None:
        """Connects to nothing yet; `open` does."""
        self._dsn = dsn
        options = (
            f"{SESSION_OPTIONS} -c lock_timeout={lock_timeout_ms}"
            f" -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_MS}"
            f" -c client_connection_check_interval={CONNECTION_CHECK_INTERVAL_MS} {EPOCH_OPTION} {PLANNER_OPTIONS}"
        )
        self._parameters: dict[str, Any] = {
            "autocommit": True,
            "options": options,
            "application_name": "crosskey",
            **_DEAD_PEER_PARAMETERS,
        }
        self._pool_size = pool_size
        self._pool_queue = pool_queue
        self.epoch = FIRST_EPOCH
        """By which schema calls work that were planned by none."""
        self._told_epochs: WeakKeyDictionary[Connection, int] = WeakKeyDictionary()
        self._make_pools()
        self._probe: asyncio.Task[str] | None = None

    def _make_pools(self) -> None:
        self._requests = self._pool(self._pool_size, self._pool_queue)
        self._finishing = self._pool(FINISHING_POOL_SIZE, FINISHING_POOL_QUEUE)

    def _pool(self, size: int, queue: int) -> AsyncConnectionPool[Connection]:
        return AsyncConnectionPool(
            self._dsn,
            kwargs=self._parameters,
            min_size=min(size, 2),
            max_size=size,
            max_waiting=queue,
            timeout=POOL_TIMEOUT_SECONDS,
            reconnect_timeout=1,
            configure=_configure,
            open=False,
        )

    async def open(self) -> None:
        """Opens the pools. Raises ShardUnavailable if PostgreSQL does not answer, and Overloaded if it is full.

        Then it may be called again.
        """
        try:
            for pool in (self._requests, self._finishing):
                await pool.open(wait=True, timeout=OPEN_TIMEOUT_SECONDS)
        except PoolTimeout as error:
            await self.close()
            self._make_pools()
            kind, message = NO_CONNECTION[await self._why_none()]
            raise kind(message) from error

    async def close(self) -> None:
        """Closes every connection."""
        await self._requests.close()
        await self._finishing.close()

    async def connect(self) -> Connection:
        """A connection of its own, outside the pools. Raises ShardUnavailable, and Overloaded if there are too many."""
        try:
            return await psycopg.AsyncConnection.connect(
                self._dsn, connect_timeout=PROBE_TIMEOUT_SECONDS, **self._parameters
            )
        except psycopg.OperationalError as error:
            raise not_connected(error) from error

    async def borrow(self, *, for_finishing: bool = False) -> Connection:
        """A connection for a request. Raises Overloaded or ShardUnavailable if there is none in time."""
        try:
            connection = await _working_connection(self._finishing if for_finishing else self._requests)
        except TooManyRequests as error:
            raise errors.Overloaded("too many requests wait for a connection to the shard's PostgreSQL") from error
        except PoolTimeout as error:
            kind, message = NO_CONNECTION[await self._why_none()]
            raise kind(message) from error
        if not for_finishing and self._told_epochs.get(connection, FIRST_EPOCH) != (call_epoch.get() or self.epoch):
            await self._tell_epoch(connection, call_epoch.get() or self.epoch)
        return connection

    async def _tell_epoch(self, connection: Connection, epoch: int) -> None:
        """Has PostgreSQL know by which schema statements are made from now on. Raises ShardUnavailable."""
        # Whoever is cancelled here may have told it, or not.
        self._told_epochs[connection] = _UNKNOWN_EPOCH
        try:
            await connection.execute(TELL_EPOCH, (epoch,), prepare=False)
        except BaseException as error:
            await self.give_back(connection)
            if isinstance(error, psycopg.OperationalError):
                raise errors.ShardUnavailable(NOT_REACHED) from error
            raise
        self._told_epochs[connection] = epoch

    async def give_back(self, connection: Connection) -> None:
        """Returns what was borrowed; the pool rolls back what is open. Goes on to its end if it is cancelled."""
        await asyncio.shield(self._requests.putconn(connection))

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection for a request. Raises as `borrow`."""
        connection = await self.borrow()
        try:
            yield connection
        finally:
            await self.give_back(connection)

    @asynccontextmanager
    async def finishing_connection(self) -> AsyncIterator[Connection]:
        """A connection for finishing prepared transactions; never taken by requests. Raises as `borrow`."""
        connection = await self.borrow(for_finishing=True)
        try:
            yield connection
        finally:
            await asyncio.shield(self._finishing.putconn(connection))

    async def _why_none(self) -> str:
        """A key of NO_CONNECTION. However many ask at once, it is tried once."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._try_to_connect())
        return await asyncio.shield(self._probe)

    async def _try_to_connect(self) -> str:
        try:
            async with await self.connect() as connection:
                return "busy" if await leads_home(connection) else "replaced"
        except errors.Overloaded:
            return "full"
        except (errors.ShardUnavailable, psycopg.OperationalError):
            return "down"


async def _configure(connection: Connection) -> None:
    """Makes a connection ready for the pool; closes it and raises if it leads to another server than it should."""
    connection.prepare_threshold = PREPARE_AFTER_EXECUTIONS
    if not await leads_home(connection):
        await connection.close()
        raise psycopg.OperationalError(REPLACED)


async def _working_connection(pool: AsyncConnectionPool[Connection]) -> Connection:
    """A connection of the pool, past those that PostgreSQL closed while they were idle: a restart closes them all.

    Raises TooManyRequests and PoolTimeout.
    """
    works = False
    while not works:
        connection = await pool.getconn()
        try:
            works = not _has_something_to_read(connection.fileno()) or await _works(connection)
        finally:
            if not works:
                await asyncio.shield(_discard(pool, connection))
    return connection


async def _works(connection: Connection) -> bool:
    """Whether an idle connection can be used. PostgreSQL is asked only if there is something to read, which is rare."""
    try:
        await AsyncConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True


def _has_something_to_read(socket: int) -> bool:
    """Whether a notice, or the end, of a connection has arrived."""
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))


async def _discard(pool: AsyncConnectionPool[Connection], connection: Connection) -> None:
    """Has the pool replace the connection."""
    await connection.close()
    await pool.putconn(connection)
