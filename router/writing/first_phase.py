"""What is prepared on other shards before a shard writes its rows: pins of parents, claims of values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from crosskey.v1 import shard_node_pb2 as proto
from router.committing.distributed_transaction import MissingParents, pin_command, shadow_command
from router.committing.gids import Gid
from router.planning.parent_references import UnknownParents
from router.planning.wanted_claims import WantedClaims


class FirstPhase:
    """The commands for each other shard, and those that home runs first for what they answered."""

    def __init__(self, parents: Iterable[UnknownParents], claims: Iterable[WantedClaims]) -> None:
        """All are for rows of one shard, on others."""
        self._pins: dict[int, list[MissingParents]] = defaultdict(list)
        self._claims: dict[int, list[WantedClaims]] = defaultdict(list)
        for unknown in parents:
            self._pins[unknown.parent_shard].append(_missing(unknown))
        for wanted in claims:
            self._claims[wanted.claim_shard].append(wanted)

    @property
    def shards(self) -> list[int]:
        """The other shards."""
        return sorted({*self._pins, *self._claims})

    def request(self, shard: int, gid: Gid) -> proto.ExecuteRequest:
        """What another shard prepares."""
        pins = [pin_command(parents) for parents in self._pins.get(shard, ())]
        claims = [_claim_command(wanted) for wanted in self._claims.get(shard, ())]
        prepare = proto.Command(prepare=proto.Prepare(gid=gid.participant(shard)))
        return proto.ExecuteRequest(shard=shard, commands=[*pins, *claims, prepare])

    def commands_at_home(self, answers: Mapping[int, proto.ExecuteResponse]) -> list[proto.Command]:
        """Shadows of the parents that exist, and the claims that were taken.

        A parent that does not exist gets no shadow, so that PostgreSQL itself refuses the child, in its own words.
        """
        shadows = [
            shadow_command(parents.referenced_key, answer.rows_json)
            for shard, pins in self._pins.items()
            for parents, answer in zip(pins, answers[shard].results, strict=False)
            if answer.count
        ]
        return [*shadows, *(_expect_command(wanted) for many in self._claims.values() for wanted in many)]


def _missing(unknown: UnknownParents) -> MissingParents:
    columns = unknown.referenced_key.columns
    keys = [dict(zip(columns, parent, strict=True)) for parent in unknown.parents]
    return MissingParents(
        unknown.referenced_key.id, unknown.parent_shard, unknown.child_shard, msgspec.json.encode(keys)
    )


def _claim_command(wanted: WantedClaims) -> proto.Command:
    claim = proto.ClaimValues(
        claim=wanted.claim.id, for_shard=wanted.shard, keys_json=_values_json(wanted.values), in_advance=True
    )
    return proto.Command(claim_values=claim)


def _expect_command(wanted: WantedClaims) -> proto.Command:
    expect = proto.ExpectClaims(claim=wanted.claim.id, keys_json=_values_json(wanted.values))
    return proto.Command(expect_claims=expect)


def _values_json(values: Sequence[Mapping[str, str]]) -> bytes:
    return msgspec.json.encode(values)
