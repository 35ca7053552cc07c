"""What single shards hold, asked of their nodes: the router does not tell, since nobody needs to know."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec

from crosskey import errors
from crosskey.internal.v1 import reads_pb2, session_pb2
from crosskey.internal.v1.session_pb2_grpc import ShardNodeStub
from crosskey.local_cluster.local_channel import local_channel

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
            self._ask(shard, count_rows=reads_pb2.CountRowsRequest(table=f"public.{table}")).count_rows.count
            for shard in range(len(self._nodes))
        ]

    def rows(self, table: str, order_by: str) -> list[list[dict[str, Any]]]:
        """Return the first rows of a table of the schema public on each shard."""
        return [
            msgspec.json.decode(self._ask(shard, read=_first_rows(f"public.{table}", order_by)).read.rows_json)
            for shard in range(len(self._nodes))
        ]

    def _ask(self, shard: int, **request: Any) -> session_pb2.Answer:
        """Have a node answer one call, given as a field of Call. Raises what the node answers, and grpc.RpcError."""
        call = session_pb2.Call(id=1, timeout_ms=int(self._timeout_seconds * 1000), **request)
        message = session_pb2.SessionRequest(shard=shard, calls=[call])
        [response] = self._nodes[shard].Session(iter([message]), timeout=self._timeout_seconds)
        [answer] = response.answers
        if answer.HasField("failure"):
            raise errors.from_failure(answer.failure)
        return answer


def _first_rows(table: str, order_by: str) -> reads_pb2.ReadRequest:
    return reads_pb2.ReadRequest(table=table, order_by=[reads_pb2.Order(column=order_by)], limit=MAX_ROWS)


@contextmanager
def view_of_nodes(addresses: Sequence[str], timeout_seconds: float) -> Iterator[NodeView]:
    """Connect to the nodes, given in the order of the shards."""
    with ExitStack() as connections:
        channels = [connections.enter_context(local_channel(address)) for address in addresses]
        yield NodeView([ShardNodeStub(channel) for channel in channels], timeout_seconds)
