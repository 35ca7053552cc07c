"""Carrying out writes: one local transaction where one shard suffices, else a distributed one.

A write is tried as cheaply as it can be; only when a node finds that other shards are involved is it coordinated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import structlog

from crosskey import errors
from crosskey.v1 import shard_node_pb2 as proto
from router.calls.call_context import current_call_context
from router.calls.cluster import Cluster
from router.calls.fan_out import fan_out_to_the_end
from router.calls.node_errors import leaving_no_trace
from router.calls.nodes import Nodes
from router.committing.distributed_transaction import (
    DistributedTransaction,
    LateEffects,
    LockedTooLate,
    raise_rolled_back,
    says_rolled_back,
)
from router.committing.finishing import Finisher
from router.committing.gids import Gid
from router.planning.parent_references import learn, unknown_parents
from router.planning.schema_view import SchemaView
from router.planning.shadow_hints import ShadowHints
from router.planning.transactions import Step, home_of, only_writes
from router.planning.wanted_claims import surely_claims_elsewhere, wanted_claims
from router.planning.writes import WritePlan
from router.reading.locating import claim_to_follow, follow_claim
from router.writing.first_phase import FirstPhase
from router.writing.script import deal_out, naming_statements, script
from router.writing.step_running import StepResult, StepRunner
from router.writing.upserting import LostRace
from router.writing.write_results import WriteResult

FIRST_RETRY_DELAY_SECONDS = 0.01
MAX_RETRY_DELAY_SECONDS = 0.5

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Writer:
    """Carries out planned writes. `retries` is how often a lost race is run again."""

    nodes: Nodes
    finisher: Finisher
    hints: ShadowHints
    cluster: Cluster
    retries: int

    async def write(self, view: SchemaView, plan: WritePlan) -> WriteResult:
        """Carries out one write. Raises as `transact`, but names no statement.

        One that selects by a unique value goes to the shard that has claimed it, and to all if the row is not there.
        """
        claimed = claim_to_follow(view, plan.table, plan.shards, plan.predicates)
        claiming = () if claimed is None else await follow_claim(self.nodes, claimed)
        if claiming:
            result = await self._write(view, plan.on(claiming))
            if result.count:
                return result
        return await self._write(view, plan)

    async def _write(self, view: SchemaView, plan: WritePlan) -> WriteResult:
        try:
            (result,) = await self.transact(view, [plan])
        except errors.CrosskeyError as error:
            error.metadata.pop("statement", None)
            raise
        assert isinstance(result, WriteResult), "a write answers what a write does"
        return result

    async def transact(self, view: SchemaView, steps: Sequence[Step]) -> Sequence[StepResult]:
        """Carries out steps in order as one transaction and answers one result each.

        A transaction that lost a race (a lock time-out, a deadlock) left no trace and is run again as a whole. Raises
        what PostgreSQL says, naming the statement; Conflict if it lost too often.
        """
        delay = FIRST_RETRY_DELAY_SECONDS
        for _ in range(self.retries):
            try:
                return await self._attempt(view, steps)
            except errors.Conflict as error:
                pause = random.uniform(0, delay)
                if current_call_context().remaining_seconds() < pause:
                    raise
                _log.debug("trying again", error=error.message, pause_seconds=pause)
                await asyncio.sleep(pause)
                delay = min(2 * delay, MAX_RETRY_DELAY_SECONDS)
        try:
            return await self._attempt(view, steps)
        except LostRace as lost:
            raise lost.for_good() from None

    async def _attempt(self, view: SchemaView, steps: Sequence[Step]) -> Sequence[StepResult]:
        plans = only_writes(steps) or []
        shards = {part.shard for plan in plans for part in plan.parts}
        # A commit that may have been lost is OutcomeUnknown.
        with leaving_no_trace():
            if len(shards) == 1 and not any(plan.reference for plan in plans):
                (shard,) = shards
                results = await self._on_one_shard(view, shard, plans)
                if results is not None:
                    return results
            return await self._distributed(view, steps)

    async def _on_one_shard(
        self, view: SchemaView, shard: int, plans: Sequence[WritePlan]
    ) -> Sequence[WriteResult] | None:
        """None, with everything rolled back, if other shards turn out to be involved."""
        if surely_claims_elsewhere(view, plans) or any(plan.arbiters for plan in plans):
            return None
        unknown = unknown_parents(view, self.hints, plans)
        foreign = [parents for parents in unknown if parents.parent_shard != shard]
        claims = [wanted for wanted in wanted_claims(view, plans) if wanted.claim_shard != shard]
        if foreign or claims:
            results = await self._in_two_phases(shard, plans, FirstPhase(foreign, claims))
        else:
            results = await self._locally(shard, plans)
        if results is not None and unknown:
            learn(view, self.hints, plans)
        return results

    async def _locally(self, shard: int, plans: Sequence[WritePlan]) -> list[WriteResult] | None:
        """One RPC, one local transaction. None if other shards turn out to be involved."""
        commands = [*script(plans), proto.Command(commit=proto.Commit())]
        request = proto.ExecuteRequest(shard=shard, commands=commands)
        try:
            with naming_statements(plans):
                response = await self.nodes.call(shard, "Execute", request)
        except errors.CrosskeyError as error:
            # A deadline says by itself that nobody knows.
            if error.answered or isinstance(error, errors.DeadlineExceeded):
                raise
            raise errors.OutcomeUnknown("the connection to the shard that commits was lost", shard=shard) from error
        return deal_out(plans, shard, response.results) if response.committed else None

    async def _in_two_phases(
        self, shard: int, plans: Sequence[WritePlan], first_phase: FirstPhase
    ) -> list[WriteResult] | None:
        """First references and claims: they are prepared on their shards, then the rows' shard commits.

        None, with everything rolled back, if yet other shards turn out to be involved. So too if another shard refuses
        a value, which may be claimed already or break the rules of its domain: on one PostgreSQL, a row, or an earlier
        one, may have other faults, which come first.
        """
        gid = Gid.new(self.cluster.name, shard)
        others = first_phase.shards
        try:
            with naming_statements():
                first = await self._first_phase(gid, first_phase)
        except errors.STATEMENT_ERRORS:
            await self.finisher.roll_back(gid, others)
            return None
        except BaseException as error:
            answered = isinstance(error, errors.CrosskeyError) and error.answered
            self.finisher.in_background(self.finisher.roll_back(gid, others, unanswered=not answered))
            raise
        commit = proto.Command(commit=proto.Commit(decision_gid=str(gid)))
        request = proto.ExecuteRequest(shard=shard, commands=[*first, *script(plans), commit])
        with naming_statements(plans, first=len(first)):
            response = await self._decide(gid, others, request)
        if response is None:
            return None
        return deal_out(plans, shard, response.results[len(first) :])

    async def _first_phase(self, gid: Gid, first_phase: FirstPhase) -> list[proto.Command]:
        """Prepares the other shards' part; answers the commands that home runs first."""
        # To the end: what is prepared after it was to be rolled back would stay until it is resolved.
        answers = await fan_out_to_the_end(
            {shard: self.nodes.call(shard, "Execute", first_phase.request(shard, gid)) for shard in first_phase.shards}
        )
        return first_phase.commands_at_home(answers)

    async def _decide(
        self, gid: Gid, others: Sequence[int], request: proto.ExecuteRequest
    ) -> proto.ExecuteResponse | None:
        """The commit point: home writes the rows and the decision. None if it rolled back because of effects.

        The others' second phase runs after the answer: no client can read a pin, whoever follows a claim looks whether
        the row is there, and whoever needs either waits for it.
        """
        try:
            response: proto.ExecuteResponse = await self.nodes.call(gid.home, "Execute", request)
        except errors.CrosskeyError as error:
            if says_rolled_back(error):
                self._roll_back_later(gid, others)
                raise
            committed = await self.finisher.settle(gid, others)
            if committed is False:
                raise_rolled_back(error)
            raise errors.OutcomeUnknown(
                "the connection to the shard that decides was lost at the commit point", shard=gid.home
            ) from error
        except asyncio.CancelledError:
            self.finisher.in_background(self.finisher.settle(gid, others))
            raise
        if not response.committed:
            await self.finisher.roll_back(gid, others)
            return None
        self.finisher.in_background(self.finisher.commit(gid, others))
        return response

    def _roll_back_later(self, gid: Gid, others: Iterable[int]) -> None:
        self.finisher.in_background(self.finisher.roll_back(gid, others))

    async def _distributed(self, view: SchemaView, steps: Sequence[Step]) -> list[StepResult]:
        """All shards that turn out to be involved, however many."""
        try:
            return await self._checked_in_time(view, steps)
        except LockedTooLate:
            return await self._checked_in_time(view, steps, lock_early=True)

    async def _checked_in_time(
        self, view: SchemaView, steps: Sequence[Step], *, lock_early: bool = False
    ) -> list[StepResult]:
        try:
            return await self._in_one_transaction(view, steps, lock_early=lock_early)
        except LateEffects:
            return await self._in_one_transaction(view, steps, lock_early=lock_early, check_early=True)

    async def _in_one_transaction(
        self, view: SchemaView, steps: Sequence[Step], *, lock_early: bool, check_early: bool = False
    ) -> list[StepResult]:
        gid = Gid.new(self.cluster.name, home_of(steps))
        async with DistributedTransaction(self.nodes, self.finisher, gid) as transaction:
            if lock_early:
                transaction.lock_early()
            runner = StepRunner(view, transaction)
            results = await runner.run_and_commit(steps, check_early=check_early)
        learn(view, self.hints, runner.carried_out)
        return results
