"""What the values that stand in the place of defaults, and parents to be found, mean for an explanation.

None are made, and none is looked up for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crosskey.router.planning.anchors import anchors_of_insert, anchors_of_transaction
from crosskey.router.planning.claimed_values import ClaimedValue
from crosskey.router.planning.generated_values import (
    NOTHING,
    AllGenerated,
    GeneratedValues,
    Need,
    need_of,
    needs_of,
    stand_ins,
)
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import FIRST_SHARD
from crosskey.router.writing.sequence_blocks import SequenceBlocks
from crosskey.v1 import router_pb2

Explanation = router_pb2.ExplainResponse

DRAW_NOTE = (
    "s{shard} ShardNode.DrawNumbers may come first: of the numbers of {sequence}, {needed} are needed, and this router"
    " has {left} left."
)
COMPUTE_RPC = "s{shard} ShardNode.ComputeDefaults"
FIND_RPC = "s{shard} ShardNode.FindClaims"
FIND_NOTE = (
    "The claims on the rows of {table} that rows live with tell their shards, and so where the rows go; those that are"
    " named here are examples."
)
UNKNOWN_NOTE = "Rows of {table} are placed by what is made for them; the shards named here are examples."


@dataclass(frozen=True)
class Foresight:
    """The generated values that a request would get, or values such as may come, and how it would get them."""

    all_generated: AllGenerated
    rpcs: list[str]
    notes: list[str]

    def add_to(self, explanation: Explanation) -> None:
        """Puts what comes before the request first."""
        rpcs, notes = [*explanation.rpcs], [*explanation.notes]
        explanation.rpcs[:] = [*self.rpcs, *rpcs]
        explanation.notes[:] = [*self.notes, *notes]


def foresee(view: SchemaView, blocks: SequenceBlocks, request: router_pb2.ExplainRequest) -> Foresight:
    """What an insert, or the inserts of a transaction, would get; an insert alone has the place ""."""
    needs = _needs(view, request)
    rpcs, notes = [], []
    for need in needs.values():
        rpcs += [COMPUTE_RPC.format(shard=FIRST_SHARD)] if need.computed else []
        for _, sequence, count in need.counted:
            left = len(blocks.left(sequence))
            notes.append(DRAW_NOTE.format(shard=FIRST_SHARD, sequence=sequence, needed=count, left=left))
        notes += [UNKNOWN_NOTE.format(table=need.table.table.name)] if _places_rows(need, blocks) else []
    all_generated = {place: GeneratedValues(_values(need, blocks)) for place, need in needs.items()}
    parents = _parents(view, request, all_generated)
    rpcs += [FIND_RPC.format(shard=shard) for shard in sorted({parent.claim_shard for parent in parents})]
    notes += [FIND_NOTE.format(table=parent.claim.table) for parent in parents]
    return Foresight(all_generated, [*dict.fromkeys(rpcs)], [*dict.fromkeys(notes)])


def _needs(view: SchemaView, request: router_pb2.ExplainRequest) -> Mapping[str, Need]:
    match request.WhichOneof("request"):
        case "insert":
            need = need_of(view, request.insert)
            return {} if need is None else {"": need}
        case "transact":
            return needs_of(view, request.transact.statements)
    return {}


def _parents(view: SchemaView, request: router_pb2.ExplainRequest, all_generated: AllGenerated) -> list[ClaimedValue]:
    match request.WhichOneof("request"):
        case "insert":
            return anchors_of_insert(view, request.insert, all_generated.get("", NOTHING))
        case "transact":
            return anchors_of_transaction(view, request.transact.statements, all_generated)
    return []


def _places_rows(need: Need, blocks: SequenceBlocks) -> bool:
    """Whether a row's shard depends on a value that is not there yet."""
    shard_key = need.table.shard_key
    enough = any(
        column == shard_key and count <= len(blocks.left(sequence)) for column, sequence, count in need.counted
    )
    return shard_key in need.counts and not enough


def _values(need: Need, blocks: SequenceBlocks) -> dict[str, list[Any]]:
    values = {column.name: stand_ins(column, count) for column, count in need.columns}
    for column, sequence, count in need.counted:
        left = blocks.left(sequence)
        if count <= len(left):
            values[column] = list(left[:count])
    return values
