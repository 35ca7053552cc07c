"""Rows of relations inside of the rows that have them: a level at a time, one call to each shard that has any.

A row that is answered has all its parents that are included. Where one is missing, somebody has deleted it or given it
another key since the row was read, or has just brought it: it is read once more, and then everything is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import TypeVar

import msgspec

from crosskey import errors
from crosskey.catalog.eventual import CHANGING, is_eventual
from crosskey.catalog.relations import Relation
from crosskey.internal.v1 import reads_pb2
from crosskey.pauses import growing_pauses
from crosskey.router.planning import page_token
from crosskey.router.planning.includes import IncludePlan, Shape, Step
from crosskey.router.planning.orders import order_digests
from crosskey.router.planning.page_token import Places
from crosskey.router.planning.predicates import to_conditions
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.reading.found_rows import (
    JOIN,
    NULL,
    Budget,
    FoundRow,
    IncludedPart,
    Position,
    add_parts,
    json_array,
    member,
    with_members,
)
from crosskey.router.reading.linked_reads import EVERYWHERE, ChildrenRequest, LinkedReads
from crosskey.router.reading.ranking import ranked
from crosskey.router.reading.relating import resolve
from crosskey.router.reading.sources import Sources

ATTEMPTS = 6
"""How often a read is begun while parents are missing. What is committed elsewhere is there after some milliseconds."""

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.1
"""Between two attempts."""

MAX_JOINED = 10_000
"""How many rows of a join table one row may have whose far rows are to be sorted or chosen."""

Answer = TypeVar("Answer")


class ParentsMissingError(Exception):
    """Rows were read whose included parents are not there."""

    def __init__(self, relation: Relation) -> None:
        self.relation = relation
        super().__init__(relation.name)


async def until_whole(read: Callable[[bool], Awaitable[Answer]]) -> Answer:
    """What `read` answers once all parents are there; its argument says that it is tried for the last time.

    Raises Conflict if rows change each time.
    """
    for pause in islice(growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS), ATTEMPTS - 1):
        try:
            return await read(False)
        except ParentsMissingError:
            await asyncio.sleep(pause)
    try:
        return await read(True)
    except ParentsMissingError as missing:
        relation = missing.relation
        raise errors.Conflict(
            f'rows of "{relation.table}" and their "{relation.name}" change while they are read',
            table=str(relation.table),
        ) from None


class Including:
    """One attempt to put together one answer. On the last one, rows go along with parents that take them along."""

    def __init__(self, sources: Sources, view: SchemaView, *, as_text: bool, is_last: bool) -> None:
        self._sources = sources
        self._view = view
        self._budget = Budget()
        self._reads = LinkedReads(sources, view, self._budget, as_text=as_text)
        self._is_last = is_last

    async def add(self, rows: Sequence[FoundRow], shape: Shape, includes: Sequence[IncludePlan]) -> None:
        """Puts rows of relations inside of rows; some rows may be gone then.

        Raises ParentsMissingError, AnswerTooLarge, InvalidPageToken, and what nodes raise.
        """
        if not rows or not includes:
            return
        calls = {number: self._parts(rows, shape, include) for number, include in enumerate(includes)}
        columns = list((await self._sources.ask_all(calls)).values())
        for number, row in enumerate(rows):
            add_parts(row, [parts[number] for parts in columns], self._budget)

    async def _parts(self, rows: Sequence[FoundRow], shape: Shape, include: IncludePlan) -> list[IncludedPart]:
        """What the include adds to each row."""
        conditions = to_conditions(await resolve(self._sources, self._view, include.step.target, include.predicates))
        if include.join is not None:
            return await self._joined(rows, shape, include, include.join, conditions)
        if include.step.to_parent:
            parents = await self._parents(rows, shape, include, include.step, conditions)
            await self.add(_distinct(parents), include.shape, include.includes)
            return [self._part_of_parent(row, parent, include) for row, parent in zip(rows, parents, strict=True)]
        return await self._children(rows, shape, include, conditions)

    async def _parents(
        self,
        rows: Sequence[FoundRow],
        shape: Shape,
        include: IncludePlan,
        step: Step,
        conditions: Sequence[reads_pb2.Condition],
    ) -> list[FoundRow | None]:
        """The parent of each row, None if its key is NULL; a row whose parent is missing is gone."""
        order = include.order if include.sorted else ()
        parents = await self._reads.parents(rows, shape, step, include.shape, conditions, order)
        for row, parent in zip(rows, parents, strict=True):
            if parent is None and None not in row.texts(shape, step.columns):
                self._take_out(row, include.relation, step)
        return parents

    def _take_out(self, row: FoundRow, relation: Relation, step: Step) -> None:
        """Makes the row be gone, if that is what became of it for certain. Raises ParentsMissingError.

        Where its key is to change after the deletion of its parent, it has no parent from now on.
        """
        if self._is_last and is_eventual(step.foreign_key) and step.foreign_key.on_delete in CHANGING:
            return
        if not self._is_last or step.foreign_key.on_delete != "CASCADE":
            raise ParentsMissingError(relation)
        row.gone = True

    def _part_of_parent(self, row: FoundRow, parent: FoundRow | None, include: IncludePlan) -> IncludedPart:
        if parent is not None and parent.gone:
            row.gone = True
        return IncludedPart(include.name, NULL if parent is None or row.gone else parent.json)

    async def _children(
        self,
        rows: Sequence[FoundRow],
        shape: Shape,
        include: IncludePlan,
        conditions: Sequence[reads_pb2.Condition],
    ) -> list[IncludedPart]:
        request = ChildrenRequest(
            step=include.step,
            shape=include.shape,
            conditions=conditions,
            order=include.order,
            limit=include.limit,
            places=self._places(rows, shape, include),
            count=include.has_count,
            no_rows=not include.has_rows,
        )
        found = await self._reads.children(rows, shape, request)
        await self.add([child for one in found for child in one.rows], include.shape, include.includes)
        if not include.relation.many:
            return [IncludedPart(include.name, _first(one.rows)) for one in found]
        return [
            self._part_of_list(
                row, shape, include, [child.json for child in one.rows if not child.gone], one.count, one.next_places
            )
            for row, one in zip(rows, found, strict=True)
        ]

    async def _joined(
        self,
        rows: Sequence[FoundRow],
        shape: Shape,
        include: IncludePlan,
        join: Step,
        conditions: Sequence[reads_pb2.Condition],
    ) -> list[IncludedPart]:
        """Through the rows of the join table to those at its other side."""
        places = self._places(rows, shape, include)
        request = ChildrenRequest(
            step=join,
            shape=include.join_shape,
            conditions=(),
            order=include.join_order,
            limit=MAX_JOINED if include.sorted else include.limit,
            places={} if include.sorted else places,
            count=include.has_count and not include.sorted,
            no_rows=not include.has_rows and not include.sorted,
        )
        found = await self._reads.children(rows, shape, request)
        if include.sorted and any(one.next_places for one in found):
            raise errors.AnswerTooLarge(
                f'more than {MAX_JOINED} rows of "{join.target.table.name}" would be sorted or chosen from for one row',
                table=str(join.target.table.name),
                hint="Leave order_by and where of the include out, or list the far rows by a predicate.",
            )
        joins = [child for one in found for child in one.rows]
        far = await self._parents(joins, include.join_shape, include, include.step, conditions)
        lists = _by_row([len(one.rows) for one in found], joins, far)
        if include.sorted:
            return await self._sorted_parts(rows, shape, include, lists, places)
        await self.add(_distinct(far), include.shape, include.includes)
        return [
            self._part_of_list(row, shape, include, _far_json(include, pairs), one.count, one.next_places)
            for row, one, pairs in zip(rows, found, lists, strict=True)
        ]

    async def _sorted_parts(
        self,
        rows: Sequence[FoundRow],
        shape: Shape,
        include: IncludePlan,
        lists: Sequence[Sequence[tuple[FoundRow, FoundRow]]],
        places: Places,
    ) -> list[IncludedPart]:
        """The far rows that are to be shown, in order, a page for each row."""
        shown = [[pair for pair in pairs if not pair[1].is_null] for pairs in lists]
        begin = places.get(EVERYWHERE)
        positions: list[Position] = [far.position for pairs in shown for _, far in pairs]
        if begin:
            positions.append(begin)
        ranking = await ranked(self._sources, include.step.target, include.order, positions)
        rank_of = {place: rank for rank, place in enumerate(ranking)}
        after = rank_of[len(positions) - 1] if begin else -1
        pages, place = [], 0
        for pairs in shown:
            ranks = sorted((rank_of[place + number], number) for number in range(len(pairs)))
            pages.append([pairs[number] for rank, number in ranks if rank > after])
            place += len(pairs)
        kept = [page[: include.limit] if include.has_rows else [] for page in pages]
        await self.add(_distinct([far for page in kept for _, far in page]), include.shape, include.includes)
        parts = []
        for row, pairs, page, cut in zip(rows, shown, pages, kept, strict=True):
            more = include.has_rows and len(page) > len(cut)
            next_places: Places = {EVERYWHERE: list(cut[-1][1].position)} if more else {}
            count = len(pairs) if include.has_count else None
            parts.append(self._part_of_list(row, shape, include, _far_json(include, cut), count, next_places))
        return parts

    def _part_of_list(
        self,
        row: FoundRow,
        shape: Shape,
        include: IncludePlan,
        rows_json: Sequence[bytes],
        count: int | None,
        next_places: Places,
    ) -> IncludedPart:
        token = page_token.encode(self._view.token_key, self._query(row, shape, include), next_places)
        return IncludedPart(include.name, json_array(rows_json) if include.has_rows else None, count, token)

    def _places(self, rows: Sequence[FoundRow], shape: Shape, include: IncludePlan) -> Places:
        """Where the page begins. Raises InvalidPageToken."""
        if not include.request.page_token:
            return {}
        [row] = rows
        query = self._query(row, shape, include)
        return page_token.decode(self._view.token_key, include.request.page_token, query)

    def _query(self, row: FoundRow, shape: Shape, include: IncludePlan) -> bytes:
        """What the token of a page must be sent back with."""
        first = include.join or include.step
        order = [*order_digests(include.order)]
        return page_token.query_digest(
            f"{self._view.shards} {include.relation.table.qualified} {include.name}".encode(),
            msgspec.json.encode(row.texts(shape, first.columns)),
            *(predicate.digest() for predicate in include.predicates),
            b"ORDER BY",
            *(order if include.join is None or include.sorted else ()),
        )


def _distinct(rows: Sequence[FoundRow | None]) -> list[FoundRow]:
    return list({id(row): row for row in rows if row is not None and not row.is_null}.values())


def _first(rows: Sequence[FoundRow]) -> bytes:
    return next((row.json for row in rows if not row.gone), NULL)


def _by_row(
    lengths: Sequence[int], joins: Sequence[FoundRow], far: Sequence[FoundRow | None]
) -> list[list[tuple[FoundRow, FoundRow]]]:
    """For each row, its rows of the join table that are not gone, each with the far row."""
    lists, place = [], 0
    for length in lengths:
        pairs = zip(joins[place : place + length], far[place : place + length], strict=True)
        lists.append([(join, row) for join, row in pairs if row is not None])
        place += length
    return lists


def _far_json(include: IncludePlan, pairs: Sequence[tuple[FoundRow, FoundRow]]) -> list[bytes]:
    """The far rows, each with the other columns of its row of the join table, if that has any."""
    shown = [(join, far) for join, far in pairs if not far.gone]
    if include.join_shape.no_columns:
        return [far.json for _, far in shown]
    return [with_members(far.json, [member(JOIN, join.json)]) for join, far in shown]
