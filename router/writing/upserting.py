"""Where the rows of an upsert go whose conflicts may be with rows of other shards.

A unique key that holds no locator is global by its claims, and the row that has a value may live on any shard. So each
row is sent to the shard that has claimed its value: there PostgreSQL itself finds the other row and updates it, or
skips the given one. Rows with one value are sent to one shard, so that they meet. All others go where they belong.
Without a target a row may be skipped for any key, and then an equal value later in the request is free: such rows wait
until the earlier ones are inserted, and are looked up again.

What an index computes, home computes first of the rows as they are given.

The look-up locks nothing and need not be right. A row that is inserted on the wrong shard, because the other one has
gone meanwhile, is moved to its own, as one that gets another shard key is. If a value is claimed by somebody else
meanwhile, the claim is refused: the race is lost, and all is run again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from crosskey import errors, exact_json
from crosskey.catalog.model import Table
from crosskey.catalog.plan import Claim
from crosskey.internal.v1 import reads_pb2
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.planning.anchors import anchor_of, key_of
from crosskey.router.planning.claimed_values import ClaimedValue, value_to_insert
from crosskey.router.planning.generated_values import Row
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import WritePlan, upsert_parts
from crosskey.router.writing.anchor_lookup import find_within
from crosskey.v1 import rows_pb2


class LostRace(errors.Conflict):
    """A value was claimed by another transaction between look-up and insert.

    It was if it is a `given` one. Else it may be that a trigger changed it, so that it was not looked up, and that all
    is lost again and again.
    """

    def __init__(self, violation: errors.UniqueViolation, *, given: bool) -> None:
        self._given = given
        super().__init__(
            "other transactions took and gave up the value of a unique key again and again"
            if given
            else violation.message
        )
        self.metadata.update(violation.metadata)

    def for_good(self) -> errors.CrosskeyError:
        """The error if this was the last attempt, of the statement that is named by now."""
        if self._given:
            return self
        # What PostgreSQL said.
        return errors.UniqueViolation(self.message, **self.metadata)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A value of the row at a place of the request: a JSON object, perhaps as its text."""

    place: int
    value: Mapping[str, Any] | msgspec.Raw

    @property
    def key(self) -> str:
        """The value as PostgreSQL's messages show it."""
        columns = msgspec.json.decode(self.value) if isinstance(self.value, msgspec.Raw) else self.value
        return ", ".join(map(str, columns.values()))


_AskedByClaim = dict[tuple[str, int], list[_Asked]]
"""The values that may conflict, by claim and the shard where they are claimed."""


@dataclass(frozen=True, slots=True)
class Turn:
    """The rows that can be inserted now, and those that must wait until they are.

    `looked_up` are the values that may conflict, each with the id of its claim.
    """

    now: WritePlan
    rest: WritePlan | None
    looked_up: frozenset[tuple[str, str]]


async def send_to_conflicts(view: SchemaView, transaction: DistributedTransaction, plan: WritePlan) -> Turn:
    """The plan with each row on the shard of the row that it conflicts with, or on its own. Raises what nodes do."""
    positions, rows, own = _rows_in_order(plan)
    asked = _values_to_ask(view, plan, rows) | await _computed_values(transaction, plan, rows)
    found = await _look_up(transaction, asked)
    claimed: dict[int, int] = {}
    equals: defaultdict[int, list[int]] = defaultdict(list)
    for values, claims in zip(asked.values(), found, strict=True):
        for value, claim in zip(values, claims, strict=True):
            if claim.HasField("shard"):
                claimed.setdefault(value.place, claim.shard)
            equals[value.place].append(values[claim.first_equal].place)
    assert plan.on_conflict is not None, "only what may conflict has arbiters"
    shards = _shards(own, claimed, equals)
    waiting = set() if _has_target(plan.on_conflict) else _waiting(own, shards, claimed, equals)
    now = [place for place in range(len(rows)) if place not in waiting]
    rest = _placed(plan, positions, rows, own, sorted(waiting)) if waiting else None
    looked_up = frozenset((claim, value.key) for (claim, _), values in asked.items() for value in values)
    return Turn(_placed(plan, positions, rows, shards, now), rest, looked_up)


def _placed(
    plan: WritePlan, positions: Sequence[int], rows: Sequence[Row], shards: Sequence[int], chosen: Sequence[int]
) -> WritePlan:
    """The plan of some of the rows only, each on its one of the shards."""
    assert plan.on_conflict is not None, "only what may conflict has arbiters"
    parts = upsert_parts(
        plan.table,
        [rows[place] for place in chosen],
        [shards[place] for place in chosen],
        plan.on_conflict,
        plan.forms,
    )
    in_request = [positions[place] for place in chosen]
    return replace(
        plan, parts=tuple(replace(part, positions=[in_request[place] for place in part.positions]) for part in parts)
    )


async def send_to_parents(view: SchemaView, transaction: DistributedTransaction, plan: WritePlan) -> WritePlan:
    """The plan with each row on the shard of the parent that it lives with: what it may conflict with is there.

    The claims on the parents are locked, so that these stay where they are. Raises what nodes do.
    """
    positions, rows, own = _rows_in_order(plan)
    parents = [anchor_of(view, plan.table, row.get(plan.table.shard_key or "")) for row in rows]
    places = await find_within(transaction, [parent for parent in parents if parent is not None], hold=True)
    shards = [
        shard if parent is None else places.get(key_of(parent), shard)
        for parent, shard in zip(parents, own, strict=True)
    ]
    return _placed(plan, positions, rows, shards, range(len(rows)))


def look_up_shards(view: SchemaView, plan: WritePlan) -> set[int]:
    """The shards that are asked who has claimed the values of the plan's rows, as far as these can be foreseen."""
    _, rows, _ = _rows_in_order(plan)
    foreseen = (value_to_insert(view, claim, row) for claim in _computed(plan) for row in rows)
    shards = {value.claim_shard for value in foreseen if isinstance(value, ClaimedValue)}
    return shards | {shard for _, shard in _values_to_ask(view, plan, rows)}


def computes_values(plan: WritePlan) -> bool:
    """Whether home first computes what the plan's rows may conflict on."""
    return bool(_computed(plan))


def lost_race(plan: WritePlan, violation: errors.UniqueViolation, looked_up: Set[tuple[str, str]]) -> LostRace | None:
    """The race that a violation means: only of a constraint on which rows may conflict, for that refuses none.

    `looked_up` are the values that were looked up, as Turn has them.
    """
    constraint = violation.metadata.get("constraint")
    claim = next((claim for claim in plan.arbiters if claim.constraint == constraint), None)
    if claim is None:
        return None
    return LostRace(violation, given=(claim.id, violation.metadata.get("key", "")) in looked_up)


def _rows_in_order(plan: WritePlan) -> tuple[list[int], list[Row], list[int]]:
    """The places in the request in order, and the row and the shard of each."""
    placed = sorted(
        (position, part.shard, place, part) for part in plan.parts for place, position in enumerate(part.positions)
    )
    return (
        [position for position, *_ in placed],
        [part.rows[place] for _, _, place, part in placed],
        [shard for _, shard, _, _ in placed],
    )


def _computed(plan: WritePlan) -> list[Claim]:
    return [claim for claim in plan.arbiters if claim.computed is not None]


def _values_to_ask(view: SchemaView, plan: WritePlan, rows: Sequence[Row]) -> _AskedByClaim:
    """The values that may conflict, but for those that are computed."""
    asked: defaultdict[tuple[str, int], list[_Asked]] = defaultdict(list)
    for claim in plan.arbiters:
        for place, row in enumerate(rows) if claim.computed is None else ():
            columns = {name: row.get(name) for name in claim.columns}
            shard = _claim_shard(view, claim, plan.table.table, columns)
            if shard is not None:
                asked[claim.id, shard].append(_Asked(place, columns))
    return dict(asked)


async def _computed_values(transaction: DistributedTransaction, plan: WritePlan, rows: Sequence[Row]) -> _AskedByClaim:
    """The values that may conflict and that only PostgreSQL can compute: home does, all claims at once."""
    claims = _computed(plan)
    if not claims:
        return {}
    commands = [proto.Command(compute_values=_to_compute(plan, claim, rows)) for claim in claims]
    results = await transaction.commands({transaction.home: commands})
    asked: defaultdict[tuple[str, int], list[_Asked]] = defaultdict(list)
    for claim, result in zip(claims, results[transaction.home], strict=True):
        for place, computed in enumerate(result.computed):
            if computed.value_json:
                asked[claim.id, computed.shard].append(_Asked(place, msgspec.Raw(computed.value_json)))
    return dict(asked)


def _to_compute(plan: WritePlan, claim: Claim, rows: Sequence[Row]) -> proto.ComputeValues:
    return proto.ComputeValues(
        claim=claim.id,
        rows_json=exact_json.encode([{name: row[name] for name in claim.reads if name in row} for row in rows]),
        json_text_columns=[name for name in plan.forms.json_text_columns if name in claim.reads],
    )


def _claim_shard(view: SchemaView, claim: Claim, table: Table, columns: Mapping[str, Any]) -> int | None:
    """None for what conflicts with nothing: a NULL, unless they are alike, and what PostgreSQL will not take."""
    if None in columns.values() and not claim.nulls_not_distinct:
        return None
    placing = []
    for name in claim.placing:
        column = table.own_column(name)
        placing.append((column.base_type, columns[name], column.max_length))
    try:
        return view.shard_of_values(placing)
    except ValueError:
        return None


async def _look_up(
    transaction: DistributedTransaction, asked: Mapping[tuple[str, int], Sequence[_Asked]]
) -> list[Sequence[reads_pb2.FoundClaim]]:
    """What each group of values came to, all shards at once."""
    commands: defaultdict[int, list[proto.Command]] = defaultdict(list)
    for (claim, shard), values in asked.items():
        values_json = exact_json.encode([value.value for value in values])
        look_up = proto.LookUpClaims(claim=claim, values_json=values_json)
        commands[shard].append(proto.Command(look_up_claims=look_up))
    answers = {shard: iter(results) for shard, results in (await transaction.commands(commands)).items()}
    return [next(answers[shard]).claims for _, shard in asked]


def _shards(own: Sequence[int], claimed: Mapping[int, int], equals: Mapping[int, Iterable[int]]) -> list[int]:
    """The shard of each row: where its value is claimed, else where an equal one goes, else its own."""
    shards: list[int] = []
    for place, shard in enumerate(own):
        earlier = [other for other in equals.get(place, ()) if other < place]
        shards.append(claimed.get(place, shards[min(earlier)] if earlier else shard))
    return shards


def _has_target(on_conflict: rows_pb2.OnConflict) -> bool:
    return bool(on_conflict.columns or on_conflict.constraint or on_conflict.index)


def _waiting(
    own: Sequence[int], shards: Sequence[int], claimed: Collection[int], equals: Mapping[int, Iterable[int]]
) -> set[int]:
    """The rows that must see first what becomes of an earlier row with an equal value.

    If that is skipped for another of its keys, the row does not conflict with it, but may with one on its own shard;
    and so may later rows that belong there or have an equal value.
    """
    waiting: set[int] = set()
    waited_for: set[int] = set()
    wanted: set[int] = set()
    for place, (shard, sent_to) in enumerate(zip(own, shards, strict=True)):
        leaves_for_another = sent_to != shard and place not in claimed
        if leaves_for_another or shard in waited_for or not wanted.isdisjoint(equals.get(place, ())):
            waiting.add(place)
            waited_for.add(shard)
            wanted.update(equals.get(place, ()))
    return waiting
