"""Running the steps of a transaction, in order, over however many shards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import msgspec

from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.calls.nodes import BranchCalls
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.committing.reservations import pin_effect
from crosskey.router.planning.given_values import is_text_form
from crosskey.router.planning.nesting.scripts import NestedStep
from crosskey.router.planning.parent_references import copied_parents
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.shadow_hints import ShadowHints
from crosskey.router.planning.statement_names import naming_statement
from crosskey.router.planning.taken_values import EarlierAnswers, with_values
from crosskey.router.planning.transactions import (
    AnsweredStep,
    GroupPlan,
    ModeChange,
    ReadStep,
    Refused,
    RelatedStep,
    Step,
    TakingStep,
    all_steps,
)
from crosskey.router.planning.writes import Part, WritePlan
from crosskey.router.writing.anchor_lookup import fix_shard
from crosskey.router.writing.nested_results import NestedResult
from crosskey.router.writing.nested_running import Preparing, run_script
from crosskey.router.writing.reference_tables import run_on_all_shards
from crosskey.router.writing.related_selection import RelatedSelection
from crosskey.router.writing.statement_commands import collect_results
from crosskey.router.writing.transaction_reads import ReadResult, TransactionReads
from crosskey.router.writing.upserting import lost_race, send_to_conflicts, send_to_parents
from crosskey.router.writing.write_results import WriteResult, collect
from crosskey.serving.answer_size import AnswerSize
from crosskey.v1 import router_pb2


@dataclass(frozen=True, slots=True)
class ModesSet:
    """What a change of constraint modes answers: that it is done."""


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What a group came to: one result a step, or none and why it failed."""

    results: Sequence[StepResult]
    error: errors.CrosskeyError | None = None


PlanNow: TypeAlias = Callable[[router_pb2.Statement], Awaitable[Step]]
"""Plans one statement, no group."""

StepResult: TypeAlias = WriteResult | ReadResult | ModesSet | GroupResult | NestedResult


KeepAnswer: TypeAlias = Callable[[Sequence[StepResult]], proto.Keep]
"""Makes of what the steps came to the answer that is kept."""


class StepRunner:
    """Runs steps in one distributed transaction. Errors name their statement.

    What is to be checked at the end is checked along with the commit, which saves a round trip; with `check_early`
    before any shard prepares, for what a deferred trigger does then.
    """

    def __init__(
        self,
        view: SchemaView,
        transaction: DistributedTransaction,
        preparing: Preparing,
        plan_now: PlanNow | None = None,
        *,
        hints: ShadowHints,
        check_early: bool = False,
    ) -> None:
        """`plan_now` plans statements that take values of earlier answers, once these are in them.

        Parents that `hints` do not remember are pinned before rows that copy their values are written.
        """
        self._hints = hints
        self._view = view
        self._transaction = transaction
        self._preparing = preparing
        self._plan_now = plan_now
        self._answers: EarlierAnswers | None = None
        """Of a transaction in which a statement takes values of them."""
        self._reads = TransactionReads(view, transaction)
        self._check_early = check_early
        self._checks_along = False
        """Whether what is due at the end of a statement is checked along with it, if that can be."""
        self._results: list[StepResult] = []
        self._ends_unnamed = False
        self.done_plans: list[WritePlan] = []
        """The writes that were carried out; those of a group that failed are not."""
        self._answer_size = AnswerSize()

    async def take_over(
        self, plans: Sequence[Step], branch: BranchCalls, results: Sequence[proto.CommandResult]
    ) -> None:
        """Goes on from a branch of home that was to do all plans alone, up to a statement with effects elsewhere."""
        writes = [plan for plan in plans if isinstance(plan, WritePlan)]
        done = collect_results(writes, results)
        self.done_plans += writes[: len(done)]
        self._results += done
        for plan, result in zip(self.done_plans, done, strict=True):
            self._answer_size.add(result.rows_json, str(plan.table.table.name))
        self._transaction.adopt(branch, [proto.Command(run=part.statement) for part in self.done_plans[-1].parts])
        if results[-1].tag:
            with naming_statement(str(len(done) - 1)):
                await self._transaction.apply_effects([results])
            return
        # What waited for the commit belongs to no statement.
        self._ends_unnamed = True
        await self._transaction.apply_effects([results])

    async def run_and_commit(self, steps: Sequence[Step], keep: KeepAnswer | None = None) -> Sequence[StepResult]:
        """Runs all steps that are not done yet and commits, with the answer that `keep` makes of what they came to.

        Raises what PostgreSQL says, with everything rolled back at the latest then. Raises LateEffects if a trigger has
        effects when others are prepared already; not if they are checked early.
        """
        if any(isinstance(step, TakingStep) for step in all_steps(steps)):
            self._answers = EarlierAnswers(self._view)
        for number in range(len(self._results), len(steps)):
            if number > 0:
                await self._check(number - 1)
            with naming_statement(str(number)):
                self._results.append(await self._run(steps[number], str(number)))
        last = len(steps) - 1
        if self._check_early:
            await self._check(last)
            await self._transaction.check_deferred()
        answer = None if keep is None else keep(self._results)
        await self._transaction.commit("" if self._ends_unnamed else str(last), answer)
        return self._results

    async def run_one(self, step: Step) -> StepResult:
        """Runs a step that is to be answered before the next one is known, and checks what is due at its end."""
        self._answer_size = AnswerSize()
        self._checks_along = True
        [result] = await self._run_and_check([step], "")
        return result

    async def commit(self) -> None:
        """Commits what `run_one` has done. Raises what a check of the commit says, with everything rolled back."""
        await self._transaction.check_deferred()
        await self._transaction.commit()

    async def _check(self, number: int) -> None:
        """Ends the statement of that number."""
        with naming_statement(str(number)):
            await self._transaction.check()

    async def _run_and_check(self, steps: Iterable[Step], within: str) -> list[StepResult]:
        results = []
        for number, step in enumerate(steps):
            place = f"{within}{number}"
            with naming_statement(place):
                results.append(await self._run(step, place))
                await self._transaction.check()
        return results

    async def _run(self, step: Step, place: str) -> StepResult:
        match step:
            case WritePlan():
                result = await self._write(step)
                self._note(place, str(step.table.table.name), result.rows_json, as_text=step.forms.as_text)
                return result
            case ReadStep(request=request):
                answer = await self._read(step)
                if not isinstance(request, router_pb2.CountRequest):
                    self._note(place, request.table, answer.rows_json, as_text=is_text_form(request.row_form))
                return answer
            case RelatedStep() | TakingStep():
                return await self._run_late(step, place)
            case ModeChange():
                await self._transaction.set_constraints(step.change)
                return ModesSet()
            case GroupPlan():
                return await self._run_group(step, f"{place}.")
            case NestedStep():
                return await self._run_nested(step, place)
            case AnsweredStep():
                return await self._answer(step, place)
            case Refused():
                raise step.error

    async def _run_late(self, step: RelatedStep | TakingStep, place: str) -> StepResult:
        """Runs what is planned when its turn comes."""
        if isinstance(step, RelatedStep):
            return await self._write_related(step, place)
        return await self._run(await self._with_values(step), place)

    async def _write_related(self, step: RelatedStep, place: str) -> WriteResult:
        """Raises Conflict if others change meanwhile what meets the conditions over relations."""
        selection = RelatedSelection(self._view, self._transaction, step.request)
        plan = step.plan(self._view, await selection.resolve())
        result = await self._run(plan, place)
        assert isinstance(result, WriteResult), "a write answers what a write does"
        await selection.confirm()
        return result

    async def _run_nested(self, step: NestedStep, place: str) -> NestedResult:
        checked_along, self._checks_along = self._checks_along, True
        try:
            result = await run_script(self._preparing, self._transaction, self._write, step)
        finally:
            self._checks_along = checked_along
        if step.expected is not None:
            step.expected.check_count(result.written.count)
        if not isinstance(step.request, router_pb2.AssociateRequest):
            as_text = is_text_form(step.request.row_form)
            self._note(place, step.request.table, result.written.rows_json, as_text=as_text)
        return result

    async def _answer(self, step: AnsweredStep, place: str) -> WriteResult:
        """Writes rows, and reads them with rows of their relations."""
        result = await self._run(step.write, place)
        await self._transaction.check()
        written = result.written if isinstance(result, NestedResult) else result
        assert isinstance(written, WriteResult), "an insert or update answers what it wrote"
        rows_json = await self._reads.with_relations(step.request, written.rows_json)
        self._answer_size.add(rows_json, step.request.table)
        self._note(place, step.request.table, rows_json, as_text=is_text_form(step.request.row_form))
        return msgspec.structs.replace(written, rows_json=rows_json)

    async def _with_values(self, step: TakingStep) -> Step:
        """What comes of a statement once the values of earlier answers are in it."""
        assert self._plan_now is not None, "who runs such statements can plan them"
        assert self._answers is not None, "answers are noted where a statement takes values of them"
        return await self._plan_now(with_values(self._view, step.statement, self._answers.value))

    def _note(self, place: str, table: str, rows_json: bytes, *, as_text: bool) -> None:
        if self._answers is not None:
            self._answers.note(place, table, rows_json, as_text=as_text)

    async def _write(self, plan: WritePlan) -> WriteResult:
        self.done_plans.append(plan)
        result = await self._run_plan(plan)
        self._answer_size.add(result.rows_json, str(plan.table.table.name))
        if plan.expected is not None:
            plan.expected.check_count(result.count)
            if result.unmet_json:
                raise plan.expected.unmet(result.unmet_json.decode())
        return result

    async def _read(self, step: ReadStep) -> ReadResult:
        result = await self._reads.run(step.request, step.expected)
        self._answer_size.add(result.rows_json, step.request.table)
        return result

    async def _pin_copied_parents(self, plan: WritePlan) -> None:
        """Rows are to be answered with the values that they copy."""
        unknown = copied_parents(self._view, self._hints, plan)
        if unknown:
            await self._transaction.apply_effects([[proto.CommandResult(effects=map(pin_effect, unknown))]])

    async def _run_plan(self, plan: WritePlan) -> WriteResult:
        await self._pin_copied_parents(plan)
        if plan.reference:
            return await run_on_all_shards(self._transaction, plan, self._view.shards)
        if plan.on_conflict is not None and plan.table.anchor is not None:
            plan = (await send_to_parents(self._view, self._transaction, plan)).expecting(plan.expected)
        plan = await fix_shard(self._view, self._transaction, plan)
        if plan.arbiters:
            return await self._upsert(plan)
        return await self._run_parts(plan)

    async def _run_parts(self, plan: WritePlan) -> WriteResult:
        return collect(plan, await self._transaction.run(_statements(plan), check=self._checks_along))

    async def _upsert(self, plan: WritePlan) -> WriteResult:
        """An insert whose rows may conflict with rows of any shard. Raises LostRace too.

        Whether the race was won is known once the claims have been checked, at the end of the statement.
        """
        parts: list[Part] = []
        results: dict[int, list[proto.CommandResult]] = defaultdict(list)
        looked_up: set[tuple[str, str]] = set()
        rest: WritePlan | None = plan
        try:
            while rest is not None:
                turn = await send_to_conflicts(self._view, self._transaction, rest)
                parts += turn.now.parts
                looked_up |= turn.looked_up
                statements = _statements(turn.now.expecting(plan.expected))
                for shard, answers in (await self._transaction.run(statements)).items():
                    results[shard] += answers
                rest = turn.rest
            await self._transaction.check()
        except errors.UniqueViolation as violation:
            raise lost_race(plan, violation, looked_up) or violation from violation
        return collect(replace(plan, parts=tuple(parts)), results)

    async def _run_group(self, group: GroupPlan, within: str) -> GroupResult:
        before = len(self.done_plans)
        try:
            async with self._transaction.savepoint():
                return GroupResult(await self._run_and_check(group.steps, within))
        except errors.STATEMENT_ERRORS as error:
            del self.done_plans[before:]
            if self._answers is not None:
                self._answers.forget_group(within)
            return GroupResult((), error)


def _statements(plan: WritePlan) -> dict[int, list[proto.Statement]]:
    """What each shard is to run."""
    statements: dict[int, list[proto.Statement]] = defaultdict(list)
    for part in plan.parts:
        statements[part.shard].append(part.statement)
    return statements
