"""Finding the shard of a row by a value of a unique key, or of the parent that it lives with, through the claim for it.

A claim is a hint here: its row may have gone or moved, or the claim itself may not be readable yet although the row is.
So whoever finds no row where the claim says looks on all shards.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crosskey.catalog.plan import TablePlan
from crosskey.internal.v1 import reads_pb2
from crosskey.router.calls.node_errors import leaving_no_trace
from crosskey.router.planning.claimed_values import ClaimedValue, claimed_value
from crosskey.router.planning.led_parents import parent_of
from crosskey.router.planning.predicates import Checked, simple_predicates
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.reading.sources import Sources
from crosskey.v1 import rows_pb2


def claim_to_follow(
    view: SchemaView, table: TablePlan, shards: Sequence[int], predicates: Sequence[Checked]
) -> ClaimedValue | None:
    """The claim that tells the shard of the rows.

    None if one shard has them anyway, or if neither a unique key is given whole nor the parent that they live with.
    """
    if len(shards) == 1:
        return None
    given = {one.column.name: one.value for one in simple_predicates(predicates) if one.op == rows_pb2.Predicate.EQ}
    values = (claimed_value(view, claim, table.table, given) for claim in view.claims_of(table.table.name))
    value = next((value for value in values if value is not None), None)
    if value is None and table.leader is not None:
        return parent_of(view, table, given.get(table.shard_key or ""))
    return value


async def follow_claim(sources: Sources, value: ClaimedValue) -> Sequence[int]:
    """The shards that have claimed a value: one, or none. Raises what nodes raise."""
    request = reads_pb2.FindClaimsRequest(claim=value.claim.id, values_json=msgspec.json.encode([value.columns]))
    with leaving_no_trace():
        response = await sources[value.claim_shard].find_claims(request)
    return tuple(found.shard for found in response.claims if found.HasField("shard"))
