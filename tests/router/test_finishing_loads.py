"""Finishing a load while clients go on: rows may be gone between one question and the next."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest
from msgspec.structs import replace as struct_replace
from typing_extensions import override

from crosskey.catalog.model import TableName
from crosskey.internal.v1 import maintenance_pb2, reads_pb2, session_pb2
from crosskey.router.calls.call_context import call_context
from crosskey.router.calls.nodes import Nodes
from crosskey.router.writing.loader import Loader
from crosskey.router.writing.sequence_blocks import SequenceBlocks
from crosskey.router.writing.value_generator import ValueGenerator
from crosskey.v1 import router_pb2
from tests.fake_nodes import FakeNode
from tests.messenger_view import VIEW


class EmptyingNode(FakeNode):
    """A node whose rows are deleted after the first question in one direction."""

    def __init__(self, shard: int, *, last_seen_descending: bool, advanced: list[int]) -> None:
        super().__init__(shard, self._answer)
        self._seen = last_seen_descending
        self._advanced = advanced

    async def _answer(self, shard: int, call: session_pb2.Call) -> session_pb2.Answer:
        [order] = call.read.order_by
        there = order.descending == self._seen and shard == 1
        rows_json = msgspec.json.encode([{order.column: "7"}] if there else [])
        return session_pb2.Answer(read=reads_pb2.ReadResponse(rows_json=rows_json))

    @override
    async def advance_sequence(self, request: maintenance_pb2.AdvanceSequenceRequest) -> None:
        self._advanced.append(request.past)


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
    advanced: list[int] = []
    nodes = Nodes([EmptyingNode(shard, last_seen_descending=descending, advanced=advanced) for shard in range(3)])
    loader = Loader(nodes, cast("Any", None), cast("Any", Cluster()), ValueGenerator(nodes, SequenceBlocks(nodes)))
    with call_context(None):
        await loader.finish(router_pb2.FinishLoadRequest(tables=["users"]))
    assert advanced == [7]
