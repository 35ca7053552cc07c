"""Two-phase commit on shards made of dictionaries: every answer refused, lost or late at every step, also two of them.

However a transaction ends, once recovery has run: all shards have it or none; if it was acknowledged all have it; if it
was refused none has; nothing stays prepared.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import pytest
from typing_extensions import override

from crosskey import errors
from crosskey.catalog.model import TableName
from crosskey.catalog.plan import ReferencedKey
from crosskey.internal.v1 import maintenance_pb2, recovery_pb2, session_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.calls.call_context import call_context
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing import finishing, resolver
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.gids import Gid
from crosskey.router.committing.reservations import ReservedHome, reserving_branches
from crosskey.router.committing.resolver import Resolver
from crosskey.router.committing.two_phase_commit import TwoPhaseCommit
from crosskey.router.planning.parent_references import UnknownParents
from tests.fake_nodes import FakeNode

pytestmark = pytest.mark.searches

SHARDS = 3
HOME = 0
STATEMENT = proto.Statement(table="public.t")
COMMITTED, ABORTED = recovery_pb2.DecideResponse.OUTCOME_COMMITTED, recovery_pb2.DecideResponse.OUTCOME_ABORTED


class Fault(Enum):
    """What becomes of one call."""

    REFUSED = "the shard refuses, in PostgreSQL's words"
    GIVEN_UP = "the shard gives up: a lock time-out"
    LOST = "the call never arrives"
    ANSWER_LOST = "it is done, and the answer is lost"
    LATE = "it is done after all else, and nobody waits for the answer"
    ROUTER_DIES = "it is done, and then the router is gone"


AT_ONCE = (Fault.REFUSED, Fault.GIVEN_UP, Fault.ANSWER_LOST)
"""A transaction that these end is tidied up by its router: no lock waits for a resolver."""


class RouterDied(BaseException):
    """Ends all that the router does."""


@dataclass
class Shard:
    """What PostgreSQL keeps of one shard: its prepared transactions, its decisions, and whether it has the rows."""

    branches: set[int] = field(default_factory=set)
    prepared: set[str] = field(default_factory=set)
    decisions: dict[str, bool] = field(default_factory=dict)
    has_rows: bool = False


class Cluster:
    """Shards, and the calls to them; `faults` are by the number of the call, from 0."""

    def __init__(self, faults: dict[int, Fault], seed: int) -> None:
        self.shards = [Shard() for _ in range(SHARDS)]
        self.calls = 0
        self.faults = faults
        self.dead = False
        self.late: list[Callable[[], object]] = []
        self.left_to_resolver = 0
        """How many branches were still prepared when the router had done all that it does."""
        self._random = random.Random(seed)

    def nodes(self) -> Nodes:
        """As a router sees them."""
        return Nodes([RecoverableNode(shard, self) for shard in range(SHARDS)])

    async def answer(self, shard: int, call: session_pb2.Call) -> session_pb2.Answer:
        """Does what is asked, unless it meets a fault."""
        number, self.calls = self.calls, self.calls + 1
        for _ in range(self._random.randrange(4)):
            await asyncio.sleep(0)
        if self.dead:
            raise RouterDied
        match self.faults.get(number):
            case None:
                return self._do(shard, call)
            case Fault.REFUSED:
                self._roll_back(shard, call)
                raise errors.ForeignKeyViolation("refused")
            case Fault.GIVEN_UP:
                self._roll_back(shard, call)
                raise errors.Conflict("given up")
            case Fault.LOST:
                self._roll_back(shard, call)
            case Fault.ANSWER_LOST:
                self._do(shard, call)
            case Fault.LATE:
                self.late.append(lambda: self._do(shard, call))
            case Fault.ROUTER_DIES:
                self._do(shard, call)
                self.dead = True
                raise RouterDied
        lost = errors.ShardUnavailable("no answer")
        lost.answered = lost.retryable = False
        raise lost

    def _roll_back(self, shard: int, call: session_pb2.Call) -> None:
        self.shards[shard].branches.discard(call.run.branch)

    def _do(self, shard: int, call: session_pb2.Call) -> session_pb2.Answer:
        kind = call.WhichOneof("call") or ""
        done: session_pb2.Answer = getattr(self, f"_{kind}")(self.shards[shard], getattr(call, kind))
        return done

    def _run(self, shard: Shard, request: proto.RunRequest) -> session_pb2.Answer:
        shard.branches.add(request.branch)
        finished = False
        for command in request.commands:
            match command.WhichOneof("command"):
                case "prepare":
                    shard.prepared.add(command.prepare.gid)
                    finished = True
                case "commit":
                    self._commit(shard, request.branch, command.commit.decision_gid)
                    finished = True
        if finished:
            shard.branches.discard(request.branch)
        return session_pb2.Answer(run=proto.RunResponse(finished=finished))

    def _commit(self, shard: Shard, branch: int, decision_gid: str) -> None:
        if decision_gid:
            if decision_gid in shard.decisions:
                shard.branches.discard(branch)
                raise errors.Conflict("given up by the resolver")
            shard.decisions[decision_gid] = True
        shard.has_rows = True

    def _leave(self, shard: Shard, request: proto.LeaveRequest) -> session_pb2.Answer:
        shard.branches.discard(request.branch)
        return session_pb2.Answer(leave=proto.LeaveResponse())

    def _finish_prepared(self, shard: Shard, request: recovery_pb2.FinishPreparedRequest) -> session_pb2.Answer:
        for gid in request.gids:
            if gid in shard.prepared:
                shard.prepared.discard(gid)
                shard.has_rows = shard.has_rows or request.commit
        return session_pb2.Answer(finish_prepared=recovery_pb2.FinishPreparedResponse())

    def _decide(self, shard: Shard, request: recovery_pb2.DecideRequest) -> session_pb2.Answer:
        outcomes = [COMMITTED if shard.decisions.setdefault(gid, False) else ABORTED for gid in request.gids]
        return session_pb2.Answer(decide=recovery_pb2.DecideResponse(outcomes=outcomes))

    def _forget_decisions(self, shard: Shard, request: recovery_pb2.ForgetDecisionsRequest) -> session_pb2.Answer:
        for gid in request.gids:
            shard.decisions.pop(gid, None)
        return session_pb2.Answer(forget_decisions=recovery_pb2.ForgetDecisionsResponse())

    def router_is_gone(self) -> None:
        """Its streams end, and what was late arrives."""
        for shard in self.shards:
            shard.branches.clear()
        for arrive in self.late:
            try:
                arrive()
            except errors.Conflict:
                continue


class RecoverableNode(FakeNode):
    """A shard with what its resolver asks for."""

    def __init__(self, shard: int, cluster: Cluster) -> None:
        super().__init__(shard, cluster.answer)
        self._of_cluster = cluster.shards[shard]

    @override
    async def list_prepared(self, request: maintenance_pb2.ListPreparedRequest) -> maintenance_pb2.ListPreparedResponse:
        prepared = [maintenance_pb2.PreparedTransaction(gid=gid) for gid in self._of_cluster.prepared]
        return maintenance_pb2.ListPreparedResponse(transactions=prepared)

    @override
    async def list_decisions(
        self, request: maintenance_pb2.ListDecisionsRequest
    ) -> maintenance_pb2.ListDecisionsResponse:
        committed = [gid for gid, was_committed in self._of_cluster.decisions.items() if was_committed]
        return maintenance_pb2.ListDecisionsResponse(gids=committed)


async def distributed(nodes: Nodes, finisher: Finisher) -> None:
    """Rows on all shards."""
    async with DistributedTransaction(nodes, finisher, Gid.new("toys", HOME)) as transaction:
        await transaction.run({shard: [STATEMENT] for shard in range(SHARDS)})
        await transaction.commit("0")


async def reserved(nodes: Nodes, finisher: Finisher) -> None:
    """Rows at home, whose parents are pinned on the others first."""
    name = TableName("public", "parents")
    key = ReferencedKey("public.parents(id)", name, ("id",), "id", shadow=name, pin=name)
    parents = [UnknownParents(key, shard, HOME, [("1",)]) for shard in range(1, SHARDS)]
    others = reserving_branches(nodes, parents, ())
    home = ReservedHome(HOME, nodes[HOME].branch(), others, [proto.Command(run=STATEMENT)])
    end = TwoPhaseCommit(Gid.new("toys", HOME), finisher)
    try:
        await end.prepare(others)
    except BaseException:
        await end.abandon(others)
        raise
    await end.decide(home, others)


Transaction = Callable[[Nodes, Finisher], Coroutine[Any, Any, None]]
PAIRS = 300
"""Of some 3,500: others in each run."""

SINGLE_FAULTS = [*itertools.product(range(20), Fault)]


async def outcome_of(transaction: Transaction, cluster: Cluster) -> str:
    """How the transaction ends for its client, and recovery after it."""
    finisher = Finisher(cluster.nodes())
    try:
        with call_context(5.0):
            await transaction(cluster.nodes(), finisher)
        outcome = "acknowledged"
    except (errors.OutcomeUnknown, RouterDied):
        outcome = "unknown"
    except errors.CrosskeyError as error:
        outcome = "refused" if error.answered else "unanswered"
    await drained(finisher)
    cluster.left_to_resolver = sum(len(shard.prepared) for shard in cluster.shards)
    cluster.router_is_gone()
    cluster.dead, cluster.faults = False, {}
    for _ in range(2):
        await Resolver(cluster.nodes(), interval_ms=1, min_age_ms=0).resolve_once()
    return outcome


async def drained(finisher: Finisher) -> None:
    """Ends what the router does beside its requests; a dead one's tasks end as they are."""
    try:
        await finisher.drain()
    except RouterDied:
        return


def check(cluster: Cluster, outcome: str, faults: dict[int, Fault]) -> None:
    """The promises."""
    having = [shard.has_rows for shard in cluster.shards]
    story = f"{outcome}, {having}, after {faults}"
    assert len(set(having)) == 1, story
    assert not any(shard.prepared for shard in cluster.shards), story
    if outcome == "acknowledged":
        assert all(having), story
    if outcome in ("refused", "unanswered"):
        assert not any(having), story


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for by the clock."""
    monkeypatch.setattr(finishing, "LATE_PREPARE_DELAYS_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(finishing, "FIRST_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(finishing, "FINISH_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(resolver, "FINISH_TIMEOUT_SECONDS", 0.05)


@pytest.mark.parametrize("transaction", [distributed, reserved])
async def test_no_fault_means_that_all_have_it(transaction: Transaction) -> None:
    cluster = Cluster({}, seed=0)
    outcome = await outcome_of(transaction, cluster)
    assert outcome == "acknowledged"
    check(cluster, outcome, {})


@pytest.mark.parametrize("transaction", [distributed, reserved])
async def test_every_fault_at_every_step(transaction: Transaction) -> None:
    outcomes = set()
    for (step, fault), seed in itertools.product(SINGLE_FAULTS, range(3)):
        cluster = Cluster({step: fault}, seed)
        outcome = await outcome_of(transaction, cluster)
        check(cluster, outcome, {step: fault})
        if fault in AT_ONCE and outcome in ("refused", "unanswered"):
            assert cluster.left_to_resolver == 0, f"{outcome}, after {fault} at step {step}"
        outcomes.add(outcome)
    assert outcomes == {"acknowledged", "unknown", "refused", "unanswered"}


@pytest.mark.parametrize("transaction", [distributed, reserved])
async def test_two_faults_at_every_two_steps(transaction: Transaction) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when it fails
    pairs: Sequence[Any] = [*itertools.combinations(SINGLE_FAULTS[: 14 * len(Fault)], 2)]
    for (first, one), (second, other) in random.Random(seed).sample(pairs, PAIRS):
        if first != second:
            cluster = Cluster({first: one, second: other}, seed)
            outcome = await outcome_of(transaction, cluster)
            check(cluster, outcome, {first: one, second: other})
