"""The transactions that go on over several calls of a session: which are open, and for how long they may be."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from crosskey import errors
from crosskey.router.calls.cluster import Cluster
from crosskey.router.planning.rights import allow
from crosskey.router.writing.open_transaction import OpenTransaction
from crosskey.router.writing.pipeline import Pipeline
from crosskey.serving.call_handlers import Handler
from crosskey.v1 import router_pb2

IDLE_TIMED_OUT = "25P03"
LASTED_TOO_LONG = "25P04"

MAX_REMEMBERED = 1000
"""Of a session's transactions that are rolled back, and whose client was not told so yet."""

MAX_CALLS = 1000
"""Of one transaction, at work or waiting for their turn."""

Answer = TypeVar("Answer")


@dataclass
class Bounds:
    """How many transactions may be open on a router, and for how long; `number` are."""

    maximum: int
    idle_seconds: float
    seconds: float
    number: int = 0


@dataclass
class Opener:
    """Opens transactions for all sessions of a router."""

    cluster: Cluster
    pipeline: Pipeline
    bounds: Bounds
    on_committed: Callable[[], None] = lambda: None
    """Called when one has committed."""

    async def open(self) -> OpenTransaction:
        """A new transaction. Raises Overloaded if too many are open, SchemaNotLoaded and ShardUnavailable."""
        view = await self.cluster.view()
        if self.bounds.number >= self.bounds.maximum:
            raise errors.Overloaded(
                f"this router has {self.bounds.number} transactions open already; try again later",
                hint="Commit sooner; or raise the router's bound, and the nodes' pools with it.",
            )
        return OpenTransaction(view, self.pipeline, self.cluster.newer_view)


@dataclass(eq=False)
class _Entry:
    """A transaction of a session; `turn` is held by the call that is at work on it."""

    transaction: OpenTransaction
    idle_seconds: float
    ends_at: float
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    calls: int = 0
    """How many are at work on it, or wait for that."""
    is_open: bool = True
    """Whether it may have something open on shards."""
    alarm: asyncio.TimerHandle | None = None


class SessionTransactions:
    """Those of one session."""

    def __init__(self, opener: Opener, on_closed: Callable[[], None]) -> None:
        """`on_closed` is called after one has ended, perhaps by itself."""
        self._opener = opener
        self._on_closed = on_closed
        self._entries: dict[str, _Entry] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self.handlers: dict[str, Handler] = {
            "begin": self._begin,
            "run_statement": self._run_statement,
            "begin_group": self._begin_group,
            "end_group": self._end_group,
            "commit": self._commit,
            "roll_back": self._roll_back,
        }

    def goes_on(self, kind: str, request: Any) -> bool:
        """Whether a call goes on with a transaction that is open."""
        if kind not in self.handlers or kind == "begin":
            return False
        entry = self._entries.get(request.transaction)
        return entry is not None and entry.is_open

    @property
    def is_idle(self) -> bool:
        """Whether none is open."""
        return not any(entry.is_open for entry in self._entries.values())

    async def close(self) -> None:
        """Rolls all back. No call is at work."""
        entries = list(self._entries.values())
        self._entries.clear()
        gone = errors.Cancelled("the session has ended")
        ending = [self._end(entry, gone) for entry in entries]
        await asyncio.gather(*ending, *self._leaving, return_exceptions=True)

    async def _begin(self, request: router_pb2.BeginRequest) -> router_pb2.BeginResponse:
        bounds = self._opener.bounds
        transaction = await self._opener.open()
        idle_seconds = _bounded(request.idle_timeout_ms, bounds.idle_seconds)
        seconds = _bounded(request.timeout_ms, bounds.seconds)
        entry = _Entry(transaction, idle_seconds, asyncio.get_running_loop().time() + seconds)
        bounds.number += 1
        name = secrets.token_hex(8)
        self._forget_oldest()
        self._entries[name] = entry
        self._set_alarm(entry)
        return router_pb2.BeginResponse(
            transaction=name, idle_timeout_ms=round(idle_seconds * 1000), timeout_ms=round(seconds * 1000)
        )

    async def _run_statement(self, request: router_pb2.RunStatementRequest) -> router_pb2.RunStatementResponse:
        allow(request.statement)

        async def run(transaction: OpenTransaction) -> router_pb2.StatementResult:
            return await transaction.run(request.statement)

        return router_pb2.RunStatementResponse(result=await self._in_turn(request.transaction, run))

    async def _begin_group(self, request: router_pb2.BeginGroupRequest) -> router_pb2.BeginGroupResponse:
        await self._in_turn(request.transaction, OpenTransaction.begin_group)
        return router_pb2.BeginGroupResponse()

    async def _end_group(self, request: router_pb2.EndGroupRequest) -> router_pb2.EndGroupResponse:
        async def end(transaction: OpenTransaction) -> None:
            await transaction.end_group(roll_back=request.roll_back)

        await self._in_turn(request.transaction, end)
        return router_pb2.EndGroupResponse()

    async def _commit(self, request: router_pb2.CommitRequest) -> router_pb2.CommitResponse:
        entry = self._entry(request.transaction)
        self._refuse_too_many(entry)
        self._come_to(entry)
        try:
            async with entry.turn:
                await entry.transaction.commit()
                self._opener.on_committed()
        finally:
            # Also if the call is cancelled before its turn has come.
            self._entries.pop(request.transaction, None)
            await self._end(entry, errors.Cancelled("its commit was cancelled"))
        return router_pb2.CommitResponse()

    async def _roll_back(self, request: router_pb2.RollBackRequest) -> router_pb2.RollBackResponse:
        entry = self._entries.pop(request.transaction, None)
        if entry is not None:
            self._come_to(entry)
            try:
                async with entry.turn:
                    pass
            finally:
                await self._end(entry, errors.Cancelled("the transaction was rolled back"))
        return router_pb2.RollBackResponse()

    async def _in_turn(self, name: str, work: Callable[[OpenTransaction], Awaitable[Answer]]) -> Answer:
        """Works on a transaction when the calls before are done, for as long as it may last."""
        entry = self._entry(name)
        self._refuse_too_many(entry)
        self._come_to(entry)
        try:
            async with asyncio.timeout_at(entry.ends_at), entry.turn:
                return await work(entry.transaction)
        except TimeoutError:
            late = _lasted_too_long()
            await self._end(entry, late)
            raise late from None
        except asyncio.CancelledError:
            await self._end(entry, errors.Cancelled("a call was cancelled, or its deadline passed"))
            raise
        finally:
            entry.calls -= 1
            if entry.transaction.is_over:
                self._closed(entry)
            elif not entry.calls:
                self._set_alarm(entry)

    def _entry(self, name: str) -> _Entry:
        entry = self._entries.get(name)
        if entry is None:
            raise errors.TransactionAborted(
                "the transaction is not open on this stream: it has ended, or the stream on which it was begun has",
                hint="It was rolled back, unless it was committed.",
            )
        return entry

    def _refuse_too_many(self, entry: _Entry) -> None:
        """Ends the transaction, and raises InvalidRequest, if very many calls wait: nothing may go on without one."""
        if entry.calls >= MAX_CALLS:
            too_many = errors.InvalidRequest(
                f"the transaction has {entry.calls:,} calls waiting, and is rolled back",
                hint="Wait for answers before you send more.",
            )
            self._leave_in_turn(entry, too_many)
            raise too_many

    def _come_to(self, entry: _Entry) -> None:
        """Notes that a call works on the transaction, or waits for that."""
        entry.calls += 1
        self._stop_alarm(entry)

    def _set_alarm(self, entry: _Entry) -> None:
        """Has the transaction rolled back if nothing is asked of it for too long."""
        loop = asyncio.get_running_loop()
        at = min(loop.time() + entry.idle_seconds, entry.ends_at)
        entry.alarm = loop.call_at(at, self._expire, entry)

    def _stop_alarm(self, entry: _Entry) -> None:
        if entry.alarm is not None:
            entry.alarm.cancel()
            entry.alarm = None

    def _expire(self, entry: _Entry) -> None:
        late = _idle_for_too_long(entry.idle_seconds)
        if asyncio.get_running_loop().time() >= entry.ends_at:
            late = _lasted_too_long()
        self._leave_in_turn(entry, late)

    async def _end(self, entry: _Entry, why: errors.CrosskeyError) -> None:
        """Has the transaction rolled back, unless its commit has begun. To be called by who does not hold the turn.

        Returns when that is done, but does not wait for a call that is at work on it.
        """
        leaving = self._leave_in_turn(entry, why)
        if not entry.turn.locked():
            await asyncio.shield(leaving)

    def _leave_in_turn(self, entry: _Entry, why: errors.CrosskeyError) -> asyncio.Task[None]:
        """Has nothing more done by the transaction, and leaves it when the call that is at work on it is done.

        A call that goes on after the transaction was left would begin branches that nobody leaves, or commit what is
        rolled back elsewhere.
        """
        entry.transaction.doom(why)
        task = asyncio.get_running_loop().create_task(self._leave(entry, why))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        return task

    async def _leave(self, entry: _Entry, why: errors.CrosskeyError) -> None:
        async with entry.turn:
            try:
                await entry.transaction.abort(why)
            finally:
                self._closed(entry)

    def _closed(self, entry: _Entry) -> None:
        """Notes that nothing of the transaction is open on shards."""
        self._stop_alarm(entry)
        if entry.is_open:
            entry.is_open = False
            self._opener.bounds.number -= 1
            self._on_closed()

    def _forget_oldest(self) -> None:
        """Forgets one that is rolled back, if there are very many."""
        if len(self._entries) >= MAX_REMEMBERED:
            self._entries.pop(next((name for name, entry in self._entries.items() if not entry.is_open), ""), None)


def _bounded(asked_ms: int, most_seconds: float) -> float:
    return min(asked_ms / 1000, most_seconds) if asked_ms else most_seconds


def _idle_for_too_long(seconds: float) -> errors.TransactionTimedOut:
    return errors.TransactionTimedOut(
        f"the transaction was rolled back: nothing was asked of it for {seconds:g} seconds",
        sqlstate=IDLE_TIMED_OUT,
        hint="Do what takes time before it begins.",
    )


def _lasted_too_long() -> errors.TransactionTimedOut:
    return errors.TransactionTimedOut(
        "the transaction was rolled back: it has lasted for as long as it may",
        sqlstate=LASTED_TOO_LONG,
        hint="Do less in one transaction, or have the router's bound raised.",
    )
