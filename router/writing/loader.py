"""Loading rows in bulk: every stream is one distributed transaction, whose home also notes that its batch is loaded.

All rows of a stream are one statement as far as constraints go: what they check waits for the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import msgspec

from crosskey import errors
from crosskey.catalog.model import Column
from crosskey.catalog.plan import TablePlan
from crosskey.internal.v1 import maintenance_pb2, reads_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.calls.cluster import Cluster
from crosskey.router.calls.fan_out import fan_out
from crosskey.router.calls.node_errors import safe_to_retry
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.branch import LateEffects
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.committing.effect_queue import LockedTooLate
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.gids import Gid
from crosskey.router.planning.anchors import NO_ANCHORS
from crosskey.router.planning.generated_values import Row
from crosskey.router.planning.loads import (
    LoadPart,
    anchors_of_lines,
    check_load,
    need_of_load,
    plan_load,
    plan_reference_load,
)
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import FIRST_SHARD
from crosskey.router.writing.anchor_lookup import find_within
from crosskey.router.writing.reference_tables import run_on_all_shards
from crosskey.router.writing.value_generator import ValueGenerator
from crosskey.v1 import router_pb2, rows_pb2

HOME = FIRST_SHARD
"""Where loads note their batches; so it is home of all their transactions."""

MAX_DIGEST_BYTES = 64

_CHECK_ALL = rows_pb2.SetConstraints(deferred=False)


@dataclass(frozen=True)
class Loader:
    """Carries out loads."""

    nodes: Nodes
    finisher: Finisher
    cluster: Cluster
    value_generator: ValueGenerator
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the load that carries out its effects."""
    checked_early: set[str] = field(default_factory=set)
    """Tables with deferred triggers that have effects on other shards: what they do is to come before the commit."""
    locked_early: set[str] = field(default_factory=set)
    """Tables with triggers that change rows which leave later: such rows are to be locked before any change."""

    async def load(self, requests: AsyncIterator[router_pb2.LoadRequest]) -> router_pb2.LoadResponse:
        """Loads all rows of a stream, or none.

        Raises what PostgreSQL says, naming the row where it can; Conflict for a lost race, which is not run again here,
        since the rows are gone; OutcomeUnknown.
        """
        view = await self.cluster.view()
        gid = Gid.new(self.cluster.name, HOME)
        with safe_to_retry():
            async with (
                AsyncExitStack() as until_the_end,
                DistributedTransaction(self.nodes, self.finisher, gid, copies_may_wait=True) as transaction,
            ):
                return await _Stream(self, view, transaction, until_the_end).run(requests)

    async def list_batches(self, load: str) -> list[maintenance_pb2.LoadedBatch]:
        """The committed batches of a load."""
        response = await self.nodes[HOME].list_batches(maintenance_pb2.ListBatchesRequest(load=load))
        return [*response.batches]

    async def finish(self, request: router_pb2.FinishLoadRequest) -> None:
        """Moves sequences past the numbers of the tables' rows, then forgets the batches. Raises UnknownTable."""
        view = await self.cluster.view()
        with safe_to_retry():
            for name in request.tables:
                await self._advance_sequences(view, view.table(name))
            if request.load:
                await self.nodes[HOME].forget_batches(maintenance_pb2.ForgetBatchesRequest(load=request.load))

    async def _advance_sequences(self, view: SchemaView, table: TablePlan) -> None:
        for column in table.table.columns:
            if not column.counts or column.sequence is None:
                continue
            for number in await self._outermost(view, table, column):
                advance = maintenance_pb2.AdvanceSequenceRequest(sequence=column.sequence.qualified, past=number)
                await self.nodes[FIRST_SHARD].advance_sequence(advance)
            self.value_generator.blocks.forget(column.sequence)

    async def _outermost(self, view: SchemaView, table: TablePlan, column: Column) -> list[int]:
        """The largest number of the column on any shard, and the smallest; none if it has none.

        Only one is ahead of the sequence, which counts either up or down; the other moves nothing.
        """
        shards = (FIRST_SHARD,) if table.placement == "reference" else view.all_shards
        ends = [
            await fan_out({shard: self._end(shard, table, column, descending=descending) for shard in shards})
            for descending in (True, False)
        ]
        largest, smallest = ([number for number in end.values() if number is not None] for end in ends)
        # Rows may be deleted between the two questions.
        return [*([max(largest)] if largest else ()), *([min(smallest)] if smallest else ())]

    async def _end(self, shard: int, table: TablePlan, column: Column, *, descending: bool) -> int | None:
        given = reads_pb2.Condition(column=column.name, op=rows_pb2.Predicate.IS_NULL, value_json=b"false")
        order = [reads_pb2.Order(column=column.name, descending=descending)]
        request = reads_pb2.ReadRequest(table=table.table.name.qualified, where=[given], order_by=order, limit=1)
        response = await self.nodes[shard].read(request)
        rows: list[Row] = msgspec.json.decode(response.rows_json)
        return int(rows[0][column.name]) if rows else None


class _Stream:
    """One stream of rows, in one transaction."""

    def __init__(
        self, loader: Loader, view: SchemaView, transaction: DistributedTransaction, until_the_end: AsyncExitStack
    ) -> None:
        self._loader = loader
        self._view = view
        self._transaction = transaction
        self._until_the_end = until_the_end
        self._in_turn = False
        self._locks_early = False
        self._count = 0
        self._rows = 0
        self._tables: set[str] = set()

    async def run(self, requests: AsyncIterator[router_pb2.LoadRequest]) -> router_pb2.LoadResponse:
        try:
            async for number, request in _numbered(requests):
                _check_name(number, request)
                if number == 0 and request.load and not await self._note(request):
                    return router_pb2.LoadResponse(loaded_before=True)
                await self._add(request)
            await self._commit()
        except LockedTooLate as error:
            self._loader.locked_early.update(self._tables)
            raise errors.Conflict(f"{error.message}; sent again, they are locked first") from error
        return router_pb2.LoadResponse(count=self._count)

    async def _note(self, request: router_pb2.LoadRequest) -> bool:
        """Notes the batch; False if it is loaded already."""
        if len(request.digest) > MAX_DIGEST_BYTES:
            raise errors.InvalidRequest(f"a digest has {MAX_DIGEST_BYTES} bytes at most")
        note = proto.NoteBatch(load=request.load, batch=request.batch, digest=request.digest)
        result = await self._transaction.command(HOME, proto.Command(note_batch=note))
        return result.count > 0

    async def _add(self, request: router_pb2.LoadRequest) -> None:
        table, lines = check_load(self._view, request)
        self._tables.add(table.table.name.qualified)
        self._lock_early_if_need_be()
        try:
            if lines:
                await self._add_lines(table, request.columns, lines)
        except errors.CrosskeyError as error:
            if "row" in error.metadata:
                error.metadata["row"] = str(int(error.metadata["row"]) + self._rows)
            raise
        self._rows += len(lines)

    def _lock_early_if_need_be(self) -> None:
        if not self._locks_early and not self._tables.isdisjoint(self._loader.locked_early):
            self._transaction.lock_early()
            self._locks_early = True

    async def _add_lines(self, table: TablePlan, columns: Sequence[str], lines: Sequence[bytes]) -> None:
        if table.placement == "reference":
            plan = plan_reference_load(table, columns, lines)
            self._count += (await run_on_all_shards(self._transaction, plan, self._view.shards)).count
            return
        generated = await self._generate(table, columns, len(lines))
        parents = anchors_of_lines(self._view, table, [*columns], lines, generated)
        anchor_shards = await find_within(self._transaction, parents, hold=False) if parents else NO_ANCHORS
        parts = plan_load(self._view, table, [*columns], lines, generated, anchor_shards)
        try:
            results = await self._transaction.run(
                {part.shard: [part.statement] for part in parts}, before_effects=self._take_turn
            )
        except errors.CrosskeyError as error:
            _name_row(error, parts)
            raise
        self._count += sum(result.count for answers in results.values() for result in answers)

    async def _take_turn(self) -> None:
        """Waits until no other load of this router has effects to carry out, and then lets no other until the end.

        Two that reference the same new parents would wait for each other's shadows on different shards, until one gives
        up.
        """
        if not self._in_turn:
            await self._until_the_end.enter_async_context(self._loader.turn)
            self._in_turn = True

    async def _generate(self, table: TablePlan, columns: Sequence[str], count: int) -> Sequence[Row]:
        need = need_of_load(self._view, table, columns, count)
        if need is None:
            return ()
        rows: list[Row] = [{} for _ in range(count)]
        (await self._loader.value_generator.for_load(self._view, need)).fill(rows)
        return rows

    async def _commit(self) -> None:
        # All shards at once: home would check only after the others have prepared.
        await self._transaction.check()
        if not self._tables.isdisjoint(self._loader.checked_early):
            await self._transaction.set_constraints(_CHECK_ALL)
            await self._transaction.check()
        try:
            await self._transaction.commit()
        except LateEffects as error:
            self._loader.checked_early.update(self._tables)
            raise errors.Conflict("a deferred trigger writes to other shards; sent again, it is asked early") from error


async def _numbered(
    requests: AsyncIterator[router_pb2.LoadRequest],
) -> AsyncIterator[tuple[int, router_pb2.LoadRequest]]:
    number = 0
    async for request in requests:
        if not isinstance(request, router_pb2.LoadRequest):
            raise errors.InvalidRequest("the request is not a message of the method's type")
        yield number, request
        number += 1


def _check_name(number: int, request: router_pb2.LoadRequest) -> None:
    """Raises InvalidRequest for what would be ignored: the first message alone names the batch, and of a load."""
    if number > 0 and (request.load or request.batch or request.digest):
        raise errors.InvalidRequest("load, batch and digest are given in the first message of a stream only")
    if (request.batch or request.digest) and not request.load:
        raise errors.InvalidRequest("batch and digest are those of a load: give its name as well")


def _name_row(error: errors.CrosskeyError, parts: Sequence[LoadPart]) -> None:
    """Turns the line of a shard's COPY into the place of the row in the message, from 1."""
    line, shard = error.metadata.pop("line", None), error.metadata.get("shard")
    part = next((part for part in parts if str(part.shard) == shard), None)
    if line is not None and part is not None and int(line) <= len(part.places):
        error.metadata["row"] = str(part.places[int(line) - 1] + 1)
