"""A router without shards: one table in memory, `users`, with the primary key `id`."""

# ruff: noqa: N802, ARG002 - the names and arguments are those of the generated servicers

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import grpc.aio
from structlog.testing import capture_logs

from crosskey import errors
from crosskey.exact_json import decode, encode
from crosskey.router.planning.given_values import given_key, given_rows, given_set, given_value
from crosskey.serving.call_handlers import CallHandlers
from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.interceptor import ErrorInterceptor
from crosskey.serving.session import SessionTypes
from crosskey.serving.sessions import Sessions
from crosskey.v1 import admin_pb2, router_pb2
from crosskey.v1.admin_pb2_grpc import AdminServicer, add_AdminServicer_to_server
from crosskey.v1.router_pb2_grpc import RouterServicer, add_RouterServicer_to_server

PAGE_SIZE = 2
MAX_IN_FLIGHT = 500


TYPES = SessionTypes("Router", router_pb2.Answer, router_pb2.SessionResponse, errors.to_cut_failure)


class ToyRouter(RouterServicer):
    """Keeps rows by id; understands keys and equality."""

    def __init__(self) -> None:
        self.rows: dict[Any, dict[str, Any]] = {}
        self.begun = self.stopped = 0
        """Calls for the slow row, and those of them that were cancelled."""
        self.sessions: Sessions
        self.streams: set[asyncio.Future[None]] = set()

    async def Session(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        """Carries the others."""
        stream = asyncio.ensure_future(self.sessions.serve(context))
        self.streams.add(stream)
        stream.add_done_callback(self.streams.discard)
        await stream

    async def Insert(self, request: router_pb2.InsertRequest, context: Any) -> router_pb2.InsertResponse:
        """Stores rows by their id."""
        rows = [self._insert(row) for row in given_rows(request)]
        return router_pb2.InsertResponse(rows_json=_text(rows))

    async def Get(self, request: router_pb2.GetRequest, context: Any) -> router_pb2.GetResponse:
        """Finds a row by its id; the id "slow" takes its time."""
        key = given_key(request)
        if key["id"] == "slow":
            await self._be_slow()
        if key["id"] not in self.rows:
            raise errors.RowNotFound("no such row", table=request.table, key=str(key))
        return router_pb2.GetResponse(row_json=_text(self.rows[key["id"]]))

    async def _be_slow(self) -> None:
        self.begun += 1
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.stopped += 1
            raise

    async def Update(self, request: router_pb2.UpdateRequest, context: Any) -> router_pb2.UpdateResponse:
        """Sets columns."""
        selected = self._selected(request)
        for row in selected:
            row.update(given_set(request))
        return router_pb2.UpdateResponse(rows_json=_text(selected))

    async def Delete(self, request: router_pb2.DeleteRequest, context: Any) -> router_pb2.DeleteResponse:
        """Forgets rows."""
        selected = self._selected(request)
        for row in selected:
            del self.rows[row["id"]]
        return router_pb2.DeleteResponse(count=len(selected))

    async def List(self, request: router_pb2.ListRequest, context: Any) -> router_pb2.ListResponse:
        """Pages by position, in the order of the ids."""
        start = int(request.page_token or 0)
        size = request.page_size or PAGE_SIZE
        descending = bool(request.order_by) and request.order_by[0].descending
        ordered = sorted(self._selected(request), key=lambda row: str(row["id"]), reverse=descending)
        more = start + size < len(ordered)
        rows_json = _text(ordered[start : start + size])
        return router_pb2.ListResponse(next_page_token=str(start + size) if more else "", rows_json=rows_json)

    async def StreamList(
        self, request: router_pb2.StreamListRequest, context: Any
    ) -> AsyncIterator[router_pb2.StreamListResponse]:
        """Answers one page."""
        page = await self.List(request.list, context)
        yield router_pb2.StreamListResponse(rows=page.rows, rows_json=page.rows_json)

    async def Count(self, request: router_pb2.CountRequest, context: Any) -> router_pb2.CountResponse:
        """Counts."""
        return router_pb2.CountResponse(count=len(self._selected(request)))

    async def Aggregate(self, request: router_pb2.AggregateRequest, context: Any) -> router_pb2.AggregateResponse:
        """Counts, whatever is asked for."""
        counts = {one.name: str(len(self._selected(request))) for one in request.aggregates}
        return router_pb2.AggregateResponse(rows_json=_text([counts]))

    async def Associate(self, request: router_pb2.AssociateRequest, context: Any) -> router_pb2.AssociateResponse:
        """Takes every row as one that was not there."""
        return router_pb2.AssociateResponse(added=len(decode(request.rows_json)))

    async def Transact(self, request: router_pb2.TransactRequest, context: Any) -> router_pb2.TransactResponse:
        """Runs each statement."""
        return router_pb2.TransactResponse(results=[await self._run(one, context) for one in request.statements])

    async def _run(self, statement: router_pb2.Statement, context: Any) -> router_pb2.StatementResult:
        match statement.WhichOneof("statement"):
            case "insert":
                return router_pb2.StatementResult(insert=await self.Insert(statement.insert, context))
            case "update":
                return router_pb2.StatementResult(update=await self.Update(statement.update, context))
            case "set_constraints":
                return router_pb2.StatementResult(set_constraints=router_pb2.SetConstraintsResult())
            case "group":
                return router_pb2.StatementResult(group=await self._run_group(statement.group, context))
            case _:
                return router_pb2.StatementResult(delete=await self.Delete(statement.delete, context))

    async def _run_group(self, group: router_pb2.Group, context: Any) -> router_pb2.GroupResult:
        before = dict(self.rows)
        try:
            return router_pb2.GroupResult(results=[await self._run(one, context) for one in group.statements])
        except errors.STATEMENT_ERRORS as error:
            self.rows = before
            return router_pb2.GroupResult(error=errors.to_failure(error))

    async def Load(
        self, request_iterator: AsyncIterator[router_pb2.LoadRequest], context: Any
    ) -> router_pb2.LoadResponse:
        """Counts lines, and keeps none."""
        return router_pb2.LoadResponse(count=sum([one.lines.count(b"\n") async for one in request_iterator]))

    async def ListLoadedBatches(
        self, request: router_pb2.ListLoadedBatchesRequest, context: Any
    ) -> router_pb2.ListLoadedBatchesResponse:
        """None."""
        return router_pb2.ListLoadedBatchesResponse()

    async def FinishLoad(self, request: router_pb2.FinishLoadRequest, context: Any) -> router_pb2.FinishLoadResponse:
        """Does nothing."""
        return router_pb2.FinishLoadResponse()

    async def Watch(self, request: router_pb2.WatchRequest, context: Any) -> AsyncIterator[router_pb2.WatchResponse]:
        """Tells that each row was inserted, and ends."""
        yield router_pb2.WatchResponse(resume_token="0")
        for row in self.rows.values():
            event = router_pb2.Event(
                type=router_pb2.Event.TYPE_INSERT, key=str(row["id"]), after_json=encode(row).decode()
            )
            yield router_pb2.WatchResponse(events=[event], resume_token=event.key)

    async def Explain(self, request: router_pb2.ExplainRequest, context: Any) -> router_pb2.ExplainResponse:
        """Says which kind of request it was."""
        return router_pb2.ExplainResponse(shards=[0], rpcs=[str(request.WhichOneof("request"))])

    def _insert(self, row: dict[str, Any]) -> dict[str, Any]:
        if row["id"] in self.rows:
            raise errors.UniqueViolation("taken", table="users", constraint="users_pkey")
        self.rows[row["id"]] = row
        return row

    def _selected(self, request: Any) -> list[dict[str, Any]]:
        wanted = {predicate.column: given_value(request.table, predicate) for predicate in request.where}
        if "key_json" in request.DESCRIPTOR.fields_by_name:
            wanted |= given_key(request)
        return [row for row in self.rows.values() if wanted.items() <= row.items()]


class ToyCalls(CallHandlers):
    """The unary methods without a context, which they do not use."""

    def __init__(self, router: ToyRouter) -> None:
        methods = (router.Insert, router.Get, router.Update, router.Delete, router.List, router.Count, router.Aggregate)
        more = (router.Transact, router.Associate, router.Explain)
        super().__init__({one.__name__.lower(): partial(one, context=None) for one in methods + more})


def _text(rows: Any) -> str:
    return encode(rows).decode()


class ToyAdmin(AdminServicer):
    """Answers the same always; the audit finds nothing in an untouched cluster and two things in a damaged one."""

    damaged = False
    applied: str | None = None

    async def DescribeSchema(self, request: Any, context: Any) -> admin_pb2.DescribeSchemaResponse:
        """Only after a schema was applied."""
        if self.applied is None:
            raise errors.SchemaNotLoaded("no schema is in force: apply one")
        return admin_pb2.DescribeSchemaResponse(fingerprint=self.applied)

    async def DescribeTopology(self, request: Any, context: Any) -> admin_pb2.DescribeTopologyResponse:
        """One shard."""
        return admin_pb2.DescribeTopologyResponse(slots=16384, shards=[admin_pb2.ShardDescription(shard=0)])

    async def ApplySchema(self, request: admin_pb2.ApplySchemaRequest, context: Any) -> admin_pb2.ApplySchemaResponse:
        """Remembers the text as the fingerprint."""
        changed = not request.dry_run and request.sql != self.applied
        if changed:
            self.applied = request.sql
        return admin_pb2.ApplySchemaResponse(changed=changed)

    async def Audit(self, request: Any, context: Any) -> AsyncIterator[admin_pb2.AuditResponse]:
        """Streams findings."""
        for table in ("follows", "messages") if self.damaged else ():
            yield admin_pb2.AuditResponse(kind=admin_pb2.AuditResponse.KIND_CHILD_WITHOUT_SHADOW, table=table)

    async def DropUnusedShadows(self, request: Any, context: Any) -> admin_pb2.DropUnusedShadowsResponse:
        """Two shadows."""
        return admin_pb2.DropUnusedShadowsResponse(count=2)

    async def ListInDoubt(self, request: Any, context: Any) -> admin_pb2.ListInDoubtResponse:
        """One transaction."""
        return admin_pb2.ListInDoubtResponse(transactions=[admin_pb2.InDoubtTransaction(gid="g")])

    async def DescribeEvents(self, request: Any, context: Any) -> admin_pb2.DescribeEventsResponse:
        """One shard."""
        return admin_pb2.DescribeEventsResponse(outboxes=[admin_pb2.OutboxDescription(events=3)])

    async def HoldPosition(self, request: Any, context: Any) -> admin_pb2.HoldPositionResponse:
        """Whoever asks holds it."""
        return admin_pb2.HoldPositionResponse(held=True, holder=request.holder)

    async def ListCleanups(self, request: Any, context: Any) -> admin_pb2.ListCleanupsResponse:
        """One of them."""
        return admin_pb2.ListCleanupsResponse(cleanups=[admin_pb2.Cleanup(deleted=2)])

    async def PlanMigration(self, request: Any, context: Any) -> admin_pb2.PlanMigrationResponse:
        """A step that says what was asked for."""
        return admin_pb2.PlanMigrationResponse(steps=[admin_pb2.MigrationStep(sql=request.migration.sql)])

    async def ApplyMigration(self, request: Any, context: Any) -> AsyncIterator[admin_pb2.ApplyMigrationResponse]:
        """What was asked for, and an end."""
        for message in (*request.migration.renames, "resumed" if request.resume else "done"):
            yield admin_pb2.ApplyMigrationResponse(message=message)

    async def ListMigrations(self, request: Any, context: Any) -> admin_pb2.ListMigrationsResponse:
        """As many as may be."""
        return admin_pb2.ListMigrationsResponse(
            migrations=[admin_pb2.MigrationDescription(id=number) for number in range(request.limit, 0, -1)]
        )

    async def AbortMigration(self, request: Any, context: Any) -> admin_pb2.AbortMigrationResponse:
        """Nothing."""
        return admin_pb2.AbortMigrationResponse()


class RunningRouter:
    """A toy router on an event loop and thread of its own, so that blocking clients can call it."""

    def __init__(self) -> None:
        self.router = ToyRouter()
        self.admin = ToyAdmin()
        self.port = 0
        self._loop: asyncio.AbstractEventLoop
        self._started = threading.Event()

    @property
    def address(self) -> str:
        """Where it serves; the same when it runs again."""
        return f"127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[RunningRouter]:
        """Serves until the end of the block."""
        loop = self._loop = asyncio.new_event_loop()
        stop = asyncio.Event()
        thread = threading.Thread(target=loop.run_until_complete, args=(self._serve(stop),))
        thread.start()
        self._started.wait(10)
        try:
            with capture_logs():
                yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()

    async def restart(self) -> None:
        """As a router that is told to stop, and another one in its place. Called from another loop."""
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._restart(), self._loop))

    async def _restart(self) -> None:
        old, self.router.sessions = self.router.sessions, self._new_sessions(CallsInFlight(MAX_IN_FLIGHT))
        await old.drain()

    def _new_sessions(self, in_flight: CallsInFlight) -> Sessions:
        return Sessions(TYPES, lambda: ToyCalls(self.router), in_flight)

    async def _serve(self, stop: asyncio.Event) -> None:
        in_flight = CallsInFlight(MAX_IN_FLIGHT)
        self.router.sessions = self._new_sessions(in_flight)
        server = grpc.aio.server(interceptors=[ErrorInterceptor(in_flight)])
        add_RouterServicer_to_server(self.router, server)
        add_AdminServicer_to_server(self.admin, server)
        self.port = server.add_insecure_port(self.address)
        await server.start()
        self._started.set()
        await stop.wait()
        self._started.clear()
        await server.stop(0)
        await asyncio.gather(*self.router.streams, return_exceptions=True)
