"""Finishes distributed transactions whose coordinator is gone; safe to run in any number of routers at once."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog

from crosskey import errors
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.internal.v1 import recovery_pb2
from crosskey.router.calls.call_context import call_context_of_its_own
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.finishing import FINISH_TIMEOUT_SECONDS
from crosskey.router.committing.gids import Gid

# Decisions are normally forgotten within seconds; what is older was left by a router that is gone.
STALE_DECISION_AGE_MS = 60_000
STALE_DECISION_INTERVAL_SECONDS = 60.0

_COMMITTED = recovery_pb2.DecideResponse.OUTCOME_COMMITTED
_UNDECIDED = recovery_pb2.DecideResponse.OUTCOME_UNDECIDED

Answer = TypeVar("Answer")

_log = structlog.get_logger(__name__)


class Resolver:
    """Looks for old prepared transactions on every shard, asks their home, and finishes them."""

    def __init__(self, nodes: Nodes, *, interval_ms: int, min_age_ms: int) -> None:
        self._nodes = nodes
        self._interval_seconds = interval_ms / 1000
        self._min_age_ms = min_age_ms

    async def run(self) -> None:
        """Resolves at intervals until cancelled."""
        await asyncio.gather(self._resolve_regularly(), self._forget_stale_regularly())

    async def resolve_once(self) -> None:
        """Finishes every transaction that is old enough and whose home can be asked."""
        prepared = await asyncio.gather(*(self._prepared(shard) for shard in range(len(self._nodes))))
        by_home: dict[int, dict[str, list[tuple[int, str]]]] = defaultdict(lambda: defaultdict(list))
        for shard, transactions in enumerate(prepared):
            for transaction in transactions or ():
                gid = self._ours(transaction.gid)
                if gid is not None and transaction.age_ms >= self._min_age_ms:
                    by_home[gid.home][str(gid)].append((shard, transaction.gid))
        await asyncio.gather(*(self._resolve_home(home, found) for home, found in by_home.items()))

    async def forget_stale_once(self) -> None:
        """Forgets old commit decisions that no shard has a prepared transaction for.

        Every branch prepared before the decision was made; so if none has it prepared any more, all have finished
        it. A shard that does not answer might still have one: then nothing is forgotten.
        """
        stale = await asyncio.gather(*(self._stale_decisions(shard) for shard in range(len(self._nodes))))
        if not any(stale):
            return
        prepared = await asyncio.gather(*(self._prepared(shard) for shard in range(len(self._nodes))))
        if any(transactions is None for transactions in prepared):
            return
        needed = {str(self._ours(found.gid)) for transactions in prepared for found in transactions or ()}
        for home, gids in enumerate(stale):
            if forgotten := [gid for gid in gids if gid not in needed]:
                await _if_answered(
                    home, self._nodes[home].forget_decisions(recovery_pb2.ForgetDecisionsRequest(gids=forgotten))
                )

    def _ours(self, text: str) -> Gid | None:
        """The transaction of a branch's gid; None for one that only looks like ours: nobody here finishes it."""
        try:
            gid = Gid.of_branch(text)
        except ValueError:
            return None
        return gid if gid.home < len(self._nodes) else None

    async def _resolve_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._interval_seconds)
            with _survived():
                await self.resolve_once()

    async def _forget_stale_regularly(self) -> None:
        while True:
            await asyncio.sleep(STALE_DECISION_INTERVAL_SECONDS)
            with _survived():
                await self.forget_stale_once()

    async def _resolve_home(self, home: int, found: dict[str, list[tuple[int, str]]]) -> None:
        request = recovery_pb2.DecideRequest(gids=list(found), patient=True)
        decisions = await _if_answered(home, self._nodes[home].decide(request))
        if decisions is None:
            return
        to_finish: dict[tuple[int, bool], list[str]] = defaultdict(list)
        for outcome, branches in zip(decisions.outcomes, found.values(), strict=True):
            if outcome == _UNDECIDED:
                continue
            for shard, gid in branches:
                to_finish[shard, outcome == _COMMITTED].append(gid)
        await asyncio.gather(*(self._finish(shard, commit, gids) for (shard, commit), gids in to_finish.items()))

    async def _finish(self, shard: int, commit: bool, gids: Iterable[str]) -> None:
        request = recovery_pb2.FinishPreparedRequest(gids=gids, commit=commit)
        finish = self._nodes[shard].finish_prepared(request)
        if await _if_answered(shard, finish) is not None:
            _log.info("resolved", shard=shard, commit=commit, gids=list(gids))

    async def _prepared(self, shard: int) -> list[proto.PreparedTransaction] | None:
        response = await _if_answered(shard, self._nodes[shard].list_prepared(proto.ListPreparedRequest()))
        return None if response is None else list(response.transactions)

    async def _stale_decisions(self, home: int) -> list[str]:
        request = proto.ListDecisionsRequest(min_age_ms=STALE_DECISION_AGE_MS)
        response = await _if_answered(home, self._nodes[home].list_decisions(request))
        return [] if response is None else list(response.gids)


async def _if_answered(shard: int, call: Coroutine[Any, Any, Answer]) -> Answer | None:
    """None if the shard cannot be asked now: the next round tries again."""
    try:
        with call_context_of_its_own(FINISH_TIMEOUT_SECONDS):
            return await call
    except errors.CrosskeyError as error:
        _log.debug("not now", shard=shard, error=str(error))
        return None


@contextmanager
def _survived() -> Iterator[None]:
    """Recovery must go on after an error that nobody foresaw; it is logged."""
    try:
        yield
    except Exception:
        _log.exception("a round of the resolver failed")
