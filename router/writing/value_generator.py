"""Has the values made that stand in the place of defaults, for a whole request before it is planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from crosskey import errors
from crosskey.catalog.model import TableName
from crosskey.internal.v1 import generated_values_pb2 as proto
from crosskey.router.calls.node_errors import safe_to_retry
from crosskey.router.calls.nodes import Nodes
from crosskey.router.planning.generated_values import (
    NOTHING,
    AllGenerated,
    GeneratedValues,
    Need,
    Row,
    need_of,
    needs_of,
)
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import FIRST_SHARD
from crosskey.router.writing.sequence_blocks import SequenceBlocks
from crosskey.v1 import router_pb2


@dataclass
class _Defaults:
    """Computed defaults of one table, dealt out column by column; or why there are none."""

    rows: list[Row]
    error: errors.CrosskeyError | None = None
    _dealt: Counter[str] = field(default_factory=Counter)

    def deal(self, column: str, count: int) -> list[Any]:
        """The next values. Raises the error."""
        if self.error is not None:
            raise self.error
        start = self._dealt[column]
        self._dealt[column] += count
        return [row[column] for row in self.rows[start : start + count]]


@dataclass(frozen=True)
class ValueGenerator:
    """Has values made by the first shard: numbers in blocks, other defaults for all rows of a request at once."""

    nodes: Nodes
    blocks: SequenceBlocks

    async def for_insert(self, view: SchemaView, request: router_pb2.InsertRequest) -> GeneratedValues:
        """What an insert needs. Raises what calls to nodes raise; what PostgreSQL refuses is in the answer."""
        self.blocks.keep_up(view.epoch)
        need = need_of(view, request)
        return NOTHING if need is None else (await self._make({"": need}))[""]

    async def for_transaction(self, view: SchemaView, request: router_pb2.TransactRequest) -> AllGenerated:
        """What the inserts of a transaction need. Raises as `for_insert`."""
        self.blocks.keep_up(view.epoch)
        return await self._make(needs_of(view, request.statements))

    async def for_load(self, view: SchemaView, need: Need | None) -> GeneratedValues:
        """What rows to load need. Raises as `for_insert`."""
        self.blocks.keep_up(view.epoch)
        return NOTHING if need is None else (await self._make({"": need}))[""]

    async def _make(self, needs: Mapping[str, Need]) -> AllGenerated:
        """Numbers are taken for one insert after another, so that the insert for which none are left is refused."""
        defaults = await self._compute(needs.values())
        soon = Counter[TableName]()
        for need in needs.values():
            for _, sequence, count in need.counted:
                soon[sequence] += count
        return {place: await self._generate(need, defaults, soon) for place, need in needs.items()}

    async def _generate(
        self, need: Need, defaults: Mapping[TableName, _Defaults], soon: Counter[TableName]
    ) -> GeneratedValues:
        values: dict[str, list[Any]] = {}
        try:
            for column, sequence, count in need.counted:
                soon[sequence] -= count
                values[column] = await self.blocks.take(sequence, count, soon=soon[sequence])
            for column, count in need.computed:
                values[column] = defaults[need.table.table.name].deal(column, count)
        except errors.STATEMENT_ERRORS as error:
            # PostgreSQL does not say for which table a number was to be.
            error.metadata.setdefault("table", str(need.table.table.name))
            return GeneratedValues(error=error)
        return GeneratedValues(values)

    async def _compute(self, needs: Iterable[Need]) -> dict[TableName, _Defaults]:
        """The computed defaults of each table, for all inserts into it."""
        counts: dict[TableName, Counter[str]] = {}
        for need in needs:
            for column, count in need.computed:
                counts.setdefault(need.table.table.name, Counter())[column] += count
        return {table: await self._compute_for(table, columns) for table, columns in counts.items()}

    async def _compute_for(self, table: TableName, counts: Counter[str]) -> _Defaults:
        request = proto.ComputeDefaultsRequest(table=table.qualified, columns=list(counts), count=max(counts.values()))
        try:
            with safe_to_retry():
                response = await self.nodes[FIRST_SHARD].compute_defaults(request)
        except errors.STATEMENT_ERRORS as error:
            return _Defaults([], error)
        return _Defaults(msgspec.json.decode(response.rows_json))
