"""What the router knows of its cluster: the nodes' name for it, and the schema in force."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog

from crosskey import errors
from crosskey.catalog.model import Database
from crosskey.catalog.planning import plan_schema
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.pauses import growing_pauses
from crosskey.router.calls.call_context import call_context, call_context_of_its_own, current_call_context
from crosskey.router.calls.fan_out import fan_out
from crosskey.router.calls.nodes import Nodes
from crosskey.router.planning.schema_view import SchemaView

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 0.5
DESCRIBE_TIMEOUT_SECONDS = 5.0
KEEP_UP_SECONDS = 1.0

MAX_NEWER_SCHEMAS = 3
"""How many changes of the schema a request may meet."""

MAX_READS = 8
"""How often a read is done once more."""

MENDED_BY_NEWER_SCHEMA = (
    errors.SchemaChanged,
    errors.UnknownTable,
    errors.UnknownColumn,
    errors.UnknownConstraint,
    errors.InvalidRequest,
)
"""What is said of a request that knows the newer schema, or was planned by the older. Nothing of it was done."""

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class Misconfigured(Exception):
    """The nodes do not make up one cluster in the order given; the router does not start."""


class Cluster:
    """The cluster behind the nodes, and its schema as it was when it was last read."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._view: SchemaView | None = None
        # A node of an earlier version answers none; then tokens are good for this router only.
        self._token_key = secrets.token_bytes(32)
        self.name = ""
        """Part of every gid; known once `wait_for_nodes` returned."""

    @property
    def shards(self) -> int:
        """How many shards there are."""
        return len(self._nodes)

    async def wait_for_nodes(self) -> None:
        """Returns once every node serves. Raises Misconfigured if they are not one cluster in this order."""
        shards = range(self.shards)
        descriptions = await asyncio.gather(*(self._describe_patiently(shard) for shard in shards))
        names = {description.cluster for description in descriptions}
        counts = {description.shards for description in descriptions}
        if len(names) != 1 or counts != {self.shards}:
            raise Misconfigured(
                f"the nodes belong to the clusters {sorted(names)} of {sorted(counts)} shards, but the router was given"
                f" {self.shards} nodes of one"
            )
        self._token_key = descriptions[0].token_key or self._token_key
        (self.name,) = names

    async def view(self) -> SchemaView:
        """The schema in force. Raises SchemaNotLoaded if there is none, ShardUnavailable before every node served."""
        if not self.name:
            raise errors.ShardUnavailable("this router still waits for the nodes of its shards")
        if self._view is None:
            self._view = await self._read_view()
        current_call_context().epoch = self._view.epoch
        return self._view

    async def by_schema(self, work: Callable[[SchemaView], Awaitable[T]]) -> T:
        """What the work comes to by the schema in force.

        It is done once more, from its beginning, if it fails in a way that may come of an older schema and there is a
        newer one: then nothing of it was done. Raises what the work raises, SchemaNotLoaded, and ShardUnavailable.
        """
        view = await self.view()
        for _ in range(MAX_NEWER_SCHEMAS):
            try:
                return await work(view)
            except MENDED_BY_NEWER_SCHEMA:
                newer = await self.newer_view(view)
                if newer is None:
                    raise
                view = newer
        return await work(view)

    async def read_by_schema(self, work: Callable[[SchemaView], Awaitable[T]]) -> T:
        """The same for what only reads: it is done once more, too, if a flip keeps it from a table for too long."""
        for _ in range(MAX_READS):
            try:
                return await self.by_schema(work)
            except errors.Conflict:
                # Nothing else takes a lock that a read waits for.
                continue
        return await self.by_schema(work)

    async def latest_view(self) -> SchemaView:
        """The schema that is in force now. Raises as `view`."""
        view = await self.view()
        return await self.newer_view(view) or view

    async def newer_view(self, view: SchemaView) -> SchemaView | None:
        """The schema in force, if it is another one than that of the view; None if it is the same.

        From now on the request works by it.
        """
        if self._view is None or self._view.epoch == view.epoch:
            self._view = await self._read_view(view)
        if self._view.epoch == view.epoch:
            return None
        return await self.view()

    async def keep_up(self) -> None:
        """Looks now and then whether the schema has changed, until it is cancelled.

        Whoever writes by an older one is told; who only reads would go on.
        """
        while True:
            await asyncio.sleep(KEEP_UP_SECONDS)
            if self._view is not None:
                with suppress(errors.CrosskeyError), call_context(DESCRIBE_TIMEOUT_SECONDS):
                    await self.newer_view(self._view)

    async def describe_all(self) -> dict[int, proto.DescribeShardResponse | None]:
        """Every shard's description of itself; None for one that does not answer."""
        return await fan_out({shard: self._describe_or_none(shard) for shard in range(self.shards)})

    async def _read_view(self, known: SchemaView | None = None) -> SchemaView:
        """The schema in force. It is `known` if that has the same epoch.

        Any shard may be asked. The first decides on every flip: no other has carried one out before.
        """
        for shard in range(self.shards):
            description = await self._describe_or_none(shard, 0 if known is None else known.epoch)
            if description is None:
                continue
            if not description.schema_fingerprint:
                raise errors.SchemaNotLoaded(
                    "no schema is in force yet", hint="Apply one: `crosskey apply`, or Admin.ApplySchema."
                )
            # Another shard may be behind the first, if that does not answer.
            if known is not None and description.schema_epoch <= known.epoch:
                return known
            plan = plan_schema(Database.from_json(description.description_json))
            return SchemaView(
                plan, self.shards, description.schema_fingerprint, self._token_key, description.schema_epoch
            )
        raise errors.ShardUnavailable("no shard answers")

    async def _describe_or_none(self, shard: int, known_epoch: int = 0) -> proto.DescribeShardResponse | None:
        try:
            with call_context_of_its_own(DESCRIBE_TIMEOUT_SECONDS):
                return await self._describe(shard, known_epoch)
        except errors.CrosskeyError as error:
            _log.warning("shard not described", shard=shard, error=str(error))
            return None

    async def _describe_patiently(self, shard: int) -> proto.DescribeShardResponse:
        reported = ""
        pauses = growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        while True:
            try:
                with call_context_of_its_own(DESCRIBE_TIMEOUT_SECONDS):
                    return await self._describe(shard)
            except (errors.WrongShard, errors.PermissionDenied) as error:
                raise Misconfigured(error.message) from error
            except errors.CrosskeyError as error:
                if error.message != reported:
                    _log.info("waiting for a node", shard=shard, error=error.message)
                    reported = error.message
                await asyncio.sleep(next(pauses))

    async def _describe(self, shard: int, known_epoch: int = 0) -> proto.DescribeShardResponse:
        return await self._nodes[shard].describe_shard(proto.DescribeShardRequest(known_epoch=known_epoch))
