"""The look-up of anchors: claims are asked on which shards they are, before rows are placed.

The answers are hints. A row that is sent to the wrong shard meets its foreign key there, and all is run again as a
distributed transaction, which takes it to its anchor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

import msgspec

from crosskey.internal.v1 import effects_pb2, reads_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.calls.fan_out import fan_out
from crosskey.router.calls.node_errors import safe_to_retry
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.planning.anchors import NO_ANCHORS, AnchorShards, anchor_keys, key_of
from crosskey.router.planning.claimed_values import ClaimedValue
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import WritePlan
from crosskey.router.reading.locating import claim_to_follow

MAX_REMEMBERED = 10_000
"""How many anchors that were inserted last: those whose claims cannot be read yet are of the last few seconds."""

Asked: TypeAlias = Mapping[int, Mapping[str, Sequence[ClaimedValue]]]
"""Anchors by the shard of their claims, and by claim."""


async def find_within(
    transaction: DistributedTransaction, parents: Iterable[ClaimedValue], *, hold: bool
) -> AnchorShards:
    """The shards of anchors as a transaction sees them, each found once; if `hold`, they stay there until it ends.

    Raises what nodes do.
    """
    asked = _by_shard({key_of(parent): parent for parent in parents}.values())
    commands = {
        shard: [
            proto.Command(look_up_claims=proto.LookUpClaims(claim=claim, values_json=_values_json(values), hold=hold))
            for claim, values in claims.items()
        ]
        for shard, claims in asked.items()
    }
    answers = await transaction.commands(commands)
    places: dict[tuple[str, str], int] = {}
    for shard, claims in asked.items():
        for values, answer in zip(claims.values(), answers[shard], strict=True):
            places |= _places(values, answer.claims)
    return places


async def fix_shard(view: SchemaView, transaction: DistributedTransaction, plan: WritePlan) -> WritePlan:
    """The update or delete for just the shard of its rows, if it selects them by the column that names their anchor.

    Rows move with their anchor at any moment, though nothing in them changes. So the anchor's claim is locked, and is
    believed only where the anchor is seen. Raises Conflict if the anchor is on its way, and what nodes raise.
    """
    if plan.table.anchor is None or plan.kind == "insert":
        return plan
    claimed = claim_to_follow(view, plan.table, plan.shards, plan.predicates)
    places = NO_ANCHORS if claimed is None else await find_within(transaction, [claimed], hold=True)
    if claimed is None or places.get(key_of(claimed)) not in plan.shards:
        return plan
    shard = places[key_of(claimed)]
    # On the shard that is said to have the anchor, this only looks that it is there.
    follow = effects_pb2.FollowAnchors(claim=claimed.claim.id, values_json=_values_json([claimed]), shards=[shard])
    effect = effects_pb2.Effect(shard=shard, origin=shard, follow_anchors=follow)
    await transaction.command(shard, proto.Command(apply=effect))
    return plan.on([shard])


@dataclass(frozen=True)
class AnchorLookup:
    """Asks claims on which shards anchors are: one call for each claim and shard that has some.

    An insert is answered before its claims can be read. So it remembers where its own router has put the last anchors,
    for those whose claims it does not find.
    """

    nodes: Nodes
    _recent: dict[tuple[str, str], int] = field(default_factory=dict)

    def remember(self, view: SchemaView, plans: Iterable[WritePlan]) -> None:
        """Remembers where committed plans have put rows that can be anchors."""
        for plan in plans:
            if plan.kind == "insert" and plan.on_conflict is None:
                for part in plan.parts:
                    self._recent.update(dict.fromkeys(anchor_keys(view, plan.table, part.rows), part.shard))
        for key in list(islice(self._recent, max(0, len(self._recent) - MAX_REMEMBERED))):
            del self._recent[key]

    async def find(self, parents: Sequence[ClaimedValue]) -> AnchorShards:
        """The shards of anchors, without those of which nothing is known. Raises what nodes raise."""
        asked = _by_shard(parents)
        if not asked:
            return NO_ANCHORS
        with safe_to_retry():
            found = await fan_out({shard: self._find_on(shard, claims) for shard, claims in asked.items()})
        remembered = {key: self._recent[key] for parent in parents if (key := key_of(parent)) in self._recent}
        return remembered | {key: place for places in found.values() for key, place in places.items()}

    async def _find_on(self, shard: int, claims: Mapping[str, Sequence[ClaimedValue]]) -> AnchorShards:
        places: dict[tuple[str, str], int] = {}
        for claim, parents in claims.items():
            request = reads_pb2.FindClaimsRequest(claim=claim, values_json=_values_json(parents))
            response = await self.nodes[shard].find_claims(request)
            places |= _places(parents, response.claims)
        return places


def _by_shard(parents: Iterable[ClaimedValue]) -> Asked:
    groups: defaultdict[int, defaultdict[str, list[ClaimedValue]]] = defaultdict(lambda: defaultdict(list))
    for parent in parents:
        groups[parent.claim_shard][parent.claim.id].append(parent)
    return groups


def _values_json(parents: Iterable[ClaimedValue]) -> bytes:
    return msgspec.json.encode([parent.columns for parent in parents])


def _places(parents: Iterable[ClaimedValue], claims: Iterable[reads_pb2.FoundClaim]) -> dict[tuple[str, str], int]:
    return {
        key_of(parent): found.shard for parent, found in zip(parents, claims, strict=True) if found.HasField("shard")
    }
