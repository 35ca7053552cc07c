"""Get, List and Count: ask the shards of a plan at once, and put their answers together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count

import msgspec

from crosskey import errors, exact_json
from crosskey.internal.v1 import reads_pb2
from crosskey.router.calls.node_errors import safe_to_retry
from crosskey.router.planning.aggregates import plan_aggregate
from crosskey.router.planning.given_values import given_key
from crosskey.router.planning.page_token import Position
from crosskey.router.planning.predicates import Checked, check_predicates
from crosskey.router.planning.reads import ListPlan, ReadPlan, plan_count, plan_get, plan_list
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.reading.found_rows import FoundRow, found_rows, json_array
from crosskey.router.reading.including import Including, until_whole
from crosskey.router.reading.locating import claim_to_follow, follow_claim
from crosskey.router.reading.merging import MergedPage, Ranking, ShardPage, merge, shard_page
from crosskey.router.reading.ranking import ranked
from crosskey.router.reading.relating import resolve
from crosskey.router.reading.sources import Sources
from crosskey.v1 import router_pb2, rows_pb2

NO_ROWS = b"[]"

FIRST_COPY = 0
"""The copy of a reference table that is locked first, by whoever writes or locks it."""


@dataclass(frozen=True, slots=True)
class Page:
    """A JSON array of rows, and the token of the next page, empty if this is the last."""

    rows_json: bytes
    next_page_token: str


@dataclass(frozen=True, slots=True)
class _Found:
    """A page before its includes: what each shard answered, and what all of it comes to."""

    answers: Mapping[int, reads_pb2.ReadResponse]
    merged: MergedPage
    next_page_token: str


class Reader:
    """Reads from the sources. `copy` says which copy of a reference table is next: by default each in turn."""

    def __init__(self, sources: Sources, copy: Callable[[], int] | None = None) -> None:
        self._sources = sources
        self._copy = copy or count().__next__

    async def get(
        self, view: SchemaView, request: router_pb2.GetRequest, also: Sequence[rows_pb2.Predicate] = ()
    ) -> bytes:
        """A JSON array of the one row, if it meets more conditions. Raises RowNotFound, what plan_get and nodes raise.

        With includes, it raises AnswerTooLarge, InvalidPageToken and Conflict, too.
        """
        plan = plan_get(view, request, FIRST_COPY if request.lock else self._copy(), also)
        if not plan.includes:
            return await self._get(view, plan, request)
        return await until_whole(partial(self._get, view, plan, request))

    async def _get(
        self, view: SchemaView, plan: ReadPlan, request: router_pb2.GetRequest, is_last: bool = False
    ) -> bytes:
        found = await self._one_row(plan, await self._claiming(view, plan)) or await self._one_row(plan, plan.shards)
        if locks_copies(plan):
            await self._lock_copies(view, _one_row_request(plan))
        if found is None:
            raise _row_not_found(request)
        if not plan.includes:
            return found[1].rows_json
        shard, answer = found
        rows = _rows_of_page({shard: answer}, ())
        await self._include(view, plan, rows, is_last=is_last)
        if rows[0].gone:
            raise _row_not_found(request)
        return json_array(row.json for row in rows)

    async def _claiming(self, view: SchemaView, plan: ReadPlan | ListPlan) -> Sequence[int]:
        """The shard to ask first, if a claim tells it: it has the only row there can be, or none is there."""
        claimed = claim_to_follow(view, plan.table, plan.shards, plan.predicates)
        return () if claimed is None else await follow_claim(self._sources, claimed)

    async def _claiming_page(self, view: SchemaView, plan: ListPlan) -> Sequence[int]:
        """The same for a page, if all of it can be there."""
        if not plan.can_follow and plan.table.anchor is not None:
            return ()
        return [shard for shard in await self._claiming(view, plan) if shard in plan.places]

    async def _one_row(self, plan: ReadPlan, shards: Iterable[int]) -> tuple[int, reads_pb2.ReadResponse] | None:
        """The shard that has the row, and its answer."""
        request = _one_row_request(plan)
        with safe_to_retry():
            answers = await self._sources.ask_all({shard: self._sources[shard].read(request) for shard in shards})
        return next((one for one in answers.items() if one[1].rows_json != NO_ROWS), None)

    async def count(self, view: SchemaView, request: router_pb2.CountRequest) -> int:
        """The number of rows, of each shard at its own moment. Raises what plan_count and nodes raise."""
        resolved = await self._resolved(view, request)
        plan = plan_count(view, request, self._copy(), resolved)
        return await self._count(plan, await self._claiming(view, plan)) or await self._count(plan, plan.shards)

    async def aggregate(self, view: SchemaView, request: router_pb2.AggregateRequest) -> bytes:
        """A JSON array of a row for each group, in order. Raises what plan_aggregate and nodes raise."""
        plan = plan_aggregate(view, request, self._copy(), await self._resolved(view, request))
        with safe_to_retry():
            if len(plan.shards) == 1:
                return (await self._sources[plan.shards[0]].aggregate(plan.request)).rows_json
            part = plan.part(reads_pb2.AggregateRequest.PART_OF_SHARD)
            answers = await self._sources.ask_all(
                {shard: self._sources[shard].aggregate(part) for shard in plan.shards}
            )
            parts = json_array(_filled(answers))
            together = plan.part(reads_pb2.AggregateRequest.PART_OF_SHARDS, parts)
            return (await self._sources[plan.shards[0]].aggregate(together)).rows_json

    async def _resolved(
        self,
        view: SchemaView,
        request: router_pb2.CountRequest | router_pb2.ListRequest | router_pb2.AggregateRequest,
    ) -> Sequence[Checked]:
        """The request's predicates; those over relations are looked up, and have no place in a plan before."""
        table = view.table(request.table)
        return await resolve(self._sources, view, table, check_predicates(table.table, request.where))

    async def _count(self, plan: ReadPlan, shards: Iterable[int]) -> int:
        request = reads_pb2.CountRowsRequest(table=plan.table.table.name.qualified, where=plan.conditions)
        with safe_to_retry():
            answers = await self._sources.ask_all({shard: self._sources[shard].count_rows(request) for shard in shards})
        return sum(answer.count for answer in answers.values())

    async def list_page(self, view: SchemaView, request: router_pb2.ListRequest) -> Page:
        """A page of rows in order. Raises what plan_list and nodes raise.

        A row that is inserted or deleted meanwhile makes no other row come twice or not at all. With includes, it
        raises AnswerTooLarge and Conflict, too.
        """
        turn = FIRST_COPY if request.lock else self._copy()
        if not request.include:
            found = await self._find_page(view, plan_list(view, request, turn, await self._resolved(view, request)))
            return Page(found.merged.rows_json, found.next_page_token)
        return await until_whole(partial(self._whole_page, view, request, turn))

    async def pages(self, view: SchemaView, request: router_pb2.ListRequest) -> AsyncIterator[Page]:
        """All pages, from the one that the request asks for. Raises as list_page."""
        following = router_pb2.ListRequest()
        following.CopyFrom(request)
        while True:
            page = await self.list_page(view, following)
            yield page
            if not page.next_page_token:
                return
            following.page_token = page.next_page_token

    async def _whole_page(self, view: SchemaView, request: router_pb2.ListRequest, turn: int, is_last: bool) -> Page:
        """A page with its includes."""
        plan = plan_list(view, request, turn, await self._resolved(view, request))
        found = await self._find_page(view, plan)
        rows = _rows_of_page(found.answers, found.merged.shards)
        await self._include(view, plan, rows, is_last=is_last)
        return Page(json_array(row.json for row in rows if not row.gone), found.next_page_token)

    async def _include(
        self, view: SchemaView, plan: ReadPlan | ListPlan, rows: Sequence[FoundRow], *, is_last: bool
    ) -> None:
        await Including(self._sources, view, as_text=plan.as_text, is_last=is_last).add(rows, plan.shape, plan.includes)

    async def _find_page(self, view: SchemaView, plan: ListPlan) -> _Found:
        for shard in await self._claiming_page(view, plan):
            answer = await self._read(plan, shard)
            if answer.rows_json != NO_ROWS:
                return _page_of_claimed(plan, shard, answer)
        answers = await self._read_all(view, plan)
        merged = await self._merged(plan, answers)
        return _Found(answers, merged, plan.token(merged.places))

    async def _read_all(self, view: SchemaView, plan: ListPlan) -> dict[int, reads_pb2.ReadResponse]:
        """The page of each shard. Rows are locked on one shard after the other, so that two lists do not deadlock."""
        if not plan.lock:
            return await self._sources.ask_all({shard: self._read(plan, shard) for shard in plan.shards})
        answers = {shard: await self._read(plan, shard) for shard in plan.shards}
        if locks_copies(plan):
            await self._lock_copies(view, _page_request(plan, FIRST_COPY))
        return answers

    async def _read(self, plan: ListPlan, shard: int) -> reads_pb2.ReadResponse:
        with safe_to_retry():
            return await self._sources[shard].read(_page_request(plan, shard))

    async def _lock_copies(self, view: SchemaView, request: reads_pb2.ReadRequest) -> None:
        """Locks what was locked on the first shard on all others: whoever writes or references the rows asks any."""
        for shard in view.all_shards:
            if shard != FIRST_COPY:
                await self._sources[shard].read(request)

    async def _merged(self, plan: ListPlan, answers: Mapping[int, reads_pb2.ReadResponse]) -> MergedPage:
        if len(answers) == 1:
            return _page_of_one_shard(answers)
        pages = {shard: shard_page(answer) for shard, answer in answers.items()}
        return merge(pages, await self._ranking(plan, pages), plan.page_size, plan.places)

    async def _ranking(self, plan: ListPlan, pages: Mapping[int, ShardPage]) -> Ranking:
        positions = list(chain.from_iterable(page.positions for page in pages.values()))
        filled = [shard for shard, page in pages.items() if page.positions]
        if len(filled) <= 1:
            return range(len(positions))
        return await ranked(self._sources, plan.table, plan.order, positions, filled[0])


def locks_copies(plan: ReadPlan | ListPlan) -> bool:
    """Whether rows are locked that are on all shards."""
    return bool(plan.lock) and plan.table.placement == "reference"


def _one_row_request(plan: ReadPlan) -> reads_pb2.ReadRequest:
    return reads_pb2.ReadRequest(
        table=plan.table.table.name.qualified,
        where=plan.conditions,
        limit=1,
        as_text=plan.as_text,
        shape=plan.shape.to_message(),
        lock=plan.lock,
    )


def _page_request(plan: ListPlan, shard: int) -> reads_pb2.ReadRequest:
    place = plan.places[shard]
    return reads_pb2.ReadRequest(
        table=plan.table.table.name.qualified,
        where=plan.conditions,
        order_by=[column.to_order() for column in plan.order],
        limit=plan.page_size,
        after_json=b"" if place is None else msgspec.json.encode(place),
        as_text=plan.as_text,
        shape=plan.shape.to_message(),
        lock=plan.lock,
    )


def _filled(answers: Mapping[int, reads_pb2.AggregateResponse]) -> list[bytes]:
    """What shards answered, without the brackets around it, if there is anything."""
    return [answer.rows_json[1:-1] for answer in answers.values() if answer.rows_json != NO_ROWS]


def _rows_of_page(answers: Mapping[int, reads_pb2.ReadResponse], shards: Sequence[int]) -> list[FoundRow]:
    """The rows of a page in order, of which `shards` says whose each is, unless one shard answered all."""
    rows = {
        shard: found_rows(
            msgspec.json.decode(answer.rows_json, type=list[msgspec.Raw]),
            answer.beside_json,
            shard,
            pins_in_doubt=answer.pins_in_doubt,
        )
        for shard, answer in answers.items()
    }
    if len(rows) == 1:
        return next(iter(rows.values()))
    in_turn = {shard: iter(of_shard) for shard, of_shard in rows.items()}
    return [next(in_turn[shard]) for shard in shards]


def _page_of_claimed(plan: ListPlan, shard: int, answer: reads_pb2.ReadResponse) -> _Found:
    """A page of the shard that has claimed. The next one begins behind it wherever the rows are by then."""
    merged = MergedPage(answer.rows_json, {})
    if not answer.more:
        return _Found({shard: answer}, merged, "")
    last = msgspec.json.decode(answer.cursors_json, type=list[Position])[-1]
    return _Found({shard: answer}, merged, plan.token(dict.fromkeys(plan.shards, last)))


def _page_of_one_shard(answers: Mapping[int, reads_pb2.ReadResponse]) -> MergedPage:
    """One shard's page is the page: its rows are passed on as they are."""
    ((shard, answer),) = answers.items()
    if not answer.more:
        return MergedPage(answer.rows_json, {})
    return MergedPage(answer.rows_json, {shard: msgspec.json.decode(answer.cursors_json, type=list[Position])[-1]})


def _row_not_found(request: router_pb2.GetRequest) -> errors.RowNotFound:
    key = exact_json.encode(given_key(request)).decode()
    return errors.RowNotFound(f'"{request.table}" has no row with the key {key}', table=request.table, key=key)
