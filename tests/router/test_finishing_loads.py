"""Finishing a load while clients go on: rows may be gone between one question and the next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace as struct_replace

from catalog.model import TableName
from crosskey.v1 import router_pb2
from crosskey.v1 import shard_node_pb2 as proto
from router.calls.call_context import call_context
from router.writing.loader import Loader
from router.writing.sequence_blocks import SequenceBlocks
from router.writing.supplying import Supplier
from tests.messenger_view import VIEW


class Nodes:
    """Nodes whose rows are deleted after the first question in one direction."""

    def __init__(self, *, last_seen_descending: bool) -> None:
        self._seen = last_seen_descending
        self.advanced: list[int] = []

    async def call(self, shard: int, method: str, request: Any) -> Any:
        """Answer one row, or none."""
        if method == "AdvanceSequence":
            self.advanced.append(request.past)
            return proto.AdvanceSequenceResponse()
        [order] = request.order_by
        there = order.descending == self._seen and shard == 1
        return proto.ReadResponse(rows_json=msgspec.json.encode([{order.column: "7"}] if there else []))


class Cluster:
    """A cluster with one table that counts."""

    async def view(self) -> Any:
        """Return its schema."""
        [users] = [table for table in VIEW.plan.tables if table.table.name.name == "users"]
        column = struct_replace(
            users.table.columns[0], sequence=TableName("public", "s"), identity="ALWAYS", base_type="int8"
        )
        counting = struct_replace(users, table=struct_replace(users.table, columns=(column,)))
        return replace(VIEW, plan=struct_replace(VIEW.plan, tables=(counting,)))


@pytest.mark.parametrize("descending", [True, False])
async def test_rows_that_are_deleted_meanwhile(descending: bool) -> None:
    nodes = Nodes(last_seen_descending=descending)
    stubs = cast("Any", nodes)
    loader = Loader(stubs, cast("Any", None), cast("Any", Cluster()), Supplier(stubs, SequenceBlocks(stubs)))
    with call_context(None):
        await loader.finish(router_pb2.FinishLoadRequest(tables=["users"]))
    assert nodes.advanced == [7]
