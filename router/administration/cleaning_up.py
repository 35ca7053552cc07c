"""Cleaning up the children of deleted rows, along foreign keys with @enforce eventual; safe in many routers at once.

Each step is one transaction over the shards that it concerns, so that a crash leaves it done or not done:

1. A parent's shard is asked for those that departed, and a child's shard marks their shadows as dead.
2. The child's shard cleans up a batch of children, and whatever that means for others.
3. The child's shard deletes dead shadows that have no children left, and the parent's shard forgets them.

What is to be done stands on the shards. Whoever does it asks for it, so nothing is lost with a router.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog

from crosskey import errors
from crosskey.catalog.plan import ReferencedKey
from crosskey.internal.v1 import maintenance_pb2, transactions_pb2
from crosskey.router.calls.call_context import call_context_of_its_own
from crosskey.router.calls.cluster import Cluster
from crosskey.router.calls.fan_out import fan_out
from crosskey.router.calls.nodes import Node, Nodes
from crosskey.router.committing.distributed_transaction import DistributedTransaction
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.gids import Gid
from crosskey.v1 import admin_pb2

INTERVAL_SECONDS = 1.0
"""How often shards are asked what is to be done, if nobody has said that there is something."""

STEP_SECONDS = 30.0
"""How long one step may take."""

LISTING_SECONDS = 5.0
"""How long a shard may take to say what is to be done. Its own next round waits for that, and no other shard's."""

MARKED = 1000
"""Parents whose shadows are marked, or buried, in one transaction."""

WINDOWS = 1000
"""Of how many deletions it is remembered how long it took until their children were hidden."""

_Work = tuple[str, str, int, int]
"""What is done, for which referenced key, on which shard, and for which one."""

_log = structlog.get_logger(__name__)


class Cleaner:
    """Has the shards do what is left to be done, from time to time and when it is told that there is something."""

    def __init__(self, cluster: Cluster, nodes: Nodes, finisher: Finisher) -> None:
        self._cluster = cluster
        self._nodes = nodes
        self._finisher = finisher
        self._deleted = {node.shard: asyncio.Event() for node in nodes}
        self._marked = {node.shard: asyncio.Event() for node in nodes}
        self._at_work: dict[_Work, asyncio.Task[None]] = {}
        self._windows: deque[float] = deque(maxlen=WINDOWS)

    def deleted(self) -> None:
        """To be said when rows were deleted: children may be to be hidden."""
        for due in self._deleted.values():
            due.set()

    async def run(self) -> None:
        """Goes on until cancelled."""
        try:
            await asyncio.gather(
                *(self._regularly(node, self._deleted[node.shard], waiting=True) for node in self._nodes),
                *(self._regularly(node, self._marked[node.shard], waiting=False) for node in self._nodes),
            )
        finally:
            for task in self._at_work.values():
                task.cancel()
            await asyncio.gather(*self._at_work.values(), return_exceptions=True)

    async def _regularly(self, node: Node, due: asyncio.Event, *, waiting: bool) -> None:
        """Begins what is to be done on one shard, by itself: none waits for a shard that is slow, or hangs.

        That is what a parents' shard waits for to tell, or else what a children's shard is to clean up and bury.
        """
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(INTERVAL_SECONDS):
                    await due.wait()
            due.clear()
            try:
                keys = await self._eventual_keys()
                if keys:
                    await self._begin_on(node, keys, waiting=waiting)
            except Exception:
                _log.exception("a round of cleaning up failed", shard=node.shard)

    async def _begin_on(self, node: Node, keys: Sequence[ReferencedKey], *, waiting: bool) -> None:
        for cleanup in await self._listed(node):
            if cleanup.HasField("waits_on") == waiting:
                key = next(key for key in keys if _names(key, cleanup))
                if waiting:
                    self._begin(("tell", key.id, node.shard, cleanup.shard), self._tell(key, node.shard, cleanup.shard))
                else:
                    self._begin(("clean", key.id, node.shard, node.shard), self._clean(key, node.shard))
                    self._begin_to_bury(key, node.shard)

    def _begin_to_bury(self, key: ReferencedKey, shard: int) -> None:
        """By itself: some parents have no children left while those of others are cleaned up, or cannot be."""
        self._begin(("bury", key.id, shard, shard), self._bury(key, shard))

    def _begin(self, name: _Work, work: Coroutine[Any, Any, None]) -> None:
        if name in self._at_work:
            work.close()
            return
        task = self._at_work[name] = asyncio.create_task(self._survived(work))
        task.add_done_callback(lambda _: self._at_work.pop(name, None))

    async def _survived(self, work: Coroutine[Any, Any, None]) -> None:
        """What fails is tried again in the next round: it stands on the shards that it is to be done."""
        try:
            await work
        except (errors.Conflict, errors.ShardUnavailable, errors.Overloaded, errors.DeadlineExceeded) as error:
            _log.debug("not now", error=error.message)
        except errors.CrosskeyError as error:
            _log.warning("not cleaned up; the next round tries again", error=error.message)
        except Exception:
            _log.exception("cleaning up failed")

    async def _tell(self, key: ReferencedKey, parent_shard: int, child_shard: int) -> None:
        while True:
            tell = transactions_pb2.TellDeparted(referenced_key=key.id, for_shard=child_shard, limit=MARKED)
            began = asyncio.get_running_loop().time()
            result = await self._step(parent_shard, transactions_pb2.Command(tell_departed=tell))
            if not result.count:
                return
            self._windows.append(result.age_ms + (asyncio.get_running_loop().time() - began) * 1000)
            self._marked[child_shard].set()

    async def _clean(self, key: ReferencedKey, shard: int) -> None:
        while True:
            clean = transactions_pb2.CleanChildren(referenced_key=key.id)
            result = await self._step(shard, transactions_pb2.Command(clean_children=clean))
            if not result.count and not result.pause_ms:
                break
            await asyncio.sleep(result.pause_ms / 1000)
        self._begin_to_bury(key, shard)

    async def _bury(self, key: ReferencedKey, shard: int) -> None:
        while True:
            bury = transactions_pb2.BuryDead(referenced_key=key.id, limit=MARKED)
            if not (await self._step(shard, transactions_pb2.Command(bury_dead=bury))).count:
                return

    async def _step(self, shard: int, command: transactions_pb2.Command) -> transactions_pb2.CommandResult:
        """One transaction: the command on the shard, and what comes of it on all shards."""
        gid = Gid.new(self._cluster.name, shard)
        with call_context_of_its_own(STEP_SECONDS):
            # Nobody is answered rows, so none without the values that they copy.
            async with DistributedTransaction(self._nodes, self._finisher, gid, copies_may_wait=True) as transaction:
                result = await transaction.command(shard, command)
                if result.count:
                    await transaction.apply_effects([[result]])
                    await transaction.commit()
        return result

    async def _listed(self, node: Node) -> Sequence[admin_pb2.Cleanup]:
        with suppress(errors.CrosskeyError), call_context_of_its_own(LISTING_SECONDS):
            return (await node.list_cleanups(maintenance_pb2.ListCleanupsRequest())).cleanups
        return ()

    async def _eventual_keys(self) -> Sequence[ReferencedKey]:
        with suppress(errors.SchemaNotLoaded, errors.ShardUnavailable):
            return [key for key in (await self._cluster.view()).plan.referenced_keys if key.eventual]
        return ()

    async def list_all(self) -> admin_pb2.ListCleanupsResponse:
        """What is to be cleaned up, on all shards that answer. Raises SchemaNotLoaded."""
        found = await fan_out({node.shard: _list_on(node) for node in self._nodes})
        response = admin_pb2.ListCleanupsResponse(marked=len(self._windows))
        for shard, cleanups in sorted(found.items()):
            if cleanups is None:
                response.unreachable_shards.append(shard)
            else:
                response.cleanups.extend(cleanups)
        response.cleanups.sort(key=lambda one: (one.shard, one.table))
        if self._windows:
            ordered = sorted(self._windows)
            response.median_window_ms = ordered[len(ordered) // 2]
            response.p99_window_ms = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
        return response


async def _list_on(node: Node) -> Sequence[admin_pb2.Cleanup] | None:
    try:
        return (await node.list_cleanups(maintenance_pb2.ListCleanupsRequest(count_rows=True))).cleanups
    except (errors.ShardUnavailable, errors.Overloaded):
        return None


def _names(key: ReferencedKey, cleanup: admin_pb2.Cleanup) -> bool:
    return str(key.parent) == cleanup.table and key.columns == tuple(cleanup.columns)
