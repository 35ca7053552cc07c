"""What the router knows of its cluster: the nodes' name for it, and the schema in force."""

from __future__ import annotations

import asyncio
import secrets

import structlog

from crosskey import errors
from crosskey.catalog.model import Database
from crosskey.catalog.planning import plan_schema
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.pauses import growing_pauses
from crosskey.router.calls.call_context import call_context_of_its_own
from crosskey.router.calls.fan_out import fan_out
from crosskey.router.calls.nodes import Nodes
from crosskey.router.planning.schema_view import SchemaView

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 0.5
DESCRIBE_TIMEOUT_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class Misconfigured(Exception):
    """The nodes do not make up one cluster in the order given; the router does not start."""


class Cluster:
    """The cluster behind the nodes. Its schema is read until there is one; then it never changes."""

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
        return self._view

    async def describe_all(self) -> dict[int, proto.DescribeShardResponse | None]:
        """Every shard's description of itself; None for one that does not answer."""
        return await fan_out({shard: self._describe_or_none(shard) for shard in range(self.shards)})

    async def _read_view(self) -> SchemaView:
        """A schema is installed everywhere or nowhere, so any shard may be asked."""
        for shard in range(self.shards):
            description = await self._describe_or_none(shard)
            if description is None:
                continue
            if not description.schema_fingerprint:
                raise errors.SchemaNotLoaded(
                    "no schema is in force yet", hint="Apply one: `crosskey apply`, or Admin.ApplySchema."
                )
            plan = plan_schema(Database.from_json(description.description_json))
            return SchemaView(plan, self.shards, description.schema_fingerprint, self._token_key)
        raise errors.ShardUnavailable("no shard answers")

    async def _describe_or_none(self, shard: int) -> proto.DescribeShardResponse | None:
        try:
            with call_context_of_its_own(DESCRIBE_TIMEOUT_SECONDS):
                return await self._describe(shard)
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
            except errors.WrongShard as error:
                raise Misconfigured(error.message) from error
            except errors.CrosskeyError as error:
                if error.message != reported:
                    _log.info("waiting for a node", shard=shard, error=error.message)
                    reported = error.message
                await asyncio.sleep(next(pauses))

    async def _describe(self, shard: int) -> proto.DescribeShardResponse:
        return await self._nodes[shard].describe_shard(proto.DescribeShardRequest())
