"""How many events the shards keep."""

from __future__ import annotations

from crosskey import errors
from crosskey.internal.v1 import maintenance_pb2
from crosskey.router.calls.fan_out import fan_out
from crosskey.router.calls.nodes import Node, Nodes
from crosskey.v1 import admin_pb2


async def describe_events(nodes: Nodes) -> admin_pb2.DescribeEventsResponse:
    """The outboxes of all shards that answer. Raises SchemaNotLoaded."""
    found = await fan_out({node.shard: _describe(node) for node in nodes})
    response = admin_pb2.DescribeEventsResponse()
    for shard, outbox in sorted(found.items()):
        if outbox is None:
            response.unreachable_shards.append(shard)
        else:
            response.outboxes.append(outbox)
    return response


async def _describe(node: Node) -> admin_pb2.OutboxDescription | None:
    try:
        return (await node.describe_outbox(maintenance_pb2.DescribeOutboxRequest())).outbox
    except (errors.ShardUnavailable, errors.Overloaded):
        return None
