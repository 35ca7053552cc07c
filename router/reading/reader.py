"""Get, List and Count: ask the shards of a plan at once, and put their answers together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count

import msgspec

from crosskey import errors, exact_json
from crosskey.internal.v1 import reads_pb2
from crosskey.router.calls.fan_out import fan_out
from crosskey.router.calls.node_errors import leaving_no_trace
from crosskey.router.calls.nodes import Nodes
from crosskey.router.planning.given_values import given_key
from crosskey.router.planning.page_token import Position
from crosskey.router.planning.reads import ROW_PLACE, ListPlan, ReadPlan, plan_count, plan_get, plan_list
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.reading.locating import claim_to_follow, follow_claim
from crosskey.router.reading.merging import MergedPage, Ranking, ShardPage, merge, rank, shard_page
from crosskey.v1 import router_pb2

NO_ROWS = b"[]"


@dataclass(frozen=True, slots=True)
class Page:
    """A JSON array of rows, and the token of the next page, empty if this is the last."""

    rows_json: bytes
    next_page_token: str


class Reader:
    """Reads through the nodes, from the copies of reference tables in turn."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._turns = count()

    async def get(self, view: SchemaView, request: router_pb2.GetRequest) -> bytes:
        """A JSON array of the one row. Raises RowNotFound and what plan_get and nodes raise."""
        plan = plan_get(view, request, next(self._turns))
        row = await self._one_row(plan, await self._claiming(view, plan)) or await self._one_row(plan, plan.shards)
        if row is None:
            raise _row_not_found(request)
        return row

    async def _claiming(self, view: SchemaView, plan: ReadPlan | ListPlan) -> Sequence[int]:
        """The shard to ask first, if a claim tells it: it has the only row there can be, or none is there."""
        claimed = claim_to_follow(view, plan.table, plan.shards, plan.predicates)
        return () if claimed is None else await follow_claim(self._nodes, claimed)

    async def _claiming_page(self, view: SchemaView, plan: ListPlan) -> Sequence[int]:
        """The same for a page, if all of it can be there."""
        if not plan.can_follow and plan.table.leader is not None:
            return ()
        return [shard for shard in await self._claiming(view, plan) if shard in plan.places]

    async def _one_row(self, plan: ReadPlan, shards: Iterable[int]) -> bytes | None:
        request = reads_pb2.ReadRequest(
            table=plan.table.table.name.qualified, where=plan.conditions, limit=1, as_text=plan.as_text
        )
        with leaving_no_trace():
            answers = await fan_out({shard: self._nodes[shard].read(request) for shard in shards})
        return next((answer.rows_json for answer in answers.values() if answer.rows_json != NO_ROWS), None)

    async def count(self, view: SchemaView, request: router_pb2.CountRequest) -> int:
        """The number of rows, of each shard at its own moment. Raises what plan_count and nodes raise."""
        plan = plan_count(view, request, next(self._turns))
        return await self._count(plan, await self._claiming(view, plan)) or await self._count(plan, plan.shards)

    async def _count(self, plan: ReadPlan, shards: Iterable[int]) -> int:
        request = reads_pb2.CountRowsRequest(table=plan.table.table.name.qualified, where=plan.conditions)
        with leaving_no_trace():
            answers = await fan_out({shard: self._nodes[shard].count_rows(request) for shard in shards})
        return sum(answer.count for answer in answers.values())

    async def list_page(self, view: SchemaView, request: router_pb2.ListRequest) -> Page:
        """A page of rows in order. Raises what plan_list and nodes raise.

        A row that is inserted or deleted meanwhile makes no other row come twice or not at all.
        """
        plan = plan_list(view, request, next(self._turns))
        for shard in await self._claiming_page(view, plan):
            answer = await self._read(plan, shard)
            if answer.rows_json != NO_ROWS:
                return _page_of_claimed(plan, answer)
        answers = await fan_out({shard: self._read(plan, shard) for shard in plan.shards})
        merged = await self._merged(plan, answers)
        return Page(merged.rows_json, plan.token(merged.places))

    async def _read(self, plan: ListPlan, shard: int) -> reads_pb2.ReadResponse:
        place = plan.places[shard]
        request = reads_pb2.ReadRequest(
            table=plan.table.table.name.qualified,
            where=plan.conditions,
            order_by=[column.to_order() for column in plan.order],
            limit=plan.page_size,
            after_json=b"" if place is None else msgspec.json.encode(place),
            as_text=plan.as_text,
        )
        with leaving_no_trace():
            return await self._nodes[shard].read(request)

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
        ranking = rank(plan.order, positions)
        return await self._sorted_by_node(plan, filled[0], positions) if ranking is None else ranking

    async def _sorted_by_node(self, plan: ListPlan, shard: int, positions: Sequence[Position]) -> Ranking:
        request = reads_pb2.SortRequest(
            table=plan.table.table.name.qualified,
            order_by=[column.to_order() for column in plan.order if column.name != ROW_PLACE],
            cursors_json=msgspec.json.encode(positions),
        )
        with leaving_no_trace():
            return (await self._nodes[shard].sort(request)).places


def _page_of_claimed(plan: ListPlan, answer: reads_pb2.ReadResponse) -> Page:
    """A page of the shard that has claimed. The next one begins behind it wherever the rows are by then."""
    if not answer.more:
        return Page(answer.rows_json, "")
    last = msgspec.json.decode(answer.cursors_json, type=list[Position])[-1]
    return Page(answer.rows_json, plan.token(dict.fromkeys(plan.shards, last)))


def _page_of_one_shard(answers: Mapping[int, reads_pb2.ReadResponse]) -> MergedPage:
    """One shard's page is the page: its rows are passed on as they are."""
    ((shard, answer),) = answers.items()
    if not answer.more:
        return MergedPage(answer.rows_json, {})
    return MergedPage(answer.rows_json, {shard: msgspec.json.decode(answer.cursors_json, type=list[Position])[-1]})


def _row_not_found(request: router_pb2.GetRequest) -> errors.RowNotFound:
    key = exact_json.encode(given_key(request)).decode()
    return errors.RowNotFound(f'"{request.table}" has no row with the key {key}', table=request.table, key=key)
