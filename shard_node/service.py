"""The ShardNode service: the calls of a router's session, dispatched by one table."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc
import psycopg
from typing_extensions import override

from crosskey import errors
from crosskey.catalog.model import Table
from crosskey.internal.v1 import generated_values_pb2, reads_pb2, recovery_pb2, session_pb2, session_pb2_grpc
from crosskey.serving.call_handlers import CallHandlers, Handler
from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.session import SessionTypes
from crosskey.serving.sessions import Sessions
from crosskey.shard_node.events.feed import EventFeed
from crosskey.shard_node.events.reading import read_events
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.epochs import call_epoch
from crosskey.shard_node.postgres.postgres_errors import naming_table, translated
from crosskey.shard_node.reading.questions import QUESTIONS, reply
from crosskey.shard_node.reading.shared_reads import SharedReads, key_shape
from crosskey.shard_node.schema.shard import Shard, schema_has_changed, wrong_shard
from crosskey.shard_node.shared_statements import SharedStatements
from crosskey.shard_node.writing import default_values, recovery
from crosskey.shard_node.writing.branches import Branches
from crosskey.shard_node.writing.execution import tagged
from crosskey.shard_node.writing.own_gids import OwnGids

Context = grpc.aio.ServicerContext[Any, Any]

_TYPES = SessionTypes("Session", session_pb2.Answer, session_pb2.SessionResponse)
TableWork = Callable[[Connection, Table, Any], Awaitable[Any]]

_SECOND_PHASE = frozenset({"finish_prepared", "decide", "forget_decisions"})

_MAY_COME_OF_ANOTHER_SCHEMA = (
    errors.SchemaChanged,
    errors.UnknownTable,
    errors.UnknownColumn,
    errors.UnknownConstraint,
    errors.InvalidRequest,
    errors.InvalidValue,
    errors.NotSupported,
    errors.NotDeferrable,
    errors.InternalError,
)
"""What is said of a call, among others, if it names what is no more."""


def may_commit(kind: str, request: Any) -> bool:
    """Whether a call commits or prepares something, or finishes what is prepared."""
    ends = kind == "run" and request.commands and request.commands[-1].WhichOneof("command")
    return kind in _SECOND_PHASE or ends in {"commit", "prepare"}


class ShardNode(session_pb2_grpc.ShardNodeServicer):
    """Serves one shard."""

    def __init__(self, shard: Shard, feed: EventFeed, in_flight: CallsInFlight) -> None:
        self._sessions = Sessions(_TYPES, lambda: NodeCalls(shard, feed), in_flight)

    @override
    async def Session(  # type: ignore[override]  # grpc.aio takes a coroutine that reads and writes as well
        self, request_iterator: AsyncIterator[session_pb2.SessionRequest], context: Context
    ) -> None:
        await self._sessions.serve(context)

    async def drain(self) -> None:
        """Has every session end once nothing is under way there."""
        await self._sessions.drain()


class NodeCalls(CallHandlers):
    """What one router asks for."""

    def __init__(self, shard: Shard, feed: EventFeed) -> None:
        self._shard = shard
        self._gids = OwnGids(shard.identity.cluster, shard.identity.shard, shard.identity.shards)
        self._branches = Branches(shard, self._gids)
        handlers: dict[str, Handler] = {
            "run": self._branches.run,
            "leave": self._branches.leave,
            "finish_prepared": self._finish_prepared,
            "decide": self._decide,
            "forget_decisions": self._forget_decisions,
            **{kind: partial(self._reply, kind) for kind in QUESTIONS},
            "read": self._read,
            "compute_defaults": partial(self._with_table, default_values.compute_defaults),
            "draw_numbers": self._draw_numbers,
            "read_events": partial(read_events, shard, feed),
        }
        super().__init__(handlers)
        self._shared_reads = SharedStatements(SharedReads(shard).read)

    @override
    def refusal(self, message: session_pb2.SessionRequest) -> errors.CrosskeyError | None:
        shard = self._shard.identity.shard
        return None if message.shard == shard else wrong_shard(shard, message.shard)

    @override
    async def answer(self, kind: str, call: session_pb2.Call) -> dict[str, Any]:
        if not call.epoch:
            return await super().answer(kind, call)
        call_epoch.set(call.epoch)
        schema = self._shard.known_schema
        if (schema is None or schema.epoch != call.epoch) and not self.goes_on(kind, getattr(call, kind)):
            await self._shard.be_at(call.epoch)
        try:
            answered = await super().answer(kind, call)
        except Exception as error:
            if await self._comes_of_another_schema(error, kind, call):
                raise schema_has_changed() from error
            raise
        if kind == "run" and answered[kind].HasField("failure"):
            told = errors.from_failure(answered[kind].failure)
            if await self._comes_of_another_schema(told, kind, call):
                raise schema_has_changed() from told
        return answered

    async def _comes_of_another_schema(self, error: Exception, kind: str, call: session_pb2.Call) -> bool:
        """Whether an error may be about what is no more, or is not as it was when the call was planned.

        Nothing of the call was done then. An error that nobody foresaw says nothing of that where something may have
        been committed.
        """
        foreseen = isinstance(error, errors.CrosskeyError) and not isinstance(error, errors.InternalError)
        if foreseen and not isinstance(error, _MAY_COME_OF_ANOTHER_SCHEMA):
            return False
        if not foreseen and may_commit(kind, getattr(call, kind)):
            return False
        epoch = call.epoch
        return isinstance(error, errors.SchemaChanged) or await self._shard.has_moved(epoch)

    @override
    def goes_on(self, kind: str, request: Any) -> bool:
        return kind in _SECOND_PHASE or kind == "leave" or (kind == "run" and request.branch in self._branches)

    @override
    def expired(self, kind: str, request: Any) -> errors.CrosskeyError:
        if kind == "run" and request.commands and request.commands[-1].WhichOneof("command") == "commit":
            return errors.OutcomeUnknown("the deadline of the call passed before the commit was answered")
        return super().expired(kind, request)

    @property
    @override
    def is_idle(self) -> bool:
        return not len(self._branches)

    @override
    async def close(self) -> None:
        await self._branches.close()

    async def _finish_prepared(
        self, request: recovery_pb2.FinishPreparedRequest
    ) -> recovery_pb2.FinishPreparedResponse:
        self._gids.check_branches(request.gids)
        async with self._shard.database.finishing_connection() as connection:
            with translated():
                await recovery.finish_prepared(connection, request.gids, commit=request.commit)
        return recovery_pb2.FinishPreparedResponse()

    async def _decide(self, request: recovery_pb2.DecideRequest) -> recovery_pb2.DecideResponse:
        self._gids.check_decisions(request.gids)
        async with self._shard.database.finishing_connection() as connection:
            outcomes = await recovery.decide(connection, request.gids, peek=request.peek, patient=request.patient)
        return recovery_pb2.DecideResponse(outcomes=outcomes)

    async def _forget_decisions(
        self, request: recovery_pb2.ForgetDecisionsRequest
    ) -> recovery_pb2.ForgetDecisionsResponse:
        self._gids.check_decisions(request.gids)
        async with self._shard.database.finishing_connection() as connection:
            with translated():
                await recovery.forget_decisions(connection, request.gids)
        return recovery_pb2.ForgetDecisionsResponse()

    async def _read(self, request: reads_pb2.ReadRequest) -> reads_pb2.ReadResponse:
        shape = key_shape(request)
        shared = None if shape is None else await self._shared_reads.ask(shape, request)
        if shared is not None:
            return shared
        alone: reads_pb2.ReadResponse = await self._reply("read", request)
        return alone

    async def _reply(self, kind: str, request: Any) -> Any:
        """The reply to a question, on a connection of its own. Raises SchemaNotLoaded, and what the question raises."""
        async with self._shard.database.connection() as connection:
            schema = self._shard.known_schema or await self._shard.schema(connection)
            try:
                return await reply(connection, schema, kind, request)
            except psycopg.Error as error:
                told = tagged(error, "")
                if told is error:
                    raise
                raise told from error

    async def _with_table(self, work: TableWork, request: Any) -> Any:
        """Does work that concerns one table. Errors name it. Raises UnknownTable and SchemaNotLoaded, too."""
        async with self._shard.database.connection() as connection:
            schema = self._shard.known_schema or await self._shard.schema(connection)
            table = schema.table(request.table)
            try:
                return await work(connection, table, request)
            except (psycopg.Error, errors.CrosskeyError) as error:
                told = tagged(naming_table(error, table.name), "")
                if told is error:
                    raise
                raise told from error

    async def _draw_numbers(
        self, request: generated_values_pb2.DrawNumbersRequest
    ) -> generated_values_pb2.DrawNumbersResponse:
        async with self._shard.database.connection() as connection:
            sequence = (await self._shard.schema(connection)).sequence(request.sequence)
            with translated():
                return await default_values.draw_numbers(connection, sequence, request)
