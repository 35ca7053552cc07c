"""Carrying out writes along their routes; a transaction that lost a race is run again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice

import structlog

from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.pauses import growing_pauses
from crosskey.router.calls.call_context import current_call_context
from crosskey.router.calls.cluster import Cluster
from crosskey.router.calls.node_errors import safe_to_retry
from crosskey.router.calls.nodes import AlreadyAnswered, BranchCalls, Nodes
from crosskey.router.committing.branch import LateEffects
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.committing.effect_queue import CopiesUnseen, LockedTooLate
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.gids import Gid
from crosskey.router.committing.reservations import ReservedHome, pin_effect, reserving_branches
from crosskey.router.committing.seats import Seats
from crosskey.router.committing.tags import naming_tagged
from crosskey.router.committing.two_phase_commit import TwoPhaseCommit
from crosskey.router.planning.parent_references import remember_parents
from crosskey.router.planning.routes import (
    Distributed,
    Local,
    Reserve,
    Route,
    plan_route,
    shards_concerned,
)
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.shadow_hints import ShadowHints
from crosskey.router.planning.told_shards import all_told
from crosskey.router.planning.transactions import Step, home_of
from crosskey.router.planning.writes import FIRST_SHARD, WritePlan
from crosskey.router.reading.locating import claim_to_follow, follow_claim
from crosskey.router.writing.anchor_lookup import AnchorLookup
from crosskey.router.writing.nested_running import Preparing
from crosskey.router.writing.repeats import KEPT_REFUSALS, Keeping, NothingThere, keep_refusal, results_again
from crosskey.router.writing.statement_commands import collect_results, to_commands
from crosskey.router.writing.step_running import PlanNow, StepResult, StepRunner
from crosskey.router.writing.upserting import LostRace
from crosskey.router.writing.value_generator import ValueGenerator
from crosskey.router.writing.write_results import WriteResult

FIRST_PAUSE_SECONDS = 0.01
LONGEST_PAUSE_SECONDS = 0.5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Begun:
    """A branch that was to do everything alone, and that found effects on other shards."""

    branch: BranchCalls
    results: Sequence[proto.CommandResult]


@dataclass(frozen=True, slots=True)
class _Manner:
    """How a distributed transaction is run again once it is known to be needed."""

    lock_early: bool = False
    """Rows that others live with are locked before any change."""
    check_early: bool = False
    """Constraints are checked before any shard prepares."""
    pin_first: bool = False
    """Parents are pinned, remembered or not, before rows are written that copy their values."""


@dataclass(frozen=True)
class Writer:
    """Carries out planned writes. `retries` is how often a lost race is run again.

    What may come to hold connections to several shards takes its `seats` first.
    """

    nodes: Nodes
    finisher: Finisher
    seats: Seats
    hints: ShadowHints
    cluster: Cluster
    retries: int
    value_generator: ValueGenerator
    anchor_lookup: AnchorLookup

    def begin(self) -> DistributedTransaction:
        """A transaction of which nothing is known yet, so that any shard may come to be its home."""
        return DistributedTransaction(self.nodes, self.finisher, Gid.new(self.cluster.name, FIRST_SHARD))

    def preparing(self, view: SchemaView) -> Preparing:
        """What comes before the writes of a nested one."""
        return Preparing(view, self.value_generator, self.anchor_lookup)

    async def write(self, view: SchemaView, plan: WritePlan, keeping: Keeping | None = None) -> WriteResult:
        """Carries out one write. Raises as `transact`, but names no statement.

        One that selects by a unique value goes to the shard that has claimed it, and to all if the row is not there.
        """
        claimed = claim_to_follow(view, plan.table, plan.shards, plan.predicates)
        claiming = () if claimed is None else await follow_claim(self.nodes, claimed)
        if claiming:
            result = await self._write_if_there(view, plan, plan.on(claiming), keeping)
            if result is not None:
                return result
        return await self._write(view, plan, keeping)

    async def _write_if_there(
        self, view: SchemaView, plan: WritePlan, narrowed: WritePlan, keeping: Keeping | None
    ) -> WriteResult | None:
        """Carries a write out where its rows are thought to be; None, with nothing kept, if there are none."""
        if keeping is not None:
            # What tells where the answer is kept is the request, and not where its rows are now.
            keeping.place(view, [plan])
        try:
            result = await self._write(view, narrowed, None if keeping is None else keeping.of_any())
        except NothingThere:
            return None
        return result if result.count else None

    async def _write(self, view: SchemaView, plan: WritePlan, keeping: Keeping | None) -> WriteResult:
        try:
            (result,) = await self.transact(view, [plan], keeping=keeping)
        except errors.CrosskeyError as error:
            error.metadata.pop("statement", None)
            raise
        assert isinstance(result, WriteResult), "a write answers what a write does"
        return result

    async def transact(
        self,
        view: SchemaView,
        steps: Sequence[Step],
        plan_now: PlanNow | None = None,
        keeping: Keeping | None = None,
    ) -> Sequence[StepResult]:
        """Carries out steps in order as one transaction and answers one result each.

        `plan_now` plans those that take values of earlier answers. With `keeping`, they are carried out once: if they
        were before, with the results of then, or what they were refused with.

        A transaction that lost a race (a lock time-out, a deadlock) left no trace and is run again as a whole. Raises
        what PostgreSQL says, naming the statement; Conflict if it lost too often; and AlreadyAnswered if the answer is
        kept, and not the results.
        """
        if keeping is None:
            return await self._until_it_wins(view, steps, plan_now, None)
        try:
            return await self._until_known(view, steps, plan_now, keeping)
        except AlreadyAnswered as already:
            return results_again(keeping, already, steps)
        except KEPT_REFUSALS as error:
            try:
                await keep_refusal(self.nodes, keeping, error)
            except AlreadyAnswered as already:
                return results_again(keeping, already, steps)
            raise

    async def _until_known(
        self, view: SchemaView, steps: Sequence[Step], plan_now: PlanNow | None, keeping: Keeping
    ) -> Sequence[StepResult]:
        """Repeats what may have been committed until its answer is known, or the deadline is near.

        Raises OutcomeUnknown then, which says that a repeat is safe.
        """
        unknown: errors.OutcomeUnknown | None = None
        pauses = growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while True:
            try:
                return await self._until_it_wins(view, steps, plan_now, keeping)
            except errors.OutcomeUnknown as error:
                unknown = unknown or error
                unknown.retryable = True
            except (errors.ShardUnavailable, errors.Overloaded, errors.Conflict):
                if unknown is None:
                    raise
            pause = next(pauses)
            if current_call_context().remaining_seconds() < pause:
                raise unknown
            _log.debug("repeating what may be committed", error=unknown.message, pause_seconds=pause)
            await asyncio.sleep(pause)

    async def _until_it_wins(
        self, view: SchemaView, steps: Sequence[Step], plan_now: PlanNow | None, keeping: Keeping | None
    ) -> Sequence[StepResult]:
        pauses = islice(growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS), self.retries)
        while True:
            try:
                return await self._attempt(view, steps, plan_now, keeping)
            except errors.Conflict as error:
                pause = next(pauses, None)
                if pause is None and isinstance(error, LostRace):
                    raise error.for_good() from None
                if pause is None or current_call_context().remaining_seconds() < pause:
                    raise
                _log.debug("trying again", error=error.message, pause_seconds=pause)
                await asyncio.sleep(pause)

    async def _attempt(
        self, view: SchemaView, steps: Sequence[Step], plan_now: PlanNow | None, keeping: Keeping | None
    ) -> Sequence[StepResult]:
        route = _keeping_route(plan_route(view, self.hints, steps), keeping, view, steps)
        # A commit that may have been lost is OutcomeUnknown.
        with safe_to_retry():
            if isinstance(route, Local):
                if route.plain:
                    return await self._locally(view, route, keeping)
                async with self._turn(view, steps, route.shard):
                    return await self._locally(view, route, keeping)
            if isinstance(route, Reserve):
                results = await self._with_reservations(view, route, keeping)
                if results is not None:
                    return results
            async with self._turn(view, steps, route.home):
                return await self._distributed(view, steps, plan_now=plan_now, keeping=keeping)

    def _turn(self, view: SchemaView, steps: Sequence[Step], home: int) -> AbstractAsyncContextManager[None]:
        """Waits for the turn of what may come to hold connections to several shards."""
        shards = {home, *shards_concerned(view, self.hints, steps)}
        return self.seats.taken(shards) if len(shards) > 1 else nullcontext()

    async def _locally(self, view: SchemaView, route: Local, keeping: Keeping | None) -> Sequence[StepResult]:
        """One message to one shard; if it finds effects on others, the transaction goes on from there."""
        branch = self.nodes[route.shard].branch()
        start = proto.RunRequest.START_PLAIN if route.plain else proto.RunRequest.START_ALONE
        try:
            with naming_tagged():
                response = await branch.run([*_commands(route), _commit(keeping)], start)
        except asyncio.CancelledError:
            self.finisher.in_background(branch.leave())
            raise
        except errors.CrosskeyError as error:
            self.finisher.in_background(branch.leave())
            # A deadline says by itself that nobody knows.
            if error.answered or isinstance(error, errors.DeadlineExceeded):
                raise
            raise errors.OutcomeUnknown(
                "the connection to the shard that commits was lost", shard=route.shard
            ) from error
        if not response.finished:
            return await self._go_on(view, route, _Begun(branch, response.results), keeping)
        if route.has_new_parents:
            remember_parents(view, self.hints, route.plans)
        return collect_results(route.plans, response.results)

    async def _go_on(
        self, view: SchemaView, route: Local, begun: _Begun, keeping: Keeping | None
    ) -> Sequence[StepResult]:
        """Nothing is run twice, unless rows were to be sent to others that they may conflict with."""
        if any(plan.on_conflict is not None and plan.table.anchor is not None for plan in route.plans):
            await asyncio.shield(self.finisher.in_background(begun.branch.leave()))
            return await self._distributed(view, route.plans, keeping=keeping)
        return await self._distributed(view, route.plans, begun, keeping=keeping)

    async def _with_reservations(
        self, view: SchemaView, route: Reserve, keeping: Keeping | None
    ) -> Sequence[StepResult] | None:
        """First references and claims: they are prepared on their shards, then the rows' shard commits.

        None, with everything rolled back, if yet other shards turn out to be involved. So too if another shard refuses
        a value, which may be claimed already or break the rules of its domain: on one PostgreSQL, a row, or an earlier
        one, may have other faults, which come first.
        """
        others = reserving_branches(self.nodes, route.parents, route.claims)
        keep = None if keeping is None else keeping.results
        home = ReservedHome(route.home, self.nodes[route.home].branch(), others, _commands(route), keep)
        end = TwoPhaseCommit(Gid.new(self.cluster.name, route.home), self.finisher)
        try:
            await end.prepare(others)
        except BaseException as error:
            rolling_back = await end.abandon(others)
            if not isinstance(error, errors.STATEMENT_ERRORS):
                raise
            if rolling_back is not None:
                await rolling_back
            return None
        try:
            await end.decide(home, others)
        except LateEffects:
            return None
        remember_parents(view, self.hints, route.plans)
        return collect_results(route.plans, home.results)

    async def _distributed(
        self,
        view: SchemaView,
        steps: Sequence[Step],
        begun: _Begun | None = None,
        plan_now: PlanNow | None = None,
        keeping: Keeping | None = None,
    ) -> Sequence[StepResult]:
        """All shards that turn out to be involved, however many.

        Three things are found out only on the way, and then all is run once more: that rows were locked too late, that
        a deferred trigger has effects when others are prepared already, and that rows were written before the values
        that they copy were known.
        """
        how = _Manner()
        while True:
            try:
                return await self._in_one_transaction(view, steps, begun, plan_now, how, keeping)
            except LockedTooLate:
                if how.lock_early:
                    raise
                how = replace(how, lock_early=True)
            except LateEffects:
                if how.check_early:
                    raise
                how = replace(how, check_early=True)
            except CopiesUnseen:
                how = replace(how, pin_first=True)
            begun = None

    async def _in_one_transaction(
        self,
        view: SchemaView,
        steps: Sequence[Step],
        begun: _Begun | None,
        plan_now: PlanNow | None,
        how: _Manner,
        keeping: Keeping | None,
    ) -> Sequence[StepResult]:
        home = home_of(steps) if keeping is None else keeping.place(view, steps)
        gid = Gid.new(self.cluster.name, home)
        async with DistributedTransaction(self.nodes, self.finisher, gid, copies_may_wait=how.pin_first) as transaction:
            if how.lock_early:
                transaction.lock_early()
            preparing = self.preparing(view)
            hints = ShadowHints() if how.pin_first else self.hints
            runner = StepRunner(view, transaction, preparing, plan_now, hints=hints, check_early=how.check_early)
            if begun is not None:
                await runner.take_over(steps, begun.branch, begun.results)
            results = await runner.run_and_commit(steps, None if keeping is None else keeping.answer)
        remember_parents(view, self.hints, runner.done_plans)
        return results


def _keeping_route(route: Route, keeping: Keeping | None, view: SchemaView, steps: Sequence[Step]) -> Route:
    """The route, or the distributed one if that alone leads home to where the answer is to be kept."""
    if keeping is None:
        return route
    place = keeping.place(view, steps)
    home = route.shard if isinstance(route, Local) else route.home
    # A node's results are put together by the plans of the repeat.
    if home == place and keeping.by_node and all_told(view, steps):
        return route
    return Distributed(place, "its answer is kept where a repeat finds it")


def _commit(keeping: Keeping | None) -> proto.Command:
    return proto.Command(commit=proto.Commit(keep=None if keeping is None else keeping.results))


def _commands(route: Local | Reserve) -> list[proto.Command]:
    """The statements, and before them the pins at home of parents whose values the rows copy."""
    pins = [proto.Command(apply=pin_effect(parents)) for parents in route.copied]
    return [*pins, *to_commands(route.plans)]
