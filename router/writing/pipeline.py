"""What every write goes through: values made, anchors looked up, planned, carried out.

Which of these steps a table needs is settled when the schema is read; the others are not entered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from crosskey.router.planning import transactions
from crosskey.router.planning.led_parents import NOWHERE, Whereabouts, parents_of_insert, parents_of_transaction
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.supplied_values import NOTHING, Supply
from crosskey.router.planning.transactions import Step, plan_statement
from crosskey.router.planning.writes import plan_delete, plan_insert, plan_update
from crosskey.router.writing.step_running import StepResult
from crosskey.router.writing.supplying import Supplier
from crosskey.router.writing.whereabouts import Finder
from crosskey.router.writing.write_results import WriteResult
from crosskey.router.writing.writer import Writer
from crosskey.v1 import router_pb2


@dataclass(frozen=True)
class Pipeline:
    """Carries out requests to write. All methods raise what planning raises, and what shards say."""

    supplier: Supplier
    finder: Finder
    writer: Writer

    async def insert(self, view: SchemaView, request: router_pb2.InsertRequest) -> WriteResult:
        """Inserts rows."""
        supply, whereabouts = await self._what_it_needs(view, request)
        plan = plan_insert(view, request, supply, whereabouts)
        result = await self.writer.write(view, plan)
        if view.insert_path(plan.table).is_anchor:
            self.finder.learn(view, [plan])
        return result

    async def _what_it_needs(self, view: SchemaView, request: router_pb2.InsertRequest) -> tuple[Supply, Whereabouts]:
        """The values that are made for an insert, and where the rows are that its rows live with."""
        path = view.insert_path(view.table(request.table))
        generates = path.generates or request.HasField("on_conflict")
        supply = await self.supplier.for_insert(view, request) if generates else NOTHING
        anchors = parents_of_insert(view, request, supply) if path.follows_anchor else []
        return supply, await self.finder.find(anchors) if anchors else NOWHERE

    async def plan_now(self, view: SchemaView, statement: router_pb2.Statement) -> Step:
        """The step of one statement of a transaction, no group, whose turn has come."""
        if statement.WhichOneof("statement") != "insert":
            return plan_statement(view, statement)
        return plan_statement(view, statement, *await self._what_it_needs(view, statement.insert))

    async def update(self, view: SchemaView, request: router_pb2.UpdateRequest) -> WriteResult:
        """Updates rows."""
        return await self.writer.write(view, plan_update(view, request))

    async def delete(self, view: SchemaView, request: router_pb2.DeleteRequest) -> WriteResult:
        """Deletes rows."""
        return await self.writer.write(view, plan_delete(view, request))

    async def transact(self, view: SchemaView, request: router_pb2.TransactRequest) -> Sequence[StepResult]:
        """Carries out statements as one transaction."""
        steps = await self._plan(view, request)
        results = await self.writer.transact(view, steps, partial(self.plan_now, view))
        self.finder.learn(view, transactions.all_writes(steps))
        return results

    async def plan_alone(self, view: SchemaView, statement: router_pb2.Statement) -> Step:
        """The step of one statement, perhaps a group, of a transaction of which no more is known yet."""
        [step] = await self._plan(view, router_pb2.TransactRequest(statements=[statement]))
        return step

    async def _plan(self, view: SchemaView, request: router_pb2.TransactRequest) -> list[Step]:
        supplies = await self.supplier.for_transaction(view, request)
        whereabouts = await self.finder.find(parents_of_transaction(view, request.statements, supplies))
        return transactions.plan_transact(view, request, supplies, whereabouts)
