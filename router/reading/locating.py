"""Finding the shard of a row by a value of a unique key, or of the parent that it lives with, through the claim for it.

A claim is a hint here: its row may have gone or moved, or the claim itself may not be readable yet although the row is.
So whoever finds no row where the claim says looks on all shards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from crosskey.catalog.plan import TablePlan
from crosskey.internal.v1 import reads_pb2
from crosskey.router.calls.node_errors import safe_to_retry
from crosskey.router.planning.anchors import anchor_of
from crosskey.router.planning.claimed_values import ClaimedValue, claimed_value
from crosskey.router.planning.predicates import Checked, CheckedPredicate, simple_predicates
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
    given = dict(_known(one) for one in simple_predicates(predicates) if _tells_value(one))
    values = (claimed_value(view, claim, given) for claim in view.claims_of(table.table.name))
    value = next((value for value in values if value is not None), None)
    if value is None and table.anchor is not None:
        return anchor_of(view, table, given.get(table.shard_key or ""))
    return value


def _tells_value(predicate: CheckedPredicate) -> bool:
    return predicate.op == rows_pb2.Predicate.EQ or (predicate.op == rows_pb2.Predicate.IS_NULL and predicate.value)


def _known(predicate: CheckedPredicate) -> tuple[str, Any]:
    """What a row has that meets the predicate."""
    return predicate.column.name, predicate.value if predicate.op == rows_pb2.Predicate.EQ else None


async def follow_claim(sources: Sources, value: ClaimedValue) -> Sequence[int]:
    """The shards that have claimed a value: one, or none. Raises what nodes raise."""
    request = reads_pb2.FindClaimsRequest(claim=value.claim.id, values_json=msgspec.json.encode([value.columns]))
    with safe_to_retry():
        response = await sources[value.claim_shard].find_claims(request)
    return tuple(found.shard for found in response.claims if found.HasField("shard"))
