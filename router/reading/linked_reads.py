"""The parents, or the children, of many rows at once: which shards have them, and one call to each of these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from crosskey.catalog.model import Column
from crosskey.internal.v1 import reads_pb2
from crosskey.router.calls.node_errors import safe_to_retry
from crosskey.router.planning.claimed_values import ClaimedValue, claimed_value
from crosskey.router.planning.includes import Shape, Step
from crosskey.router.planning.orders import ROW_PLACE, OrderColumn
from crosskey.router.planning.page_token import Places, Position
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.reading.found_rows import Budget, FoundRow, Texts, found_rows
from crosskey.router.reading.ranking import ranked
from crosskey.router.reading.sources import Sources

EVERYWHERE = -1
"""In Places, for a position that is the same on each shard."""

Key = tuple[Texts, tuple[int, ...]]
"""A key to look for, and the shards where it is looked for."""


@dataclass(frozen=True, slots=True)
class ChildrenRequest:
    """Which children to read of each row: as of IncludePlan, and of the message ReadLinkedRequest."""

    step: Step
    shape: Shape
    conditions: Sequence[reads_pb2.Condition]
    order: Sequence[OrderColumn]
    limit: int
    places: Places
    count: bool
    no_rows: bool


@dataclass(slots=True)
class Children:
    """The children of one row, in order; how many there are in all; where the next page begins, if there is one."""

    rows: list[FoundRow] = field(default_factory=list)
    count: int | None = None
    next_places: Places = field(default_factory=dict)


@dataclass(slots=True)
class _Answer:
    """What one shard answered for one key; the count, if it was asked for."""

    rows: list[FoundRow] = field(default_factory=list)
    count: int | None = None


class LinkedReads:
    """Reads along foreign keys, for one request."""

    def __init__(self, sources: Sources, view: SchemaView, budget: Budget, *, as_text: bool) -> None:
        self._sources = sources
        self._view = view
        self._budget = budget
        self._as_text = as_text

    async def parents(
        self,
        rows: Sequence[FoundRow],
        shape: Shape,
        step: Step,
        target_shape: Shape,
        conditions: Sequence[reads_pb2.Condition],
        order: Sequence[OrderColumn],
    ) -> list[FoundRow | None]:
        """The parent of each row; None where the key is NULL, or after a second look the parent is not there."""
        request = ChildrenRequest(step, target_shape, conditions, order, 1, {}, count=False, no_rows=False)
        keys = await self._keys_of_parents(rows, shape, step)
        found = await self._find_parents(keys, request)
        missing = [key for key in dict.fromkeys(keys) if key is not None and key not in found]
        if missing:
            claimed = self._claim(step) is not None
            again = [(texts, self._view.all_shards if claimed else shards) for texts, shards in missing]
            found_again = await self._find_parents(again, request)
            pairs = zip(missing, again, strict=True)
            found |= {key: found_again[other] for key, other in pairs if other in found_again}
        return [None if key is None else found.get(key) for key in keys]

    async def children(self, rows: Sequence[FoundRow], shape: Shape, request: ChildrenRequest) -> list[Children]:
        """The children of each row."""
        keys = await self._keys_of_children(rows, shape, request.step)
        answers = await self._ask(keys, request)
        of_key: dict[Key, Children] = {}
        more: dict[Key, list[tuple[int, FoundRow]]] = {}
        for key, shard, answer in answers:
            more.setdefault(key, []).extend((shard, row) for row in answer.rows)
            if request.count:
                one = of_key.setdefault(key, Children())
                one.count = (one.count or 0) + (answer.count or 0)
        await self._in_order(more.values(), request)
        for key, found in more.items():
            _cut(of_key.setdefault(key, Children()), found, request)
        empty = Children(count=0 if request.count else None)
        return [of_key.get(key, empty) if key is not None else empty for key in keys]

    async def _in_order(self, lists: Iterable[list[tuple[int, FoundRow]]], request: ChildrenRequest) -> None:
        """Sorts each list whose rows come from several shards."""
        mixed = [rows for rows in lists if len({shard for shard, _ in rows}) > 1]
        if not mixed or not request.order:
            return
        positions: list[Position] = [list(row.position) for rows in mixed for _, row in rows]
        ranking = await ranked(self._sources, request.step.target, request.order, positions, mixed[0][0][0])
        rank_of = {place: rank for rank, place in enumerate(ranking)}
        place = 0
        for rows in mixed:
            ranks = sorted((rank_of[place + number], number) for number in range(len(rows)))
            place += len(rows)
            rows[:] = [rows[number] for _, number in ranks]

    async def _find_parents(self, keys: Sequence[Key | None], request: ChildrenRequest) -> dict[Key, FoundRow]:
        answers = await self._ask(keys, request)
        return {key: row for key, _, answer in answers for row in answer.rows}

    async def _ask(self, keys: Sequence[Key | None], request: ChildrenRequest) -> list[tuple[Key, int, _Answer]]:
        """For each key and each of its shards, what that answered."""
        by_shard: dict[int, list[Key]] = {}
        for key in dict.fromkeys(key for key in keys if key is not None):
            for shard in key[1]:
                by_shard.setdefault(shard, []).append(key)
        calls = {
            shard: self._ask_shard(shard, [texts for texts, _ in of_shard], request)
            for shard, of_shard in sorted(by_shard.items())
            if _goes_on(request, shard)
        }
        answers = await self._sources.ask_all(calls) if calls else {}
        return [
            (key, shard, of_key)
            for shard, answer in answers.items()
            for key, of_key in zip(by_shard[shard], answer, strict=True)
        ]

    async def _ask_shard(self, shard: int, keys: Sequence[Texts], request: ChildrenRequest) -> list[_Answer]:
        with safe_to_retry():
            answer = await self._sources[shard].read_linked(self._message(shard, keys, request))
        raw = msgspec.json.decode(answer.rows_json or b"[]", type=list[msgspec.Raw])
        rows = found_rows(raw, answer.beside_json, shard, pins_in_doubt=answer.pins_in_doubt)
        if answer.cursors_json:
            positions = msgspec.json.decode(answer.cursors_json, type=list[Position])
            for row, position in zip(rows, positions, strict=True):
                row.position = position
        self._budget.take_rows(len(rows))
        of_keys = [_Answer() for _ in keys]
        for place, row in zip(answer.places, rows, strict=True):
            of_keys[place].rows.append(row)
        for of_key, count in zip(of_keys, answer.counts, strict=False):
            of_key.count = count
        return of_keys

    def _message(self, shard: int, keys: Sequence[Texts], request: ChildrenRequest) -> reads_pb2.ReadLinkedRequest:
        position = request.places.get(EVERYWHERE, request.places.get(shard))
        return reads_pb2.ReadLinkedRequest(
            table=request.step.target.table.name.qualified,
            end=request.step.end,
            keys_json=msgspec.json.encode([{f"k{n}": text for n, text in enumerate(texts)} for texts in keys]),
            shape=request.shape.to_message(),
            where=request.conditions,
            order_by=[one.to_order() for one in request.order],
            # One row more than asked for tells whether there are more.
            limit=1 if request.step.to_parent else request.limit + 1,
            after_json=b"" if position is None else msgspec.json.encode(position),
            count=request.count,
            no_rows=request.no_rows,
            as_text=self._as_text,
        )

    async def _keys_of_parents(self, rows: Sequence[FoundRow], shape: Shape, step: Step) -> list[Key | None]:
        texts = [row.texts(shape, step.columns) for row in rows]
        if step.key.kind == "local":
            return [_key(one, (row.shard,)) for row, one in zip(rows, texts, strict=True)]
        shards = await self._shards_of_parents(list(dict.fromkeys(one for one in texts if None not in one)), step)
        return [_key(one, shards.get(one, ())) for one in texts]

    async def _shards_of_parents(self, keys: Sequence[Texts], step: Step) -> Mapping[Texts, tuple[int, ...]]:
        claimed = self._claim(step)
        if claimed is None:
            return {key: self._located(key, step) for key in keys}
        values = {key: self._claimed_value(key, step, step.foreign_key.parent_columns) for key in keys}
        found = await self._find_claims([value for value in values.values() if value is not None])
        return {
            key: self._view.all_shards if value is None else found.get(_name(value), ())
            for key, value in values.items()
        }

    def _located(self, key: Texts, step: Step) -> tuple[int, ...]:
        """The shard of the parent, by the column of its key that tells it."""
        named = dict(zip(step.foreign_key.parent_columns, zip(step.columns, key, strict=True), strict=True))
        child = self._view.table(step.foreign_key.table.qualified).table
        locator = next(name for name in step.foreign_key.parent_columns if name in step.target.locators)
        own_name, text = named[locator]
        try:
            return (self._view.shard_of_value(_column(child.column(own_name)), text),)
        except ValueError:
            return self._view.all_shards

    async def _find_claims(self, values: Sequence[ClaimedValue]) -> dict[tuple[str, ...], tuple[int, ...]]:
        """The shards that have claimed values, by their names."""
        by_shard: dict[int, list[ClaimedValue]] = {}
        for value in values:
            by_shard.setdefault(value.claim_shard, []).append(value)
        with safe_to_retry():
            answers = (
                await self._sources.ask_all(
                    {
                        shard: self._sources[shard].find_claims(
                            reads_pb2.FindClaimsRequest(
                                claim=of_shard[0].claim.id,
                                values_json=msgspec.json.encode([one.columns for one in of_shard]),
                            )
                        )
                        for shard, of_shard in by_shard.items()
                    }
                )
                if by_shard
                else {}
            )
        return {
            _name(value): (claim.shard,) if claim.HasField("shard") else ()
            for shard, answer in answers.items()
            for value, claim in zip(by_shard[shard], answer.claims, strict=True)
        }

    async def _keys_of_children(self, rows: Sequence[FoundRow], shape: Shape, step: Step) -> list[Key | None]:
        texts = [row.texts(shape, step.columns) for row in rows]
        parent = self._view.table(step.foreign_key.parent.qualified)
        if step.target.placement == "reference":
            return [_key(one, (row.shard,)) for row, one in zip(rows, texts, strict=True)]
        if parent.placement == "reference":
            return [_key(one, self._view.all_shards) for one in texts]
        referenced = step.key.referenced_key
        if referenced is None:
            return [_key(one, (row.shard,)) for row, one in zip(rows, texts, strict=True)]
        if self._claim(step) is not None:
            shards = await self._pins_of_claims(list(dict.fromkeys(one for one in texts if None not in one)), step)
            return [_key(one, shards.get(one, ())) for one in texts]
        return [
            _key(one, self._view.all_shards if row.pins_in_doubt else tuple(row.pins(shape, referenced)))
            for row, one in zip(rows, texts, strict=True)
        ]

    async def _pins_of_claims(self, keys: Sequence[Texts], step: Step) -> Mapping[Texts, tuple[int, ...]]:
        """The shards with children of parents for which claims stand: their pins are with the claims."""
        values = {key: self._claimed_value(key, step, step.columns) for key in keys}
        by_shard: dict[int, list[Texts]] = {}
        for key, value in values.items():
            if value is not None:
                by_shard.setdefault(value.claim_shard, []).append(key)
        calls = {shard: self._find_pins(shard, of_shard, step) for shard, of_shard in by_shard.items()}
        answers = await self._sources.ask_all(calls) if calls else {}
        found = dict.fromkeys(keys, self._view.all_shards)
        for answer in answers.values():
            found |= answer
        return found

    async def _find_pins(self, shard: int, keys: Sequence[Texts], step: Step) -> Mapping[Texts, tuple[int, ...]]:
        request = reads_pb2.FindPinsRequest(
            referenced_key=step.key.referenced_key or "",
            keys_json=msgspec.json.encode([{f"k{n}": text for n, text in enumerate(texts)} for texts in keys]),
        )
        with safe_to_retry():
            answer = await self._sources[shard].find_pins(request)
        if answer.pins_in_doubt:
            return dict.fromkeys(keys, self._view.all_shards)
        shards = msgspec.json.decode(answer.shards_json, type=list[tuple[int, ...]])
        return dict(zip(keys, shards, strict=True))

    def _claim(self, step: Step) -> str | None:
        """The claim that stands for the parents of the key, if one does."""
        if step.key.referenced_key is None:
            return None
        claim = self._view.plan.referenced_key(step.key.referenced_key).claim
        return None if claim is None else claim.id

    def _claimed_value(self, key: Texts, step: Step, columns: Sequence[str]) -> ClaimedValue | None:
        """The claimed value of a parent, by the texts of its columns; None if it has no canonical text."""
        claim = self._view.claim(self._claim(step) or "")
        return claimed_value(self._view, claim, dict(zip(columns, key, strict=True)))


def _key(texts: Texts, shards: tuple[int, ...]) -> Key | None:
    return None if None in texts else (texts, shards)


def _name(value: ClaimedValue) -> tuple[str, ...]:
    return tuple(value.columns.values())


def _column(column: Column | None) -> Column:
    assert column is not None, "a key has columns of its table"
    return column


def _goes_on(request: ChildrenRequest, shard: int) -> bool:
    """Whether a page has rows of that shard: one that begins in a place of each shard names those that have more."""
    return not request.places or EVERYWHERE in request.places or shard in request.places


def _cut(children: Children, found: list[tuple[int, FoundRow]], request: ChildrenRequest) -> None:
    """Takes a page of the rows that were found, of each shard one more than the page has."""
    taken = found[: request.limit]
    children.rows = [row for _, row in taken]
    if len(found) <= request.limit or not request.order:
        return
    if request.order[-1].name != ROW_PLACE:
        children.next_places = {EVERYWHERE: list(taken[-1][1].position)}
        return
    last = dict(taken)
    left = {shard for shard, _ in found[request.limit :]}
    children.next_places = {
        shard: list(last[shard].position) if shard in last else request.places.get(shard) for shard in left
    }
