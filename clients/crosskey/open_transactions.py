"""Transactions that go on over several calls: AsyncTransaction for asyncio, Transaction for everything else.

What both of them say to the router is written once, as functions that make calls of Router.Session.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Self, TypeVar

from typing_extensions import override

from crosskey import _operations as operations
from crosskey import errors, requests
from crosskey._operations import Call
from crosskey.row_reading import RowReader
from crosskey.statements import AsyncStatements, Statements, awaited, blocking
from crosskey.v1 import router_pb2

MAX_STATEMENT_BYTES = (4 << 20) - 4096
"""What a stream carries at once, less what is around it. Nothing of a transaction goes by another way."""

MAX_SECONDS = 7 * 24 * 3600
"""Far above what routers grant."""

Answer = TypeVar("Answer")


def _begin(idle_timeout: float | None, timeout: float | None) -> router_pb2.Call:
    request = router_pb2.BeginRequest(idle_timeout_ms=_milliseconds(idle_timeout), timeout_ms=_milliseconds(timeout))
    return router_pb2.Call(begin=request)


def _milliseconds(seconds: float | None) -> int:
    """As a request has it; 0 for what the router says. Raises ValueError for what is no time."""
    if seconds is None:
        return 0
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"a transaction takes more than 0 and at most {MAX_SECONDS:,} seconds, not {seconds}")
    return max(1, round(seconds * 1000))


def _run(name: str, call: Call[Answer]) -> router_pb2.Call:
    """The call for a statement. Raises RequestTooLarge."""
    request = router_pb2.RunStatementRequest(transaction=name, statement=requests.as_statement(call.request))
    if request.ByteSize() > MAX_STATEMENT_BYTES:
        raise errors.RequestTooLarge(
            f"the statement has {request.ByteSize():,} bytes, and one of an open transaction may have"
            f" {MAX_STATEMENT_BYTES:,}",
        )
    return router_pb2.Call(run_statement=request)


def _read(call: Call[Answer], answer: router_pb2.Answer, rows: RowReader) -> Answer:
    """What a statement came to."""
    result = answer.run_statement.result
    return call.read(getattr(result, result.WhichOneof("result") or ""), rows)


@contextmanager
def _safe_to_retry() -> Iterator[None]:
    """For what comes before the commit: a transaction whose connection is lost is rolled back, and may be run again."""
    try:
        yield
    except errors.ShardUnavailable as error:
        error.retryable = True
        raise


def _begin_group(name: str) -> router_pb2.Call:
    return router_pb2.Call(begin_group=router_pb2.BeginGroupRequest(transaction=name))


def _end_group(name: str, *, roll_back: bool) -> router_pb2.Call:
    return router_pb2.Call(end_group=router_pb2.EndGroupRequest(transaction=name, roll_back=roll_back))


def _commit(name: str) -> router_pb2.Call:
    return router_pb2.Call(commit=router_pb2.CommitRequest(transaction=name))


def _roll_back(name: str) -> router_pb2.Call:
    return router_pb2.Call(roll_back=router_pb2.RollBackRequest(transaction=name))


class AsyncTransaction(AsyncStatements):
    """A transaction of an AsyncClient, for one task at a time: its methods are those of the client.

    It is committed at the end of its block, and rolled back if an exception leaves the block. Nothing is repeated by
    itself. An error of a statement ends the transaction: what is asked afterwards raises TransactionAborted. Inside of
    `group` it only ends the group. If it is `retryable`, the whole transaction left no trace, and may be run again.
    """

    def __init__(
        self,
        ask: Callable[[router_pb2.Call], Awaitable[Any]],
        rows_for: Callable[[Call[Any]], Awaitable[RowReader]],
        idle_timeout: float | None,
        timeout: float | None,
    ) -> None:
        self._ask = ask
        self._rows_for = rows_for
        self._beginning = _begin(idle_timeout, timeout)
        self._name = ""

    async def __aenter__(self) -> Self:
        with _safe_to_retry():
            self._name = (await self._ask(self._beginning)).begin.transaction
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            await self.commit()
        else:
            # What went wrong before is what is raised; a transaction that nobody ends is rolled back anyway.
            with suppress(errors.CrosskeyError):
                await self.roll_back()

    run = awaited(operations.run)
    set_constraints = awaited(operations.set_constraints)

    async def commit(self) -> None:
        """Commits. Does nothing if it is committed or rolled back already. Raises what a check of the commit says."""
        name, self._name = self._name, ""
        if name:
            await self._ask(_commit(name))

    async def roll_back(self) -> None:
        """Undoes everything. Does nothing if it is committed or rolled back already."""
        name, self._name = self._name, ""
        if name:
            await self._ask(_roll_back(name))

    @asynccontextmanager
    async def group(self) -> AsyncIterator[None]:
        """Statements in its block are undone if an exception leaves it, as behind a savepoint; groups nest."""
        with _safe_to_retry():
            await self._ask(_begin_group(self._open_name()))
        try:
            yield
        except BaseException:
            with suppress(errors.CrosskeyError):
                await self._ask(_end_group(self._open_name(), roll_back=True))
            raise
        with _safe_to_retry():
            await self._ask(_end_group(self._open_name(), roll_back=False))

    @override
    async def _perform(self, call: Call[Answer]) -> Answer:
        name = self._open_name()
        rows = await self._rows_for(call)
        with _safe_to_retry():
            answer = await self._ask(_run(name, call))
        return _read(call, answer, rows)

    def _open_name(self) -> str:
        return _checked(self._name)


class Transaction(Statements):
    """A transaction of a Client, for one thread at a time: its methods are those of the client.

    It is committed at the end of its block, and rolled back if an exception leaves the block. Nothing is repeated by
    itself. An error of a statement ends the transaction: what is asked afterwards raises TransactionAborted. Inside of
    `group` it only ends the group. If it is `retryable`, the whole transaction left no trace, and may be run again.
    """

    def __init__(
        self,
        ask: Callable[[router_pb2.Call], Any],
        rows_for: Callable[[Call[Any]], RowReader],
        idle_timeout: float | None,
        timeout: float | None,
    ) -> None:
        self._ask = ask
        self._rows_for = rows_for
        self._beginning = _begin(idle_timeout, timeout)
        self._name = ""

    def __enter__(self) -> Self:
        with _safe_to_retry():
            self._name = self._ask(self._beginning).begin.transaction
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.commit()
        else:
            # What went wrong before is what is raised; a transaction that nobody ends is rolled back anyway.
            with suppress(errors.CrosskeyError):
                self.roll_back()

    run = blocking(operations.run)
    set_constraints = blocking(operations.set_constraints)

    def commit(self) -> None:
        """Commits. Does nothing if it is committed or rolled back already. Raises what a check of the commit says."""
        name, self._name = self._name, ""
        if name:
            self._ask(_commit(name))

    def roll_back(self) -> None:
        """Undoes everything. Does nothing if it is committed or rolled back already."""
        name, self._name = self._name, ""
        if name:
            self._ask(_roll_back(name))

    @contextmanager
    def group(self) -> Iterator[None]:
        """Statements in its block are undone if an exception leaves it, as behind a savepoint; groups nest."""
        with _safe_to_retry():
            self._ask(_begin_group(self._open_name()))
        try:
            yield
        except BaseException:
            with suppress(errors.CrosskeyError):
                self._ask(_end_group(self._open_name(), roll_back=True))
            raise
        with _safe_to_retry():
            self._ask(_end_group(self._open_name(), roll_back=False))

    @override
    def _perform(self, call: Call[Answer]) -> Answer:
        name = self._open_name()
        rows = self._rows_for(call)
        with _safe_to_retry():
            answer = self._ask(_run(name, call))
        return _read(call, answer, rows)

    def _open_name(self) -> str:
        return _checked(self._name)


def _checked(name: str) -> str:
    """The name of a transaction. Raises TransactionAborted if it is not open."""
    if not name:
        raise errors.TransactionAborted("the transaction is not open: it has ended, or its block was not entered")
    return name
