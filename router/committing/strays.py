"""Rows whose parents are on other shards, in a distributed transaction: where the claims say that these are.

They are looked up for good: claims are locked, and what nobody is seen to claim is waited for. Rows without a parent
stay where they are, and their foreign key refuses them there; until it is checked, a parent may still come.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from crosskey.v1 import shard_node_pb2 as proto

DESTINATION = "crosskey_destination"
"""Beside a key, the shard where its rows go."""

Key = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Strays:
    """Rows on `shard` that live with parents which have the keys, values of a claim on `claim_shard`."""

    shard: int
    claim: str
    claim_shard: int
    keys: Sequence[Key]

    @staticmethod
    def of(shard: int, effect: proto.Effect) -> Strays:
        """What an effect of a shard tells of."""
        return Strays(shard, effect.referenced_key, effect.shard, msgspec.json.decode(effect.keys_json))


def look_ups(strays: Iterable[Strays]) -> dict[int, list[proto.Command]]:
    """The look-ups, by shard; those of one shard in the order of the strays."""
    commands: defaultdict[int, list[proto.Command]] = defaultdict(list)
    for one in strays:
        keys_json = msgspec.json.encode(one.keys)
        look_up = proto.LookUpClaims(claim=one.claim, keys_json=keys_json, hold=True)
        commands[one.claim_shard].append(proto.Command(look_up_claims=look_up))
    return dict(commands)


def take_outs(
    strays: Iterable[Strays], answers: Mapping[int, Iterable[proto.CommandResult]]
) -> tuple[dict[int, list[proto.Command]], list[Strays]]:
    """How strays are taken out whose parents were found, by their shard; and those whose parents were not."""
    remaining = {shard: iter(results) for shard, results in answers.items()}
    commands: defaultdict[int, list[proto.Command]] = defaultdict(list)
    lost: list[Strays] = []
    for one in strays:
        claims = next(remaining[one.claim_shard]).claims
        found = list(zip(one.keys, claims, strict=True))
        led = [{**key, DESTINATION: claim.shard} for key, claim in found if claim.HasField("shard")]
        if led:
            take_out = proto.TakeOutStrays(claim=one.claim, keys_json=msgspec.json.encode(led))
            commands[one.shard].append(proto.Command(take_out_strays=take_out))
        missing = [key for key, claim in found if not claim.HasField("shard")]
        if missing:
            lost.append(replace(one, keys=missing))
    return dict(commands), lost
