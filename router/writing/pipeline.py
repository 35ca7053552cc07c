"""What every write goes through: values made, anchors looked up, planned, carried out.

Which of these steps a table needs is found out when the schema is read; the others are not entered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from crosskey import errors
from crosskey.router.planning import transactions
from crosskey.router.planning.anchors import NO_ANCHORS, AnchorShards, anchors_of_insert, anchors_of_transaction
from crosskey.router.planning.answered_writes import includes
from crosskey.router.planning.generated_values import NOTHING, GeneratedValues
from crosskey.router.planning.nesting.actions import Outcome
from crosskey.router.planning.nesting.scripts import NestedStep, association_step, nested_step
from crosskey.router.planning.predicates import has_related
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.statement_names import naming_statement
from crosskey.router.planning.transactions import Step, plan_statement
from crosskey.router.planning.writes import plan_delete, plan_insert, plan_update
from crosskey.router.writing.anchor_lookup import AnchorLookup
from crosskey.router.writing.nested_results import NestedResult
from crosskey.router.writing.nested_running import outline
from crosskey.router.writing.repeats import Keeping
from crosskey.router.writing.step_running import StepResult
from crosskey.router.writing.value_generator import ValueGenerator
from crosskey.router.writing.write_results import WriteResult
from crosskey.router.writing.writer import Writer
from crosskey.v1 import router_pb2


@dataclass(frozen=True)
class Pipeline:
    """Carries out requests to write. All methods raise what planning raises, and what shards say."""

    value_generator: ValueGenerator
    anchor_lookup: AnchorLookup
    writer: Writer

    async def insert(
        self, view: SchemaView, request: router_pb2.InsertRequest, keeping: Keeping | None = None
    ) -> WriteResult:
        """Inserts rows."""
        if includes(request):
            return await self._one(view, router_pb2.Statement(insert=request), keeping)
        generated, anchor_shards = await self._what_it_needs(view, request)
        try:
            plan = plan_insert(view, request, generated, anchor_shards)
        except errors.UnknownColumn:
            step = nested_step(view, request)
            if step is None:
                raise
            return (await self._run_nested(view, step, _made(keeping, _written))).written
        result = await self.writer.write(view, plan, _made(keeping, _only))
        if view.insert_path(plan.table).is_anchor:
            self.anchor_lookup.remember(view, [plan])
        return result

    async def _what_it_needs(
        self, view: SchemaView, request: router_pb2.InsertRequest
    ) -> tuple[GeneratedValues, AnchorShards]:
        """The values that are made for an insert, and where the rows are that its rows live with."""
        path = view.insert_path(view.table(request.table))
        generates = path.generates or request.HasField("on_conflict")
        generated = await self.value_generator.for_insert(view, request) if generates else NOTHING
        anchors = anchors_of_insert(view, request, generated) if path.follows_anchor else []
        return generated, await self.anchor_lookup.find(anchors) if anchors else NO_ANCHORS

    async def plan_now(self, view: SchemaView, statement: router_pb2.Statement) -> Step:
        """The step of one statement of a transaction, no group, whose turn has come."""
        if statement.WhichOneof("statement") != "insert":
            return plan_statement(view, statement)
        return plan_statement(view, statement, *await self._what_it_needs(view, statement.insert))

    async def update(
        self, view: SchemaView, request: router_pb2.UpdateRequest, keeping: Keeping | None = None
    ) -> WriteResult:
        """Updates rows."""
        if includes(request) or has_related(request.where):
            return await self._one(view, router_pb2.Statement(update=request), keeping)
        try:
            plan = plan_update(view, request)
        except errors.UnknownColumn:
            step = nested_step(view, request)
            if step is None:
                raise
            return (await self._run_nested(view, step, _made(keeping, _written))).written
        return await self.writer.write(view, plan, _made(keeping, _only))

    async def delete(
        self, view: SchemaView, request: router_pb2.DeleteRequest, keeping: Keeping | None = None
    ) -> WriteResult:
        """Deletes rows."""
        if has_related(request.where):
            return await self._one(view, router_pb2.Statement(delete=request), keeping)
        return await self.writer.write(view, plan_delete(view, request), _made(keeping, _only))

    async def transact(
        self, view: SchemaView, request: router_pb2.TransactRequest, keeping: Keeping | None = None
    ) -> Sequence[StepResult]:
        """Carries out statements as one transaction."""
        steps = await self._plan(view, request)
        if len(steps) == 1 and isinstance(steps[0], NestedStep) and steps[0].expected is None:
            with naming_statement("0"):
                return [await self._run_nested(view, steps[0], _made(keeping, lambda nested: [nested]))]
        results = await self.writer.transact(view, steps, partial(self.plan_now, view), keeping)
        self.anchor_lookup.remember(view, transactions.all_writes(steps))
        return results

    async def plan_alone(self, view: SchemaView, statement: router_pb2.Statement) -> Step:
        """The step of one statement, perhaps a group, of a transaction of which no more is known yet."""
        [step] = await self._plan(view, router_pb2.TransactRequest(statements=[statement]))
        return step

    async def _plan(self, view: SchemaView, request: router_pb2.TransactRequest) -> list[Step]:
        all_generated = await self.value_generator.for_transaction(view, request)
        anchor_shards = await self.anchor_lookup.find(anchors_of_transaction(view, request.statements, all_generated))
        return transactions.plan_transact(view, request, all_generated, anchor_shards)

    async def _one(self, view: SchemaView, statement: router_pb2.Statement, keeping: Keeping | None) -> WriteResult:
        """Carries out a write that takes a transaction by itself; its errors name no statement."""
        request_id = "" if keeping is None else keeping.request_id
        request = router_pb2.TransactRequest(statements=[statement], request_id=request_id)
        try:
            [result] = await self.transact(view, request, _made(keeping, _only))
        except errors.CrosskeyError as error:
            error.metadata.pop("statement", None)
            raise
        assert isinstance(result, WriteResult), "a write answers what a write does"
        return result

    async def associate(
        self, view: SchemaView, request: router_pb2.AssociateRequest, keeping: Keeping | None = None
    ) -> Outcome:
        """Says which rows a relation of a row has."""
        kept = _made(keeping, lambda nested: nested.outcome)
        return (await self._run_nested(view, association_step(view, request), kept)).outcome

    async def _run_nested(self, view: SchemaView, step: NestedStep, keeping: Keeping | None) -> NestedResult:
        """As plain statements, if nothing is to be looked up. Errors name the path."""
        known = await outline(self.writer.preparing(view), step)
        if known is not None:
            try:
                kept = _made(keeping, known.result, by_node=False)
                results = await self.writer.transact(view, known.plans, keeping=kept)
            except errors.CrosskeyError as error:
                known.name_path(error)
                raise
            self.anchor_lookup.remember(view, known.plans)
            return known.result(results)
        try:
            kept = _made(keeping, _only, by_node=False)
            [result] = await self.writer.transact(view, [step], keeping=kept)
        except errors.CrosskeyError as error:
            error.metadata.pop("statement", None)
            raise
        assert isinstance(result, NestedResult), "a nested step answers what it came to"
        return result


def _made(keeping: Keeping | None, made: Callable[[Any], Any], *, by_node: bool = True) -> Keeping | None:
    """How an answer is kept, if it is, by what is told of results of which `made` makes what it was for."""
    return None if keeping is None else keeping.of(made, by_node=by_node)


def _only(results: Sequence[StepResult]) -> StepResult:
    [result] = results
    return result


def _written(nested: NestedResult) -> WriteResult:
    return nested.written
