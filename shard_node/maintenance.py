"""The ShardMaintenance service: check, call, respond."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import msgspec
from typing_extensions import override

from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.internal.v1 import maintenance_pb2_grpc
from crosskey.shard_node.auditing import shard_audit
from crosskey.shard_node.auditing.cleanups import list_cleanups
from crosskey.shard_node.events.backlog import describe_outbox
from crosskey.shard_node.events.positions import hold_position
from crosskey.shard_node.migrations import plan_on_shard
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import translated
from crosskey.shard_node.schema import migration_journal
from crosskey.shard_node.schema.flipping import list_unvalidated, run_step
from crosskey.shard_node.schema.introspection import inspect_schema
from crosskey.shard_node.schema.shard import Shard
from crosskey.shard_node.schema.shard_schema import ShardSchema, no_schema
from crosskey.shard_node.writing import loading, recovery
from crosskey.shard_node.writing.own_gids import OwnGids
from crosskey.shard_node.writing.unused_shadows import find_unused
from crosskey.v1 import admin_pb2

Context = grpc.aio.ServicerContext[Any, Any]


class ShardMaintenance(maintenance_pb2_grpc.ShardMaintenanceServicer):
    """Looks after one shard."""

    def __init__(self, shard: Shard, dsn: str) -> None:
        """`dsn` leads to the shard's database."""
        self._shard = shard
        self._dsn = dsn

    @override
    async def DescribeShard(self, request: proto.DescribeShardRequest, context: Context) -> proto.DescribeShardResponse:
        identity = self._shard.identity
        self._shard.check(request.shard)
        async with self._shard.database.connection() as connection:
            schema = await self._shard.latest_schema(connection)
        response = proto.DescribeShardResponse(
            shards=identity.shards,
            cluster=identity.cluster,
            postgres_version=identity.postgres_version,
            incarnation=identity.incarnation,
            token_key=identity.token_key,
        )
        if schema is not None:
            response.schema_fingerprint = schema.fingerprint
            response.schema_epoch = schema.epoch
            if request.known_epoch != schema.epoch and request.known_fingerprint != schema.fingerprint:
                response.description_json = schema.database.to_json()
        return response

    @override
    async def InspectSchema(self, request: proto.InspectSchemaRequest, context: Context) -> proto.InspectSchemaResponse:
        self._shard.check(request.shard)
        with translated():
            inspected = await inspect_schema(self._dsn, request.sql)
        return proto.InspectSchemaResponse(
            description_json=inspected.database.to_json(),
            fingerprint=inspected.run.fingerprint,
            skipped=[admin_pb2.SkippedStatement(**msgspec.structs.asdict(each)) for each in inspected.run.skipped],
        )

    @override
    async def ListPrepared(self, request: proto.ListPreparedRequest, context: Context) -> proto.ListPreparedResponse:
        identity = self._shard.identity
        own = OwnGids(identity.cluster, identity.shard, identity.shards)
        async with self._finishing(request.shard) as connection:
            transactions = await recovery.list_prepared(connection, own)
        return proto.ListPreparedResponse(transactions=transactions)

    @override
    async def ListDecisions(self, request: proto.ListDecisionsRequest, context: Context) -> proto.ListDecisionsResponse:
        async with self._finishing(request.shard) as connection:
            gids = await recovery.list_decisions(connection, request.min_age_ms)
        return proto.ListDecisionsResponse(gids=gids)

    @override
    async def AdvanceSequence(
        self, request: proto.AdvanceSequenceRequest, context: Context
    ) -> proto.AdvanceSequenceResponse:
        async with self._reading(request.shard) as (connection, schema):
            await loading.advance_sequence(connection, schema.sequence(request.sequence), request.past)
            return proto.AdvanceSequenceResponse()

    @override
    async def ListBatches(self, request: proto.ListBatchesRequest, context: Context) -> proto.ListBatchesResponse:
        async with self._reading(request.shard) as (connection, _):
            return proto.ListBatchesResponse(batches=await loading.list_batches(connection, request.load))

    @override
    async def ForgetBatches(self, request: proto.ForgetBatchesRequest, context: Context) -> proto.ForgetBatchesResponse:
        async with self._reading(request.shard) as (connection, _):
            await loading.forget_batches(connection, request.load)
            return proto.ForgetBatchesResponse()

    @override
    async def AuditShard(
        self, request: proto.AuditShardRequest, context: Context
    ) -> AsyncIterator[proto.AuditShardResponse]:
        async with self._reading(request.shard) as (connection, schema):
            async for finding in shard_audit.audit_shard(connection, schema, self._shard.identity, self._dsn):
                yield finding

    @override
    async def ListGuards(self, request: proto.ListGuardsRequest, context: Context) -> proto.ListGuardsResponse:
        async with self._reading(request.shard) as (connection, schema):
            return await shard_audit.list_guards(connection, schema, self._shard.identity, request)

    @override
    async def FindUnusedShadows(
        self, request: proto.FindUnusedShadowsRequest, context: Context
    ) -> proto.FindUnusedShadowsResponse:
        async with self._reading(request.shard) as (connection, schema):
            referenced = schema.referenced_key(request.referenced_key)
            keys, count = await find_unused(connection, schema, referenced, request.keys_json.decode())
            return proto.FindUnusedShadowsResponse(keys_json=keys.encode(), count=count)

    @override
    async def FindUnguarded(self, request: proto.FindUnguardedRequest, context: Context) -> proto.FindUnguardedResponse:
        async with self._reading(request.shard) as (connection, schema):
            return await shard_audit.find_unguarded(connection, schema, self._shard.identity, request)

    @override
    async def DescribeOutbox(
        self, request: proto.DescribeOutboxRequest, context: Context
    ) -> proto.DescribeOutboxResponse:
        async with self._reading(request.shard) as (connection, _):
            return proto.DescribeOutboxResponse(outbox=await describe_outbox(connection, request.shard))

    @override
    async def ListCleanups(self, request: proto.ListCleanupsRequest, context: Context) -> proto.ListCleanupsResponse:
        async with self._reading(request.shard) as (connection, schema):
            cleanups = await list_cleanups(
                connection, schema, request.shard, self._shard.pace, count_rows=request.count_rows
            )
            return proto.ListCleanupsResponse(cleanups=cleanups)

    @override
    async def HoldPosition(self, request: proto.HoldPositionRequest, context: Context) -> proto.HoldPositionResponse:
        async with self._reading(request.shard) as (connection, _):
            return proto.HoldPositionResponse(position=await hold_position(connection, request.asked))

    @override
    async def PlanShardMigration(
        self, request: proto.PlanShardMigrationRequest, context: Context
    ) -> proto.PlanShardMigrationResponse:
        async with self._reading(request.shard) as (connection, _):
            return await plan_on_shard(self._shard, self._dsn, connection, request.migration)

    @override
    async def RunMigrationStep(
        self, request: proto.RunMigrationStepRequest, context: Context
    ) -> proto.RunMigrationStepResponse:
        self._shard.check(request.shard)
        with translated():
            await run_step(self._shard.database, request)
        return proto.RunMigrationStepResponse()

    @override
    async def ListUnvalidated(
        self, request: proto.ListUnvalidatedRequest, context: Context
    ) -> proto.ListUnvalidatedResponse:
        async with self._reading(request.shard) as (connection, _):
            return proto.ListUnvalidatedResponse(steps=await list_unvalidated(connection))

    @override
    async def NoteMigration(self, request: proto.NoteMigrationRequest, context: Context) -> proto.NoteMigrationResponse:
        async with self._reading(request.shard) as (connection, _):
            return proto.NoteMigrationResponse(id=await migration_journal.note(connection, request))

    @override
    async def ReadJournal(self, request: proto.ReadJournalRequest, context: Context) -> proto.ReadJournalResponse:
        async with self._reading(request.shard) as (connection, _):
            return proto.ReadJournalResponse(entries=await migration_journal.read_journal(connection, request.limit))

    @asynccontextmanager
    async def _reading(self, shard: int) -> AsyncIterator[tuple[Connection, ShardSchema]]:
        """A connection and the schema in force now. Raises WrongShard, SchemaNotLoaded, and PostgreSQL's errors."""
        self._shard.check(shard)
        async with self._shard.database.connection() as connection:
            schema = await self._shard.latest_schema(connection)
            if schema is None:
                raise no_schema()
            with translated():
                yield connection, schema

    @asynccontextmanager
    async def _finishing(self, shard: int) -> AsyncIterator[Connection]:
        """A connection that requests never take. Raises WrongShard, and PostgreSQL's errors."""
        self._shard.check(shard)
        async with self._shard.database.finishing_connection() as connection:
            with translated():
                yield connection
