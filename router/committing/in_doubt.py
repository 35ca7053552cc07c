"""Distributed transactions that are not finished everywhere yet, and what their home decided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from crosskey import errors
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.internal.v1 import recovery_pb2
from crosskey.router.calls.call_context import call_context_of_its_own
from crosskey.router.calls.fan_out import fan_out
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.gids import Gid
from crosskey.v1.admin_pb2 import InDoubtTransaction, ListInDoubtResponse

ASK_TIMEOUT_SECONDS = 5.0
"""A shard that takes longer counts as one that cannot be reached."""

_DECISIONS = {
    recovery_pb2.DecideResponse.OUTCOME_COMMITTED: "committed",
    recovery_pb2.DecideResponse.OUTCOME_ABORTED: "aborted",
    recovery_pb2.DecideResponse.OUTCOME_UNDECIDED: "undecided",
}
_UNKNOWN = "unknown"

Prepared = Mapping[int, list[proto.PreparedTransaction] | None]
"""The prepared transactions on each shard; None for a shard that could not be asked."""


async def list_in_doubt(nodes: Nodes) -> ListInDoubtResponse:
    """The transactions that are prepared on some shard, oldest first; only looks, and decides nothing.

    A transaction whose home could not be asked has the decision "unknown".
    """
    first = await _prepared(nodes)
    decisions = await _decisions(nodes, {Gid.of_branch(found.gid) for found in _all(first)})
    # Home forgets the decisions of transactions that are finished: only for those that still are not, it has told all.
    still = await _prepared(nodes)
    unfinished = {found.gid for found in _all(still)} & {found.gid for found in _all(first)}
    transactions = [
        _in_doubt(shard, found, decisions)
        for shard, prepared in still.items()
        for found in prepared or ()
        if found.gid in unfinished
    ]
    return ListInDoubtResponse(
        transactions=sorted(transactions, key=lambda one: (one.prepared_at.ToNanoseconds(), one.gid)),
        unreachable_shards=[shard for shard, prepared in still.items() if prepared is None],
    )


async def _prepared(nodes: Nodes) -> Prepared:
    return await fan_out({shard: _prepared_on(nodes, shard) for shard in range(len(nodes))})


async def _prepared_on(nodes: Nodes, shard: int) -> list[proto.PreparedTransaction] | None:
    try:
        with call_context_of_its_own(ASK_TIMEOUT_SECONDS):
            response = await nodes[shard].list_prepared(proto.ListPreparedRequest())
    except errors.CrosskeyError:
        return None
    return list(response.transactions)


def _all(prepared: Prepared) -> Iterable[proto.PreparedTransaction]:
    return (found for transactions in prepared.values() for found in transactions or ())


async def _decisions(nodes: Nodes, gids: Iterable[Gid]) -> dict[str, str]:
    """What home decided about each transaction; those whose home could not be asked are left out."""
    by_home: dict[int, list[str]] = defaultdict(list)
    for gid in gids:
        by_home[gid.home].append(str(gid))
    answers = await fan_out({home: _decisions_of(nodes, home, asked) for home, asked in by_home.items()})
    return {gid: decision for decisions in answers.values() for gid, decision in decisions.items()}


async def _decisions_of(nodes: Nodes, home: int, gids: list[str]) -> dict[str, str]:
    try:
        with call_context_of_its_own(ASK_TIMEOUT_SECONDS):
            response = await nodes[home].decide(recovery_pb2.DecideRequest(gids=gids, peek=True))
    except errors.CrosskeyError:
        return {}
    return {gid: _DECISIONS[outcome] for gid, outcome in zip(gids, response.outcomes, strict=True)}


def _in_doubt(shard: int, found: proto.PreparedTransaction, decisions: Mapping[str, str]) -> InDoubtTransaction:
    gid = Gid.of_branch(found.gid)
    return InDoubtTransaction(
        gid=found.gid,
        shard=shard,
        home=gid.home,
        decision=decisions.get(str(gid), _UNKNOWN),
        prepared_at=found.prepared_at,
    )
