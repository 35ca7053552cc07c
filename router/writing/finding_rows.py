"""Rows that a transaction finds and locks: what they are stays so until it ends.

A row whose key tells no shard is found by the claim on it, which is locked, too. If nobody has claimed the key, there
is no such row; if somebody has and the row is not there, it is on its way, and all is run again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crosskey import errors
from crosskey.internal.v1 import reads_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.planning.anchors import NO_ANCHORS, AnchorShards, key_of
from crosskey.router.planning.claimed_values import ClaimedValue
from crosskey.router.planning.nesting.actions import Found, Wanted
from crosskey.router.planning.predicates import to_conditions
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.reading.locating import claim_to_follow
from crosskey.router.writing.anchor_lookup import find_within
from crosskey.router.writing.write_results import split_rows


async def find_rows(
    view: SchemaView, transaction: DistributedTransaction, wanted: Sequence[Wanted]
) -> list[Found | None]:
    """The rows in order, None for what is not there. Raises Conflict for one that is on its way, and what nodes do."""
    claims = [_claim(view, one) for one in wanted]
    given = [claim for claim in claims if claim is not None]
    places = await find_within(transaction, given, hold=True) if given else NO_ANCHORS
    shards = [_shards(view, one, claim, places) for one, claim in zip(wanted, claims, strict=True)]
    found = await _lock(transaction, wanted, shards)
    for one, claim, row in zip(wanted, claims, found, strict=True):
        if row is None and claim is not None and _is_of_row(claim, one) and key_of(claim) in places:
            raise errors.Conflict(
                f'a row of "{one.table.table.name}" is being written', table=str(one.table.table.name)
            )
    return found


def _claim(view: SchemaView, one: Wanted) -> ClaimedValue | None:
    shards = view.shards_for_where(one.table, one.predicates)
    return claim_to_follow(view, one.table, shards, one.predicates)


def _is_of_row(claim: ClaimedValue, one: Wanted) -> bool:
    """Whether the claim stands for just the wanted row, not its parent, nor a row that an index takes for it."""
    return claim.claim.table == one.table.table.name and claim.claim.computed is None


def _shards(view: SchemaView, one: Wanted, claim: ClaimedValue | None, places: AnchorShards) -> Sequence[int]:
    """Where the row may be."""
    if claim is None:
        return view.shards_for_where(one.table, one.predicates)
    return [places[key_of(claim)]] if key_of(claim) in places else []


async def _lock(
    transaction: DistributedTransaction, wanted: Sequence[Wanted], shards: Sequence[Sequence[int]]
) -> list[Found | None]:
    """All shards at once, each with all that may be there."""
    numbers: dict[int, list[int]] = {}
    for number, places in enumerate(shards):
        for shard in places:
            numbers.setdefault(shard, []).append(number)
    commands = {shard: [_command(wanted[number]) for number in of_shard] for shard, of_shard in numbers.items()}
    found: list[Found | None] = [None] * len(wanted)
    if not commands:
        return found
    answers = await transaction.commands(commands)
    for shard, of_shard in numbers.items():
        for number, answer in zip(of_shard, answers[shard], strict=True):
            found[number] = _first(wanted[number], answer, shard) or found[number]
    return found


def _command(one: Wanted) -> proto.Command:
    read = reads_pb2.ReadRequest(
        table=one.table.table.name.qualified,
        where=to_conditions(one.predicates),
        limit=1,
        as_text=one.forms.as_text,
        shape=reads_pb2.RowShape(columns=one.forms.columns, texts=one.texts),
        lock=one.lock,
    )
    return proto.Command(ask=reads_pb2.Question(read=read))


def _first(one: Wanted, answer: proto.CommandResult, shard: int) -> Found | None:
    rows = split_rows(answer.reply.read.rows_json)
    if not rows:
        return None
    [texts] = msgspec.json.decode(answer.reply.read.beside_json or b"[[]]", type=list[list[str | None]])
    return Found(bytes(rows[0]), dict(zip(one.texts, texts, strict=True)), shard)
