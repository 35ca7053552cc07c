"""The shards' nodes as the router calls them: a typed method for each request.

Deadlines and request ids are passed on, and calls are noted in the request's account.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Coroutine, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import grpc.aio
from google.protobuf.message import Message

from crosskey import errors
from crosskey.call_stream import CallStream, Stream
from crosskey.internal.v1 import events_pb2 as events
from crosskey.internal.v1 import generated_values_pb2 as generated
from crosskey.internal.v1 import maintenance_pb2 as maintenance
from crosskey.internal.v1 import maintenance_pb2_grpc, session_pb2, session_pb2_grpc
from crosskey.internal.v1 import reads_pb2 as reads
from crosskey.internal.v1 import recovery_pb2 as recovery
from crosskey.internal.v1 import transactions_pb2 as transactions
from crosskey.pending_calls import Peer
from crosskey.router.calls.call_context import current_call_context
from crosskey.router.calls.fan_out import fan_out
from crosskey.router.calls.node_channels import NodeChannel, NodeCredentials
from crosskey.router.calls.node_errors import errors_of
from crosskey.serving.answer_size import MAX_MESSAGE_MIB, check_fits_message
from crosskey.serving.request_id import metadata_to_pass_on, request_id
from crosskey.tls import Tls
from crosskey.v1 import error_reason_pb2 as reasons

MAX_MESSAGE_BYTES = MAX_MESSAGE_MIB * 1024 * 1024
"""Rows of a whole request for one shard; requests themselves are bounded where they come in."""

MAX_CALLS_IN_FLIGHT = 1000
"""To each node; its own queue is shorter."""

LEAVE_SECONDS = 2.0
"""How long leaving a branch waits for the node to roll back, so that a retry does not meet its own locks."""

_CHANNEL_OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A node that comes back is found soon: by default the waits between attempts grow to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 250),
)

_OF_THE_WAY = (errors.Overloaded, errors.ShardUnavailable, errors.DeadlineExceeded)
"""What may be said of a call that never came to its branch, which then goes on to exist."""

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response")


class Node:
    """One shard's node: what requests of clients need goes over one stream, maintenance is by plain calls.

    The methods are the calls of crosskey.internal.v1. They raise what the node raised, and ShardUnavailable, Overloaded
    and DeadlineExceeded for what the way there says. Every error names the shard.
    """

    def __init__(self, shard: int, address: str, credentials: NodeCredentials | None = None) -> None:
        """Connects with the first call. To be made in the event loop, and closed."""
        self._shard = shard
        # The stream lasts, and plain calls come now and then: only what is being replaced is left to end.
        self._stream_channel = NodeChannel(address, _CHANNEL_OPTIONS, credentials)
        self._plain_channel = NodeChannel(address, _CHANNEL_OPTIONS, credentials)
        self._calls = CallStream(_peer(shard), self._open_stream)
        self._branches = itertools.count(1)

    @property
    def shard(self) -> int:
        """Which shard it is."""
        return self._shard

    async def close(self) -> None:
        """Cancels what is in flight and closes the connection."""
        await self._calls.close()
        await self._stream_channel.close()
        await self._plain_channel.close()

    def _open_stream(self) -> Stream:
        return session_pb2_grpc.ShardNodeStub(self._stream_channel.current()).Session()

    @property
    def _maintenance(self) -> maintenance_pb2_grpc.ShardMaintenanceAsyncStub:
        return maintenance_pb2_grpc.ShardMaintenanceStub(self._plain_channel.current())

    def branch(self) -> BranchCalls:
        """A branch that is yet to begin."""
        return BranchCalls(self, next(self._branches))

    async def ask(self, name: str, call: session_pb2.Call) -> session_pb2.Answer:
        """Sends one call on the stream, within the request's deadline; `name` is noted in the request's account.

        What goes on with a branch has no name: a branch is noted once.
        """
        context = current_call_context()
        remaining_seconds = context.remaining_seconds()
        if name:
            context.record(self._shard, name)
            if self._calls.in_flight >= MAX_CALLS_IN_FLIGHT:
                raise errors.Overloaded(f"too many calls to shard {self._shard} are in flight", shard=self._shard)
        call.epoch = context.epoch
        return await self.ask_aside(call, remaining_seconds)

    async def ask_aside(self, call: session_pb2.Call, timeout_seconds: float) -> session_pb2.Answer:
        """The same whatever the request's deadline, and without a note: what only cleans up."""
        call.request_id = request_id.get()
        try:
            check_fits_message(call)
            answer: session_pb2.Answer = await self._calls.ask(call, timeout_seconds)
        except errors.CrosskeyError as error:
            error.metadata["shard"] = str(self._shard)
            raise
        return answer

    async def finish_prepared(self, request: recovery.FinishPreparedRequest) -> recovery.FinishPreparedResponse:
        """Commits or rolls back prepared branches."""
        return (await self.ask("FinishPrepared", session_pb2.Call(finish_prepared=request))).finish_prepared

    async def decide(self, request: recovery.DecideRequest) -> recovery.DecideResponse:
        """Asks home for decisions."""
        return (await self.ask("Decide", session_pb2.Call(decide=request))).decide

    async def forget_decisions(self, request: recovery.ForgetDecisionsRequest) -> None:
        """Deletes decisions."""
        await self.ask("ForgetDecisions", session_pb2.Call(forget_decisions=request))

    async def read(self, request: reads.ReadRequest) -> reads.ReadResponse:
        """Reads rows."""
        return (await self.ask("Read", session_pb2.Call(read=request))).read

    async def count_rows(self, request: reads.CountRowsRequest) -> reads.CountRowsResponse:
        """Counts rows."""
        return (await self.ask("CountRows", session_pb2.Call(count_rows=request))).count_rows

    async def sort(self, request: reads.SortRequest) -> reads.SortResponse:
        """Sorts cursors."""
        return (await self.ask("Sort", session_pb2.Call(sort=request))).sort

    async def read_linked(self, request: reads.ReadLinkedRequest) -> reads.ReadLinkedResponse:
        """Reads rows at the other end of a foreign key."""
        return (await self.ask("ReadLinked", session_pb2.Call(read_linked=request))).read_linked

    async def read_keys(self, request: reads.ReadKeysRequest) -> reads.ReadKeysResponse:
        """Reads keys of rows."""
        return (await self.ask("ReadKeys", session_pb2.Call(read_keys=request))).read_keys

    async def aggregate(self, request: reads.AggregateRequest) -> reads.AggregateResponse:
        """Aggregates rows."""
        return (await self.ask("Aggregate", session_pb2.Call(aggregate=request))).aggregate

    async def find_pins(self, request: reads.FindPinsRequest) -> reads.FindPinsResponse:
        """Asks which shards hold pins."""
        return (await self.ask("FindPins", session_pb2.Call(find_pins=request))).find_pins

    async def find_claims(self, request: reads.FindClaimsRequest) -> reads.FindClaimsResponse:
        """Asks who has claimed values."""
        return (await self.ask("FindClaims", session_pb2.Call(find_claims=request))).find_claims

    async def draw_numbers(self, request: generated.DrawNumbersRequest) -> generated.DrawNumbersResponse:
        """Draws numbers from a sequence."""
        return (await self.ask("DrawNumbers", session_pb2.Call(draw_numbers=request))).draw_numbers

    async def compute_defaults(self, request: generated.ComputeDefaultsRequest) -> generated.ComputeDefaultsResponse:
        """Works out defaults."""
        return (await self.ask("ComputeDefaults", session_pb2.Call(compute_defaults=request))).compute_defaults

    async def read_events(self, request: events.ReadEventsRequest) -> events.ReadEventsResponse:
        """Reads events, or waits for some."""
        # Events tell of rows as they were, by whichever schema; so the call is planned by none.
        remaining_seconds = current_call_context().remaining_seconds()
        return (await self.ask_aside(session_pb2.Call(read_events=request), remaining_seconds)).read_events

    async def describe_shard(self, request: maintenance.DescribeShardRequest) -> maintenance.DescribeShardResponse:
        """Describes the shard."""
        return await self._call("DescribeShard", self._maintenance.DescribeShard, request)

    async def inspect_schema(self, request: maintenance.InspectSchemaRequest) -> maintenance.InspectSchemaResponse:
        """Describes a schema that is not in force."""
        return await self._call("InspectSchema", self._maintenance.InspectSchema, request)

    async def list_prepared(self, request: maintenance.ListPreparedRequest) -> maintenance.ListPreparedResponse:
        """Lists prepared branches."""
        return await self._call("ListPrepared", self._maintenance.ListPrepared, request)

    async def list_decisions(self, request: maintenance.ListDecisionsRequest) -> maintenance.ListDecisionsResponse:
        """Lists old decisions."""
        return await self._call("ListDecisions", self._maintenance.ListDecisions, request)

    async def advance_sequence(self, request: maintenance.AdvanceSequenceRequest) -> None:
        """Moves a sequence."""
        await self._call("AdvanceSequence", self._maintenance.AdvanceSequence, request)

    async def list_batches(self, request: maintenance.ListBatchesRequest) -> maintenance.ListBatchesResponse:
        """Lists the committed batches of a load."""
        return await self._call("ListBatches", self._maintenance.ListBatches, request)

    async def forget_batches(self, request: maintenance.ForgetBatchesRequest) -> None:
        """Forgets the batches of a load."""
        await self._call("ForgetBatches", self._maintenance.ForgetBatches, request)

    async def audit_shard(
        self, request: maintenance.AuditShardRequest
    ) -> AsyncGenerator[maintenance.AuditShardResponse, None]:
        """Looks for damage. To be closed if it is not read to its end."""
        context = current_call_context()
        context.record(self._shard, "AuditShard")
        findings = self._maintenance.AuditShard(
            self._own(request), timeout=context.remaining_seconds(), metadata=metadata_to_pass_on()
        )
        try:
            with errors_of(self._shard):
                async for finding in findings:
                    yield finding
        finally:
            findings.cancel()

    async def list_guards(self, request: maintenance.ListGuardsRequest) -> maintenance.ListGuardsResponse:
        """Lists shadows or pins."""
        return await self._call("ListGuards", self._maintenance.ListGuards, request)

    async def find_unused_shadows(
        self, request: maintenance.FindUnusedShadowsRequest
    ) -> maintenance.FindUnusedShadowsResponse:
        """Finds shadows without children."""
        return await self._call("FindUnusedShadows", self._maintenance.FindUnusedShadows, request)

    async def find_unguarded(self, request: maintenance.FindUnguardedRequest) -> maintenance.FindUnguardedResponse:
        """Finds keys without a pin or shadow."""
        return await self._call("FindUnguarded", self._maintenance.FindUnguarded, request)

    async def describe_outbox(self, request: maintenance.DescribeOutboxRequest) -> maintenance.DescribeOutboxResponse:
        """Describes the events that the shard keeps."""
        return await self._call("DescribeOutbox", self._maintenance.DescribeOutbox, request)

    async def list_cleanups(self, request: maintenance.ListCleanupsRequest) -> maintenance.ListCleanupsResponse:
        """Lists what is to be cleaned up."""
        return await self._call("ListCleanups", self._maintenance.ListCleanups, request)

    async def hold_position(self, request: maintenance.HoldPositionRequest) -> maintenance.HoldPositionResponse:
        """Holds the position of a consumer."""
        return await self._call("HoldPosition", self._maintenance.HoldPosition, request)

    async def plan_shard_migration(
        self, request: maintenance.PlanShardMigrationRequest
    ) -> maintenance.PlanShardMigrationResponse:
        """Plans a migration."""
        return await self._call("PlanShardMigration", self._maintenance.PlanShardMigration, request)

    async def run_migration_step(self, request: maintenance.RunMigrationStepRequest) -> None:
        """Carries out a step of a migration."""
        await self._call("RunMigrationStep", self._maintenance.RunMigrationStep, request)

    async def list_unvalidated(
        self, request: maintenance.ListUnvalidatedRequest
    ) -> maintenance.ListUnvalidatedResponse:
        """Lists what is left to be validated."""
        return await self._call("ListUnvalidated", self._maintenance.ListUnvalidated, request)

    async def note_migration(self, request: maintenance.NoteMigrationRequest) -> maintenance.NoteMigrationResponse:
        """Notes in the journal of migrations."""
        return await self._call("NoteMigration", self._maintenance.NoteMigration, request)

    async def read_journal(self, request: maintenance.ReadJournalRequest) -> maintenance.ReadJournalResponse:
        """Reads the journal of migrations."""
        return await self._call("ReadJournal", self._maintenance.ReadJournal, request)

    async def _call(
        self, name: str, method: grpc.aio.UnaryUnaryMultiCallable[Request, Response], request: Request
    ) -> Response:
        """A plain call within the request's deadline."""
        context = current_call_context()
        remaining_seconds = context.remaining_seconds()
        context.record(self._shard, name)
        with errors_of(self._shard):
            return await method(self._own(request), timeout=remaining_seconds, metadata=metadata_to_pass_on())

    def _own(self, request: Request) -> Request:
        """The request, addressed to this shard."""
        request.shard = self._shard  # type: ignore[attr-defined]  # every request of ShardMaintenance has one
        return request


def _peer(shard: int) -> Peer:
    return Peer(
        name=f"shard {shard}",
        call=session_pb2.Call,
        request=partial(session_pb2.SessionRequest, shard=shard),
        lost=lambda _: errors.ShardUnavailable(f"shard {shard} does not answer"),
    )


class AlreadyAnswered(errors.CrosskeyError):
    """A request was answered before. What was done for it now is rolled back on the shard that says so.

    No client is told: it gets the answer.
    """

    reason = reasons.ERROR_REASON_UNSPECIFIED
    code = grpc.StatusCode.ALREADY_EXISTS

    def __init__(self, answer: transactions.KeptAnswer) -> None:
        super().__init__("the request was answered before")
        self.answer = answer


class BranchCalls:
    """One branch on one shard: a transaction on a connection of its own."""

    def __init__(self, node: Node, number: int) -> None:
        """Begins with the first commands."""
        self._node = node
        self._number = number
        self._has_begun = False
        self._is_open = False

    async def run(
        self,
        commands: Sequence[transactions.Command],
        start: transactions.RunRequest.Start.ValueType = transactions.RunRequest.START_UNSPECIFIED,
    ) -> transactions.RunResponse:
        """Runs commands in order; the first call begins the branch, in the way that `start` says.

        Raises what the node raised; it has rolled the branch back then, but for one of STATEMENT_ERRORS behind a
        savepoint, which leaves the branch open for a roll back to that. Raises Conflict if the branch is gone with the
        stream on which it was begun, and AlreadyAnswered if the answer that was to be kept is there already.
        """
        name = "" if self._has_begun else "Run"
        if self._has_begun:
            start = transactions.RunRequest.START_GO_ON
        self._has_begun = self._is_open = True
        request = transactions.RunRequest(branch=self._number, commands=commands, start=start)
        try:
            response = (await self._node.ask(name, session_pb2.Call(run=request))).run
        except errors.CrosskeyError as error:
            self._is_open = not error.answered or isinstance(error, _OF_THE_WAY)
            raise
        self._is_open = not response.finished
        if response.HasField("kept"):
            raise AlreadyAnswered(response.kept)
        if response.HasField("failure"):
            failure = errors.from_failure(response.failure)
            failure.metadata["shard"] = str(self._node.shard)
            raise failure
        return response

    async def leave(self) -> None:
        """Rolls back what is neither prepared nor committed. Raises nothing: a stream that ends does the same."""
        if not self._is_open:
            return
        self._is_open = False
        leave = session_pb2.Call(leave=transactions.LeaveRequest(branch=self._number))
        with suppress(errors.CrosskeyError):
            await self._node.ask_aside(leave, LEAVE_SECONDS)


class Nodes:
    """The nodes of a cluster, in the order of the shards; to be closed."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._nodes = nodes

    @staticmethod
    def behind(addresses: Sequence[str], tls: Tls | None = None) -> Nodes:
        """The nodes behind those addresses, over TLS if `tls` is given. To be called in the event loop.

        Raises OSError for a file of `tls` that cannot be read.
        """
        credentials = None if tls is None else NodeCredentials(tls)
        return Nodes([Node(shard, address, credentials) for shard, address in enumerate(addresses)])

    def __len__(self) -> int:
        """How many shards there are."""
        return len(self._nodes)

    def __getitem__(self, shard: int) -> Node:
        """The node of that shard."""
        return self._nodes[shard]

    def __iter__(self) -> Iterator[Node]:
        """All, in the order of the shards."""
        return iter(self._nodes)

    async def ask_all(self, calls: Mapping[int, Coroutine[Any, Any, Response]]) -> dict[int, Response]:
        """Awaits calls to nodes, all at once. The first error ends the others and is raised."""
        return await fan_out(calls)

    async def close(self) -> None:
        """Cancels what is in flight and closes the connections."""
        await asyncio.gather(*(node.close() for node in self._nodes))
