"""The public Admin service: check, call, respond."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
from typing_extensions import override

from crosskey.internal.v1 import maintenance_pb2
from crosskey.router.administration.auditing import audit
from crosskey.router.administration.cleaning_up import Cleaner
from crosskey.router.administration.descriptions import describe_schema, describe_topology
from crosskey.router.administration.migrating import Migrations
from crosskey.router.administration.outboxes import describe_events
from crosskey.router.administration.schema_changes import apply_schema
from crosskey.router.administration.unused_shadows import ShadowSweeper
from crosskey.router.calls.call_context import call_context
from crosskey.router.calls.cluster import Cluster
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.in_doubt import list_in_doubt
from crosskey.v1 import admin_pb2, admin_pb2_grpc

LONGEST_MIGRATION_SECONDS = 30 * 24 * 3600.0
"""For a client that sets no deadline."""

Context = grpc.aio.ServicerContext[Any, Any]


class Admin(admin_pb2_grpc.AdminServicer):
    """Describes, installs and checks a cluster. `addresses` are those of the nodes, in order."""

    def __init__(
        self, cluster: Cluster, nodes: Nodes, finisher: Finisher, addresses: Sequence[str], cleaner: Cleaner
    ) -> None:
        self._cluster = cluster
        self._nodes = nodes
        self._finisher = finisher
        self._addresses = addresses
        self._cleaner = cleaner
        self._migrations = Migrations(cluster, nodes, finisher)

    @override
    async def DescribeSchema(
        self, request: admin_pb2.DescribeSchemaRequest, context: Context
    ) -> admin_pb2.DescribeSchemaResponse:
        with call_context(context.time_remaining()):
            view = await self._cluster.latest_view()
            return describe_schema(view.plan, view.fingerprint)

    @override
    async def DescribeTopology(
        self, request: admin_pb2.DescribeTopologyRequest, context: Context
    ) -> admin_pb2.DescribeTopologyResponse:
        with call_context(context.time_remaining()):
            return describe_topology(self._addresses, await self._cluster.describe_all())

    @override
    async def ApplySchema(
        self, request: admin_pb2.ApplySchemaRequest, context: Context
    ) -> admin_pb2.ApplySchemaResponse:
        with call_context(context.time_remaining()):
            return await apply_schema(self._cluster, self._nodes, self._finisher, request)

    @override
    async def Audit(self, request: admin_pb2.AuditRequest, context: Context) -> AsyncIterator[admin_pb2.AuditResponse]:
        with call_context(context.time_remaining()):
            async for finding in audit(await self._cluster.latest_view(), self._nodes):
                yield finding

    @override
    async def DropUnusedShadows(
        self, request: admin_pb2.DropUnusedShadowsRequest, context: Context
    ) -> admin_pb2.DropUnusedShadowsResponse:
        with call_context(context.time_remaining()):
            sweeper = ShadowSweeper(self._cluster, self._nodes, self._finisher)
            return admin_pb2.DropUnusedShadowsResponse(count=await sweeper.sweep())

    @override
    async def ListInDoubt(
        self, request: admin_pb2.ListInDoubtRequest, context: Context
    ) -> admin_pb2.ListInDoubtResponse:
        with call_context(context.time_remaining()):
            return await list_in_doubt(self._nodes)

    @override
    async def DescribeEvents(
        self, request: admin_pb2.DescribeEventsRequest, context: Context
    ) -> admin_pb2.DescribeEventsResponse:
        with call_context(context.time_remaining()):
            return await describe_events(self._nodes)

    @override
    async def ListCleanups(
        self, request: admin_pb2.ListCleanupsRequest, context: Context
    ) -> admin_pb2.ListCleanupsResponse:
        with call_context(context.time_remaining()):
            return await self._cleaner.list_all()

    @override
    async def HoldPosition(
        self, request: admin_pb2.HoldPositionRequest, context: Context
    ) -> admin_pb2.HoldPositionResponse:
        with call_context(context.time_remaining()):
            asked = maintenance_pb2.HoldPositionRequest(asked=request)
            return (await self._nodes[0].hold_position(asked)).position

    @override
    async def PlanMigration(
        self, request: admin_pb2.PlanMigrationRequest, context: Context
    ) -> admin_pb2.PlanMigrationResponse:
        with call_context(context.time_remaining()):
            return await self._migrations.plan(request.migration)

    @override
    async def ApplyMigration(
        self, request: admin_pb2.ApplyMigrationRequest, context: Context
    ) -> AsyncIterator[admin_pb2.ApplyMigrationResponse]:
        with call_context(context.time_remaining() or LONGEST_MIGRATION_SECONDS):
            async for told in self._migrations.apply(request):
                yield told

    @override
    async def ListMigrations(
        self, request: admin_pb2.ListMigrationsRequest, context: Context
    ) -> admin_pb2.ListMigrationsResponse:
        with call_context(context.time_remaining()):
            return await self._migrations.list(request.limit)

    @override
    async def AbortMigration(
        self, request: admin_pb2.AbortMigrationRequest, context: Context
    ) -> admin_pb2.AbortMigrationResponse:
        with call_context(context.time_remaining()):
            await self._migrations.abort()
            return admin_pb2.AbortMigrationResponse()
