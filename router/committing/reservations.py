"""What is prepared on other shards before a shard writes its rows: pins of parents, claims of values.

Each branch here does everything in one message: the others pin and claim and prepare, home then adds the shadows, runs
the statements and commits with the decision.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from crosskey.internal.v1 import effects_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.calls.nodes import BranchCalls, Nodes
from crosskey.router.committing.branch import LateEffects, Results
from crosskey.router.committing.tags import naming_tagged
from crosskey.router.planning.parent_references import UnknownParents
from crosskey.router.planning.wanted_claims import WantedClaims


class ReservingBranch:
    """Pins and claims of one other shard."""

    unseen = True
    """No client can read a pin, and whoever follows a claim looks whether the row is there."""

    answers_at_commit = False

    def __init__(self, shard: int, calls: BranchCalls) -> None:
        self.shard = shard
        self.pinned: list[effects_pb2.Effect] = []
        """Once it is prepared: the shadows of the parents that exist."""
        self.claims: list[WantedClaims] = []
        self._calls = calls
        self._effects: list[effects_pb2.Effect] = []

    def pin(self, unknown: UnknownParents) -> None:
        """Adds parents to be pinned."""
        self._effects.append(pin_effect(unknown))

    def claim(self, wanted: WantedClaims) -> None:
        """Adds values to be claimed."""
        self.claims.append(wanted)
        claim = effects_pb2.ClaimValues(
            claim=wanted.claim.id, values_json=msgspec.json.encode(wanted.values), in_advance=True
        )
        self._effects.append(effects_pb2.Effect(shard=self.shard, origin=wanted.shard, claim_values=claim))

    async def prepare(self, gid: str) -> None:
        """As Branch.prepare."""
        commands = [*(proto.Command(apply=effect) for effect in self._effects)]
        prepare = proto.Command(prepare=proto.Prepare(gid=gid))
        response = await self._calls.run([*commands, prepare])
        self.pinned = [effect for result in response.results for effect in result.effects]

    async def commit(self, decision_gid: str) -> None:
        """Never asked of it: it is not home."""
        raise NotImplementedError

    async def leave(self) -> None:
        """As Branch.leave."""
        await self._calls.leave()


class ReservedHome:
    """Home, whose statements rely on what others have prepared."""

    unseen = False
    answers_at_commit = True

    def __init__(
        self,
        shard: int,
        calls: BranchCalls,
        others: Sequence[ReservingBranch],
        statements: Sequence[proto.Command],
        keep: proto.Keep | None = None,
    ) -> None:
        """The answer to `keep` is kept by the commit."""
        self.shard = shard
        self.results: Results = ()
        """Once it is committed: the results of the statements."""
        self._calls = calls
        self._others = others
        self._statements = statements
        self._keep = keep

    async def prepare(self, gid: str) -> None:
        """Never asked of it: it is home."""
        raise NotImplementedError

    async def commit(self, decision_gid: str) -> None:
        """As Branch.commit. Raises AlreadyAnswered too, and LateEffects if yet other shards turn out to be involved.

        A parent that does not exist gets no shadow, so that PostgreSQL itself refuses the child, in its own words.
        """
        first = [
            *(proto.Command(apply=shadows) for other in self._others for shadows in other.pinned),
            *(_expect(wanted) for other in self._others for wanted in other.claims),
        ]
        commit = proto.Command(commit=proto.Commit(decision_gid=decision_gid, keep=self._keep))
        with naming_tagged():
            response = await self._calls.run([*first, *self._statements, commit], start=proto.RunRequest.START_ALONE)
        if not response.finished:
            raise LateEffects
        self.results = response.results

    async def leave(self) -> None:
        """As Branch.leave."""
        await self._calls.leave()


def reserving_branches(
    nodes: Nodes, parents: Iterable[UnknownParents], claims: Iterable[WantedClaims]
) -> list[ReservingBranch]:
    """The branches of other shards, in their order; all are for rows of one shard."""
    branches: dict[int, ReservingBranch] = {}

    def on(shard: int) -> ReservingBranch:
        if shard not in branches:
            branches[shard] = ReservingBranch(shard, nodes[shard].branch())
        return branches[shard]

    for unknown in parents:
        on(unknown.parent_shard).pin(unknown)
    for wanted in claims:
        on(wanted.claim_shard).claim(wanted)
    return [branches[shard] for shard in sorted(branches)]


def pin_effect(unknown: UnknownParents) -> effects_pb2.Effect:
    """The effect that pins the parents where they are."""
    pin = effects_pb2.PinParents(referenced_key=unknown.referenced_key.id, keys_json=_keys_json(unknown))
    return effects_pb2.Effect(shard=unknown.parent_shard, origin=unknown.child_shard, pin_parents=pin)


def _keys_json(unknown: UnknownParents) -> bytes:
    columns = unknown.referenced_key.columns
    return msgspec.json.encode([dict(zip(columns, parent, strict=True)) for parent in unknown.parents])


def _expect(wanted: WantedClaims) -> proto.Command:
    expect = proto.ExpectClaims(claim=wanted.claim.id, values_json=msgspec.json.encode(wanted.values))
    return proto.Command(expect_claims=expect)
