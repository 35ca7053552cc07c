"""Dropping shadows that no child references any more, and their pins.

Home is the child's shard. If it dies after its commit, a pin without a shadow is left prepared to go, and the resolver
finishes it; if it dies before, nothing happened. A pin without a shadow is harmless at any time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import structlog

from crosskey import errors
from crosskey.catalog.plan import ReferencedKey
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.internal.v1 import transactions_pb2
from crosskey.router.calls.call_context import call_context_of_its_own
from crosskey.router.calls.cluster import Cluster
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.gids import Gid

PAGE_KEYS = 1000
"""Shadows looked at and locked at once; who needs one of them meanwhile waits."""

PAGE_TIMEOUT_SECONDS = 30.0

_log = structlog.get_logger(__name__)


class ShadowSweeper:
    """Drops unused shadows all over the cluster, a page at a time; safe to run in many routers at once."""

    def __init__(self, cluster: Cluster, nodes: Nodes, finisher: Finisher) -> None:
        self._cluster = cluster
        self._nodes = nodes
        self._finisher = finisher

    async def run(self, interval_seconds: float) -> None:
        """Sweeps at intervals until cancelled."""
        while True:
            await asyncio.sleep(interval_seconds)
            try:
                await self.sweep()
            except errors.CrosskeyError as error:
                _log.info("unused shadows not dropped; the next round tries again", error=error.message)
            except Exception:
                _log.exception("a round of dropping unused shadows failed")

    async def sweep(self) -> int:
        """Goes through all shadows once; how many it dropped. Raises what calls raise."""
        view = await self._cluster.view()
        dropped = 0
        for referenced in view.plan.referenced_keys:
            for child_shard in view.all_shards:
                for parent_shard in view.all_shards:
                    async for keys in self._unused(referenced, child_shard, parent_shard):
                        # A deadline a page: a large cluster has many.
                        with call_context_of_its_own(PAGE_TIMEOUT_SECONDS):
                            dropped += await self._drop(referenced, child_shard, parent_shard, keys)
        return dropped

    async def _unused(self, referenced: ReferencedKey, child_shard: int, parent_shard: int) -> AsyncIterator[bytes]:
        """Pages of keys whose shadows seem to be unused, each a JSON array."""
        after = b""
        while True:
            request = proto.ListGuardsRequest(
                referenced_key=referenced.id, other_shard=parent_shard, after_json=after, limit=PAGE_KEYS
            )
            page = await self._nodes[child_shard].list_guards(request)
            if not page.count:
                return
            after = page.last_json
            look = proto.FindUnusedShadowsRequest(referenced_key=referenced.id, keys_json=page.keys_json)
            found = await self._nodes[child_shard].find_unused_shadows(look)
            if found.count:
                yield found.keys_json

    async def _drop(self, referenced: ReferencedKey, child_shard: int, parent_shard: int, keys: bytes) -> int:
        """Drops those that are still unused once they are locked. What loses a race is left for the next round."""
        name = referenced.id
        lock = transactions_pb2.LockPins(referenced_key=name, for_shard=child_shard, keys_json=keys)
        drop = transactions_pb2.DropUnusedShadows(referenced_key=name, keys_json=keys)
        gid = Gid.new(self._cluster.name, child_shard)
        try:
            async with DistributedTransaction(self._nodes, self._finisher, gid) as transaction:
                await transaction.command(parent_shard, transactions_pb2.Command(lock_pins=lock))
                dropped = await transaction.command(child_shard, transactions_pb2.Command(drop_unused_shadows=drop))
                unpin = transactions_pb2.DropPins(
                    referenced_key=name, for_shard=child_shard, keys_json=dropped.rows_json
                )
                await transaction.command(parent_shard, transactions_pb2.Command(drop_pins=unpin))
                await transaction.commit()
        except errors.Conflict:
            return 0
        return int(dropped.count)
