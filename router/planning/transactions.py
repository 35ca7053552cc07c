"""From the statements of a Transact to steps: pure, all of them before the first one runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from crosskey import errors
from crosskey.router.planning.anchors import NO_ANCHORS, AnchorShards, anchor_keys
from crosskey.router.planning.answered_writes import answering_keys, includes
from crosskey.router.planning.expectations import Expected, expected_of
from crosskey.router.planning.generated_values import NONE_GENERATED, NOTHING, AllGenerated, GeneratedValues
from crosskey.router.planning.nesting.scripts import NestedStep, association_step, nested_step
from crosskey.router.planning.predicates import Checked, has_related
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.statement_names import naming_statement
from crosskey.router.planning.taken_values import check_taken
from crosskey.router.planning.writes import FIRST_SHARD, WritePlan, plan_delete, plan_insert, plan_update
from crosskey.v1 import router_pb2, rows_pb2

ReadRequest: TypeAlias = (
    router_pb2.GetRequest | router_pb2.ListRequest | router_pb2.CountRequest | router_pb2.AggregateRequest
)


@dataclass(frozen=True, slots=True)
class ModeChange:
    """A change of constraint modes."""

    change: rows_pb2.SetConstraints


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """Steps that may fail alone."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class ReadStep:
    """A read. It is planned when its turn comes: conditions over relations are looked up first."""

    request: ReadRequest
    expected: Expected | None = None


@dataclass(frozen=True, slots=True)
class RelatedStep:
    """A write of rows that meet conditions over relations: these are looked up when its turn comes."""

    request: router_pb2.UpdateRequest | router_pb2.DeleteRequest
    expected: Expected | None = None

    def plan(self, view: SchemaView, resolved: Sequence[Checked] | None = None) -> WritePlan:
        """The write, with its predicates resolved, or as far as it is known before. Raises what planning raises."""
        if isinstance(self.request, router_pb2.UpdateRequest):
            return plan_update(view, self.request, resolved).expecting(self.expected)
        return plan_delete(view, self.request, resolved).expecting(self.expected)


@dataclass(frozen=True, slots=True)
class TakingStep:
    """A statement that takes values of earlier answers. It is planned when its turn comes."""

    statement: router_pb2.Statement


@dataclass(frozen=True, slots=True)
class AnsweredStep:
    """A write that answers keys as text; the rows of these are answered as the request says, with their relations."""

    write: WritePlan | NestedStep | RelatedStep
    request: router_pb2.InsertRequest | router_pb2.UpdateRequest


@dataclass(frozen=True, slots=True)
class Refused:
    """A statement whose values or names are wrong; its error is raised when its turn comes, as on one PostgreSQL."""

    error: errors.CrosskeyError


Step: TypeAlias = (
    WritePlan | ReadStep | RelatedStep | TakingStep | ModeChange | GroupPlan | Refused | NestedStep | AnsweredStep
)


def plan_transact(
    view: SchemaView,
    request: router_pb2.TransactRequest,
    all_generated: AllGenerated = NONE_GENERATED,
    anchor_shards: AnchorShards = NO_ANCHORS,
) -> list[Step]:
    """The step of each statement, in order; inserts take what they need from the generated values.

    Rows live with parents whose shards are given, or that statements before insert. Raises InvalidRequest for what
    is no transaction at all: no statement, an empty one, one that is not well formed.
    """
    if not request.statements:
        raise errors.InvalidRequest("a transaction has no statements")
    planning = _Planning(view, all_generated, {**anchor_shards}, drawn_by=request.request_id)
    return list(planning.plan_all(request.statements, ""))


def plan_statement(
    view: SchemaView,
    statement: router_pb2.Statement,
    generated: GeneratedValues = NOTHING,
    anchor_shards: AnchorShards = NO_ANCHORS,
) -> Step:
    """The step of one statement, no group, that has the values that it was to take. Raises InvalidRequest."""
    return _Planning(view, {"": generated}, {**anchor_shards}).plan_unless_refused(statement, "")


def all_steps(steps: Iterable[Step]) -> Iterator[Step]:
    """The steps and those in groups, in order."""
    for step in steps:
        yield step
        if isinstance(step, GroupPlan):
            yield from all_steps(step.steps)
        elif isinstance(step, AnsweredStep):
            yield step.write


def all_writes(steps: Iterable[Step]) -> Iterator[WritePlan]:
    """The writes among the steps, those in groups too, in order."""
    return (step for step in all_steps(steps) if isinstance(step, WritePlan))


def all_reads(steps: Iterable[Step]) -> Iterator[ReadRequest]:
    """The reads among the steps, those in groups too, in order."""
    return (step.request for step in all_steps(steps) if isinstance(step, ReadStep))


def only_writes(steps: Sequence[Step]) -> list[WritePlan] | None:
    """The steps if they are nothing but writes of which nothing is expected; else None."""
    writes = [step for step in steps if isinstance(step, WritePlan) and step.expected is None]
    return writes if len(writes) == len(steps) else None


def home_of(steps: Iterable[Step]) -> int:
    """The shard whose commit decides: where the first row is written."""
    return next((plan.parts[0].shard for plan in all_writes(steps)), FIRST_SHARD)


def raise_refusals(steps: Iterable[Step], within: str = "") -> None:
    """Raises the error of the first refused statement, which it names."""
    for number, step in enumerate(steps):
        match step:
            case Refused():
                with naming_statement(f"{within}{number}"):
                    raise step.error
            case GroupPlan():
                raise_refusals(step.steps, f"{within}{number}.")


@dataclass(frozen=True)
class _Planning:
    """Plans one transaction; learns where parents are to be."""

    view: SchemaView
    all_generated: AllGenerated
    anchor_shards: dict[tuple[str, str], int]
    earlier: list[tuple[str, str]] = field(default_factory=list)
    """The statements that are planned already, each its place and what it does."""
    drawn_by: str = ""
    """What draws the slots of minted shard keys, if not chance."""

    def plan_all(self, statements: Iterable[router_pb2.Statement], within: str) -> Iterator[Step]:
        for number, statement in enumerate(statements):
            place = f"{within}{number}"
            with naming_statement(place):
                yield self.plan_unless_refused(statement, place)
            self.earlier.append((place, statement.WhichOneof("statement") or ""))

    def plan_unless_refused(self, statement: router_pb2.Statement, place: str) -> Step:
        """The step of the statement at a place."""
        try:
            return TakingStep(statement) if check_taken(statement, self.earlier) else self._plan(statement, place)
        except errors.STATEMENT_ERRORS as error:
            return Refused(error)

    def _plan(self, statement: router_pb2.Statement, place: str) -> Step:
        expected = expected_of(statement)
        match statement.WhichOneof("statement"):
            case "insert" if includes(statement.insert):
                keyed = answering_keys(self.view, statement.insert)
                return AnsweredStep(self._insert(keyed, place, expected), statement.insert)
            case "insert":
                return self._insert(statement.insert, place, expected)
            case "update" if includes(statement.update):
                write = self._update(answering_keys(self.view, statement.update), expected)
                return AnsweredStep(write, statement.update)
            case "update":
                return self._update(statement.update, expected)
            case "delete":
                return self._delete(statement.delete, expected)
            case "associate":
                return association_step(self.view, statement.associate)
            case "get" | "list" | "count" | "aggregate" as kind:
                return ReadStep(getattr(statement, kind), expected)
            case "set_constraints":
                return ModeChange(statement.set_constraints)
            case "group":
                return self._plan_group(statement.group, place)
        raise errors.InvalidRequest(f"statement {place} is empty")

    def _insert(
        self, request: router_pb2.InsertRequest, place: str, expected: Expected | None
    ) -> WritePlan | NestedStep:
        try:
            drawn_by = f"{self.drawn_by} {place}" if self.drawn_by else ""
            generated = self.all_generated.get(place, NOTHING)
            plan = plan_insert(self.view, request, generated, self.anchor_shards, drawn_by)
        except errors.UnknownColumn:
            step = nested_step(self.view, request, expected)
            if step is None:
                raise
            return step
        self._remember_anchors(plan)
        return plan.expecting(expected)

    def _delete(self, request: router_pb2.DeleteRequest, expected: Expected | None) -> WritePlan | RelatedStep:
        if has_related(request.where):
            return _foreseen(self.view, RelatedStep(request, expected))
        return plan_delete(self.view, request).expecting(expected)

    def _update(
        self, request: router_pb2.UpdateRequest, expected: Expected | None
    ) -> WritePlan | NestedStep | RelatedStep:
        if has_related(request.where):
            return _foreseen(self.view, RelatedStep(request, expected))
        try:
            return plan_update(self.view, request).expecting(expected)
        except errors.UnknownColumn:
            step = nested_step(self.view, request, expected)
            if step is None:
                raise
            return step

    def _remember_anchors(self, plan: WritePlan) -> None:
        """Where the rows of an insert go that later ones may live with."""
        for part in plan.parts:
            for key in anchor_keys(self.view, plan.table, part.rows):
                self.anchor_shards.setdefault(key, part.shard)

    def _plan_group(self, group: router_pb2.Group, place: str) -> GroupPlan:
        if not group.statements:
            raise errors.InvalidRequest(f"group {place} has no statements")
        return GroupPlan(tuple(self.plan_all(group.statements, f"{place}.")))


def _foreseen(view: SchemaView, step: RelatedStep) -> RelatedStep:
    """The step, once it is seen that all else of it can be planned. Raises what planning raises."""
    step.plan(view)
    return step
