"""Where the parents are that rows to insert live with and only claims find: asked before the rows are placed.

The answers are hints. A row that is sent to the wrong shard meets its foreign key there, and all is run again as a
distributed transaction, which takes it to its parent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from crosskey.v1 import shard_node_pb2 as proto
from router.claimed_values import ClaimedValue
from router.fan_out import fan_out
from router.led_parents import NOWHERE, Whereabouts, key_of
from router.node_errors import leaving_no_trace
from router.nodes import NodeCalls


@dataclass(frozen=True)
class Finder:
    """Asks claims where parents are: one call for each claim and shard that has some, none if there is no parent."""

    nodes: NodeCalls

    async def find(self, parents: Sequence[ClaimedValue]) -> Whereabouts:
        """Where the parents are; those that nobody is seen to claim are left out. Raises what NodeCalls.call raises."""
        groups: defaultdict[int, defaultdict[str, list[ClaimedValue]]] = defaultdict(lambda: defaultdict(list))
        for parent in parents:
            groups[parent.claim_shard][parent.claim.id].append(parent)
        if not groups:
            return NOWHERE
        with leaving_no_trace():
            found = await fan_out({shard: self._find_on(shard, claims) for shard, claims in groups.items()})
        return {key: place for places in found.values() for key, place in places.items()}

    async def _find_on(self, shard: int, claims: Mapping[str, Sequence[ClaimedValue]]) -> dict[tuple[str, str], int]:
        places: dict[tuple[str, str], int] = {}
        for claim, parents in claims.items():
            keys_json = msgspec.json.encode([parent.columns for parent in parents])
            request = proto.FindClaimsRequest(shard=shard, claim=claim, keys_json=keys_json)
            response: proto.FindClaimsResponse = await self.nodes.call(shard, "FindClaims", request)
            for parent, found in zip(parents, response.claims, strict=True):
                if found.HasField("shard"):
                    places[key_of(parent)] = found.shard
        return places
