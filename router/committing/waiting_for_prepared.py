"""Waiting for distributed transactions that are committed, but not yet visible on every shard."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from crosskey import errors
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.pauses import growing_pauses
from crosskey.router.calls.fan_out import fan_out
from crosskey.router.calls.nodes import Nodes

PATIENCE_SECONDS = 20.0
"""Longer than a resolver takes to finish what a router left behind."""

FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.2


async def wait_for_prepared(nodes: Nodes, shards: Iterable[int]) -> None:
    """Returns once every transaction that was prepared on one of the shards at the call is finished there.

    Those that are prepared meanwhile are not waited for. Raises Conflict if it takes too long, and what calls raise.
    """
    asked = sorted(set(shards))
    awaited = await _prepared(nodes, asked)
    pauses = growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, within=PATIENCE_SECONDS)
    while awaited:
        pause = next(pauses, None)
        if pause is None:
            raise errors.Conflict(
                f"{len(awaited)} transactions stay in doubt, among them {min(awaited)}, so that what they"
                " have done cannot be seen yet",
                hint="Admin.ListInDoubt says what they wait for; ask again when they are finished.",
            )
        await asyncio.sleep(pause)
        awaited &= await _prepared(nodes, asked)


async def _prepared(nodes: Nodes, shards: Iterable[int]) -> set[str]:
    """The gids of the branches on those shards."""
    responses = await fan_out({shard: nodes[shard].list_prepared(proto.ListPreparedRequest()) for shard in shards})
    return {transaction.gid for response in responses.values() for transaction in response.transactions}
