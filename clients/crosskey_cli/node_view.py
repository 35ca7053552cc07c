"""What single shards hold, asked of their nodes: the router does not tell, since nobody needs to know."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec

from crosskey.v1 import shard_node_pb2
from crosskey.v1.shard_node_pb2_grpc import ShardNodeStub
from crosskey_cli.local_channel import local_channel

MAX_ROWS = 1000


class NodeView:
    """The nodes of a cluster, by shard."""

    def __init__(self, nodes: Sequence[ShardNodeStub], timeout_seconds: float) -> None:
        """Take a stub for each node, in the order of the shards."""
        self._nodes = nodes
        self._timeout_seconds = timeout_seconds

    def counts(self, table: str) -> list[int]:
        """Return how many rows of a table of the schema public each shard holds."""
        return [
            node.CountRows(
                shard_node_pb2.CountRowsRequest(shard=shard, table=f"public.{table}"), timeout=self._timeout_seconds
            ).count
            for shard, node in enumerate(self._nodes)
        ]

    def rows(self, table: str, order_by: str) -> list[list[dict[str, Any]]]:
        """Return the first rows of a table of the schema public on each shard."""
        return [
            msgspec.json.decode(self._read(node, shard, f"public.{table}", order_by).rows_json)
            for shard, node in enumerate(self._nodes)
        ]

    def _read(self, node: ShardNodeStub, shard: int, table: str, order_by: str) -> shard_node_pb2.ReadResponse:
        order = [shard_node_pb2.Order(column=order_by)]
        request = shard_node_pb2.ReadRequest(shard=shard, table=table, order_by=order, limit=MAX_ROWS)
        return node.Read(request, timeout=self._timeout_seconds)


@contextmanager
def view_of_nodes(addresses: Sequence[str], timeout_seconds: float) -> Iterator[NodeView]:
    """Connect to the nodes, given in the order of the shards."""
    with ExitStack() as connections:
        channels = [connections.enter_context(local_channel(address)) for address in addresses]
        yield NodeView([ShardNodeStub(channel) for channel in channels], timeout_seconds)
