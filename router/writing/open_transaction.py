"""A transaction that is told one statement after another, by a client that decides between them.

What a crash leaves is what it leaves of every transaction: until the commit nothing is prepared anywhere, so that a
router that dies takes its streams to the nodes along, and these roll back; the commit is that of Transact.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from crosskey import errors
from crosskey.router.calls.call_context import current_call_context
from crosskey.router.calls.cluster import MENDED_BY_NEWER_SCHEMA
from crosskey.router.calls.node_errors import safe_to_retry
from crosskey.router.committing.distributed_transaction import DistributedTransaction, Savepoint
from crosskey.router.planning.ids_of_statements import refuse_ids_of_statements
from crosskey.router.planning.parent_references import remember_parents
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.shadow_hints import ShadowHints
from crosskey.router.planning.taken_values import refuse_taken
from crosskey.router.writing.pipeline import Pipeline
from crosskey.router.writing.statement_results import statement_results
from crosskey.router.writing.step_running import StepRunner
from crosskey.router.writing.upserting import LostRace
from crosskey.v1 import router_pb2

NewerView: TypeAlias = Callable[[SchemaView], Awaitable[SchemaView | None]]
"""Answers the schema in force if it is another one."""

IN_FAILED_TRANSACTION = "25P02"

MAX_NESTED_GROUPS = 40
"""As deep as those of Transact."""

ABORTED = "current transaction is aborted, commands ignored until end of transaction block"
"""PostgreSQL's words."""


@dataclass(slots=True)
class _Group:
    """A group that is open: where it began, and what it has failed with, so that it is undone already."""

    savepoint: Savepoint
    done_plans: int
    """How many writes had been carried out before it."""
    error: errors.CrosskeyError | None = None


class OpenTransaction:
    """One transaction. Its methods are called one at a time.

    Any of them that raises, or is cancelled, rolls the transaction back; but inside of a group, one of STATEMENT_ERRORS
    rolls back the group. Nothing is run again: locks are taken, and constraints checked, as early as may be needed.
    """

    def __init__(self, view: SchemaView, pipeline: Pipeline, newer_view: NewerView) -> None:
        """Nothing is opened before it is needed."""
        self._pipeline = pipeline
        self._newer_view = newer_view
        self._begin(view)
        self._groups: list[_Group] = []
        self._aborted: errors.CrosskeyError | None = None
        self._is_ending = False
        """Whether its commit was asked for."""
        self._is_over = False

    def _begin(self, view: SchemaView) -> None:
        self._view = view
        self._transaction: DistributedTransaction = self._pipeline.writer.begin()
        if view.plan.anchored:
            self._transaction.lock_early()
        preparing = self._pipeline.writer.preparing(view)
        self._runner = StepRunner(view, self._transaction, preparing, hints=ShadowHints())
        self._has_answered = False

    @property
    def is_over(self) -> bool:
        """Whether it has ended, so that nothing of it is open on shards."""
        return self._is_over

    async def run(self, statement: router_pb2.Statement) -> router_pb2.StatementResult:
        """Runs a statement, and checks what is due at its end.

        Raises what planning raises, what shards say, and TransactionAborted after an error.
        """
        self._check_goes_on()
        try:
            with safe_to_retry():
                answer = await self._run_by_newest_schema(statement)
            self._has_answered = True
            return answer
        except errors.STATEMENT_ERRORS as error:
            await self._undo(error)
            raise
        except LostRace as lost:
            told = lost.for_good()
            await (self._undo(told) if isinstance(told, errors.STATEMENT_ERRORS) else self.abort(told))
            raise told from None
        except BaseException as error:
            await self.abort(error)
            raise

    async def begin_group(self) -> None:
        """Begins a group inside of those that are open. Raises TransactionAborted, and InvalidRequest for too deep."""
        self._check_goes_on()
        if len(self._groups) == MAX_NESTED_GROUPS:
            too_deep = errors.InvalidRequest(f"groups nest at most {MAX_NESTED_GROUPS} deep")
            await self.abort(too_deep)
            raise too_deep
        self._groups.append(_Group(self._transaction.set_savepoint(), len(self._runner.done_plans)))

    async def end_group(self, *, roll_back: bool) -> None:
        """Ends the innermost group.

        Raises InvalidRequest if there is none, TransactionAborted if it is to be kept and has failed, and what shards
        say.
        """
        self._check_not_aborted()
        if not self._groups:
            raise errors.InvalidRequest("there is no group to end")
        group = self._groups.pop()
        if group.error is not None:
            if not roll_back:
                raise _aborted(group.error, "The group is undone already: roll it back.")
            return
        if not roll_back:
            self._transaction.release(group.savepoint)
            return
        try:
            await self._roll_back_to(group)
        except BaseException as error:
            await self.abort(error)
            raise

    async def commit(self) -> None:
        """Commits. Raises as Writer.transact does, but Conflict at once; TransactionAborted after an error."""
        try:
            self._check_goes_on()
        except errors.TransactionAborted as error:
            await self.abort(error)
            raise
        self._is_ending = True
        if not self._transaction.has_begun:
            self._is_over = True
            return
        try:
            while self._groups:
                self._transaction.release(self._groups.pop().savepoint)
            with safe_to_retry():
                await self._runner.commit()
        finally:
            await self._leave()
        remember_parents(self._view, self._pipeline.writer.hints, self._runner.done_plans)
        self._pipeline.anchor_lookup.remember(self._view, self._runner.done_plans)

    def doom(self, why: BaseException) -> None:
        """Refuses what is asked from now on, for that reason, unless the commit was asked for; `abort` is to follow.

        Unlike the other methods it may be called while another one is at work, which goes on to its end.
        """
        if not self._is_ending and (self._aborted is None or isinstance(why, errors.TransactionTimedOut)):
            self._aborted = _told(why)

    async def abort(self, why: BaseException) -> None:
        """Rolls everything back, unless it is committed; what is asked from now on is refused for that reason."""
        self.doom(why)
        self._groups.clear()
        await self._leave()

    async def _leave(self) -> None:
        try:
            await self._transaction.leave()
        finally:
            self._is_over = True

    async def _run_by_newest_schema(self, statement: router_pb2.Statement) -> router_pb2.StatementResult:
        """Runs a statement; the first one may find that the schema has changed, and begin the transaction anew."""
        try:
            return await self._run(statement)
        except MENDED_BY_NEWER_SCHEMA:
            newer = None if self._has_answered or self._groups else await self._newer_view(self._view)
            if newer is None:
                raise
            await self._transaction.leave()
            self._begin(newer)
            return await self._run(statement)

    async def _run(self, statement: router_pb2.Statement) -> router_pb2.StatementResult:
        try:
            refuse_ids_of_statements(router_pb2.TransactRequest(statements=[statement]))
            refuse_taken(statement)
            step = await self._pipeline.plan_alone(self._view, statement)
            result = await self._runner.run_one(step)
        except errors.CrosskeyError as error:
            if error.metadata.get("statement") == "0":
                # There is one only. Those of a group in it are named, such as "0.1".
                del error.metadata["statement"]
            raise
        [answer] = statement_results([statement], [result])
        return answer

    async def _undo(self, error: errors.CrosskeyError) -> None:
        """Undoes the innermost group, or everything."""
        if not self._groups:
            await self.abort(error)
            return
        group = self._groups[-1]
        try:
            await self._roll_back_to(group)
        except BaseException as worse:
            await self.abort(worse)
            raise
        group.error = error

    async def _roll_back_to(self, group: _Group) -> None:
        await self._transaction.roll_back_to(group.savepoint)
        del self._runner.done_plans[group.done_plans :]

    def _check_goes_on(self) -> None:
        self._check_not_aborted()
        if self._groups and self._groups[-1].error is not None:
            raise _aborted(self._groups[-1].error, "End the group, rolling it back.")

    def _check_not_aborted(self) -> None:
        # Its calls to nodes go on by the schema that it began with.
        current_call_context().epoch = self._view.epoch
        if self._is_ending:
            raise errors.TransactionAborted("the transaction has ended with its commit")
        if isinstance(self._aborted, errors.TransactionTimedOut):
            raise self._aborted
        if self._aborted is not None:
            raise _aborted(self._aborted, "Roll it back, and begin another one.")


def _told(why: BaseException) -> errors.CrosskeyError:
    """The reason as a client may know it."""
    if isinstance(why, errors.CrosskeyError):
        return why
    if isinstance(why, asyncio.CancelledError):
        return errors.Cancelled("a call was cancelled, or its deadline passed")
    return errors.InternalError("an internal error")


def _aborted(error: errors.CrosskeyError, hint: str) -> errors.TransactionAborted:
    return errors.TransactionAborted(ABORTED, sqlstate=IN_FAILED_TRANSACTION, detail=error.message, hint=hint)
