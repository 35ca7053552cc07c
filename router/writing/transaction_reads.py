"""Reads of a transaction, in their place among its writes: they run within its branches, and see what it did so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from crosskey import errors
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.planning.expectations import Expected
from crosskey.router.planning.given_values import is_text_form
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.transactions import ReadRequest
from crosskey.router.reading.found_rows import json_array
from crosskey.router.reading.reader import NO_ROWS, Reader
from crosskey.router.reading.sources import BranchSources
from crosskey.router.reading.stored_rows import StoredRows
from crosskey.v1 import router_pb2, rows_pb2


@dataclass(frozen=True, slots=True)
class ReadResult:
    """What a read of a transaction answers: rows as a JSON array, or of a count how many it counted."""

    rows_json: bytes = NO_ROWS
    counted: int | None = None
    next_page_token: str = ""

    @property
    def count(self) -> int:
        """How many rows were counted, or are answered."""
        if self.counted is not None:
            return self.counted
        return len(msgspec.json.decode(self.rows_json, type=list[msgspec.Raw]))


class TransactionReads:
    """Reads of one transaction."""

    def __init__(self, view: SchemaView, transaction: DistributedTransaction) -> None:
        self._view = view
        self._sources = BranchSources(transaction)
        self._reader = Reader(self._sources, copy=lambda: transaction.nearest)

    async def run(self, request: ReadRequest, expected: Expected | None) -> ReadResult:
        """Carries out a read. Raises what Reader raises, but RowNotFound: as in SQL, no row is an answer, too.

        Raises ExpectationFailed.
        """
        if expected is not None and expected.each and isinstance(request, router_pb2.GetRequest):
            result = await self._get_as_expected(request, expected)
        else:
            result = await self._run(request)
        if expected is not None:
            expected.check_count(result.count)
        return result

    async def _run(self, request: ReadRequest) -> ReadResult:
        match request:
            case router_pb2.GetRequest():
                return await self._get(request)
            case router_pb2.ListRequest():
                page = await self._reader.list_page(self._view, request)
                return ReadResult(page.rows_json, next_page_token=page.next_page_token)
            case router_pb2.CountRequest():
                return ReadResult(counted=await self._reader.count(self._view, request))
            case router_pb2.AggregateRequest():
                return ReadResult(await self._reader.aggregate(self._view, request))

    async def with_relations(
        self, request: router_pb2.InsertRequest | router_pb2.UpdateRequest, keys_json: bytes
    ) -> bytes:
        """The rows of a write, by their primary keys as text, in the form and with the relations that it asks for.

        Raises what StoredRows raises.
        """
        table = self._view.table(request.table)
        keys = [
            tuple(row[name] for name in table.table.primary_key)
            for row in msgspec.json.decode(keys_json, type=list[dict[str, Any]])
        ]
        as_text = is_text_form(request.row_form)
        rows = StoredRows(self._sources, self._view, table, request.columns, as_text=as_text)
        return json_array(await rows.read(keys, request.include))

    async def _get_as_expected(self, request: router_pb2.GetRequest, expected: Expected) -> ReadResult:
        """The row if it meets the conditions, which are looked at by the same statement. Raises ExpectationFailed."""
        result = await self._get(request, expected.each)
        if result.rows_json == NO_ROWS:
            found = (await self._get(request)).rows_json
            raise expected.unmet(found.decode().strip("[]") or "no row")
        return result

    async def _get(self, request: router_pb2.GetRequest, also: Sequence[rows_pb2.Predicate] = ()) -> ReadResult:
        try:
            return ReadResult(await self._reader.get(self._view, request, also))
        except errors.RowNotFound:
            return ReadResult()
