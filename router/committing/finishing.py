"""The second phase of distributed transactions, and tidying up after them, beside the requests."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import structlog

from crosskey import errors
from crosskey.internal.v1 import recovery_pb2 as proto
from crosskey.pauses import growing_pauses
from crosskey.router.calls.call_context import call_context, call_context_of_its_own
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.gids import Gid

# A branch that restarts is back by then; one that is not is left to the resolver.
FINISH_TIMEOUT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 0.25
FORGET_INTERVAL_SECONDS = 1.0
LATE_PREPARE_DELAYS_SECONDS = (0.5, 2.0)
# Well below the age at which a resolver may have a decision forgotten (STALE_DECISION_AGE_MS).
MAX_UNANSWERED_AGE_SECONDS = 50.0

_COMMITTED = proto.DecideResponse.OUTCOME_COMMITTED

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_log = structlog.get_logger(__name__)


class Finisher:
    """Carries out decisions. What it cannot finish, the resolver of any router does later."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._tasks: set[asyncio.Task[Any]] = set()
        self._done: dict[int, list[str]] = defaultdict(list)

    async def commit(self, gid: Gid, branches: Iterable[int]) -> None:
        """Commits what is prepared on the branches, and then lets home forget the decision.

        Raises nothing: the transaction is committed already.
        """
        if await self._finish(gid, branches, commit=True):
            self._done[gid.home].append(str(gid))

    def commit_behind_the_answer(self, gid: Gid, branches: Iterable[int]) -> None:
        """The same in the background, and with no request's account of its calls."""
        self.in_background(self._commit_for_nobody(gid, [*branches]))

    async def _commit_for_nobody(self, gid: Gid, branches: Iterable[int]) -> None:
        with call_context(None):
            await self.commit(gid, branches)

    async def roll_back(self, gid: Gid, branches: Iterable[int], *, unanswered: bool = False) -> None:
        """Rolls back what is prepared on the branches. Only for a transaction that home is sure not to commit.

        If `unanswered`, a PREPARE may still be on its way and come after the rollback: it is rolled back again a
        little later, so that its locks are not held until the resolver comes.
        """
        shards = list(branches)
        await self._finish(gid, shards, commit=False)
        if unanswered:
            for delay in LATE_PREPARE_DELAYS_SECONDS:
                await asyncio.sleep(delay)
                await self._finish(gid, shards, commit=False)

    async def finish_unanswered(self, gid: Gid, branches: Iterable[int]) -> bool | None:
        """Finishes a transaction whose commit at home was asked for and not answered.

        Answers whether it is committed; None if home cannot be asked, not by asking again for a while either: then the
        resolver finishes it. None too if so much time has passed that others may have finished it and had its decision
        forgotten: none would then look like an abort.
        """
        if gid.age_seconds() > MAX_UNANSWERED_AGE_SECONDS:
            return None
        try:
            with call_context_of_its_own(FINISH_TIMEOUT_SECONDS):
                response = await _insist(self._nodes[gid.home].decide, proto.DecideRequest(gids=[str(gid)]))
        except errors.CrosskeyError as error:
            _log.warning("outcome unknown for now", gid=str(gid), error=str(error))
            return None
        committed = response.outcomes[0] == _COMMITTED
        await (self.commit if committed else self.roll_back)(gid, branches)
        return committed

    def in_background(self, work: Coroutine[Any, Any, Answer]) -> asyncio.Task[Answer]:
        """Runs what must go on even if its client does not wait for it; `drain` waits for it.

        If the client is gone, nobody is told of an error.
        """
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, errors.CrosskeyError):
            _log.error("unhandled exception in the background", exc_info=error)

    async def drain(self) -> None:
        """Ends what runs in the background; for a router that stops."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        await self._forget_done()

    async def forget_regularly(self) -> None:
        """Has decisions forgotten that nobody needs any more, in batches; runs until cancelled."""
        while True:
            await asyncio.sleep(FORGET_INTERVAL_SECONDS)
            await self._forget_done()

    async def _forget_done(self) -> None:
        done, self._done = self._done, defaultdict(list)
        for home, gids in done.items():
            try:
                with call_context_of_its_own(FINISH_TIMEOUT_SECONDS):
                    await self._nodes[home].forget_decisions(proto.ForgetDecisionsRequest(gids=gids))
            except errors.CrosskeyError as error:
                _log.warning("decisions not forgotten; the resolver does it later", home=home, error=str(error))

    async def _finish(self, gid: Gid, branches: Iterable[int], *, commit: bool) -> bool:
        results = await asyncio.gather(*(self._finish_one(gid, shard, commit=commit) for shard in branches))
        return all(results)

    async def _finish_one(self, gid: Gid, shard: int, *, commit: bool) -> bool:
        request = proto.FinishPreparedRequest(gids=[gid.branch(shard)], commit=commit)
        try:
            with call_context_of_its_own(FINISH_TIMEOUT_SECONDS):
                await _insist(self._nodes[shard].finish_prepared, request)
        except errors.CrosskeyError as error:
            _log.warning("left to the resolver", gid=gid.branch(shard), commit=commit, error=str(error))
            return False
        return True


async def _insist(ask: Callable[[Request], Awaitable[Answer]], request: Request) -> Answer:
    """Asks again while the node does not answer or is too busy, or somebody else is at work on the transaction.

    What an unanswered call finished is gone when it is asked for again, which is no error.
    """
    pauses = growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
    while True:
        try:
            return await ask(request)
        except (errors.ShardUnavailable, errors.Overloaded, errors.Conflict):
            await asyncio.sleep(next(pauses))
