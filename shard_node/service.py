"""The ShardNode service: check, call, respond."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from typing_extensions import override

from catalog.model import Table
from crosskey import errors
from crosskey.v1 import shard_node_pb2 as proto
from crosskey.v1 import shard_node_pb2_grpc
from shard_node.auditing import shard_audit
from shard_node.guards.claim_queries import look_up_claims
from shard_node.postgres.database import Connection, Database
from shard_node.postgres.postgres_errors import naming_table, translated
from shard_node.postgres.startup import ShardIdentity
from shard_node.reading import reader, sorting
from shard_node.schema.introspection import inspect_schema
from shard_node.schema.shard_schema import ShardSchema, no_schema, read_schema
from shard_node.writing import default_values, loading, lost_commits, recovery
from shard_node.writing.command_lists import run_for_participant, run_until_effects
from shard_node.writing.local_transaction import run_locally
from shard_node.writing.own_gids import OwnGids
from shard_node.writing.transactions import ShardTransaction, to_found_claim
from shard_node.writing.unused_shadows import find_unused

Context = grpc.aio.ServicerContext[Any, Any]


class ShardNode(shard_node_pb2_grpc.ShardNodeServicer):
    """Serves one shard."""

    def __init__(self, database: Database, dsn: str, identity: ShardIdentity) -> None:
        self._database = database
        self._dsn = dsn
        self._identity = identity
        self._gids = OwnGids(identity.cluster, identity.shard, identity.shards)
        self._schema: ShardSchema | None = None
        self._find_out = lost_commits.asking(database)

    @override
    async def Execute(self, request: proto.ExecuteRequest, context: Context) -> proto.ExecuteResponse:
        self._check_shard(request.shard)
        async with self._database.connection() as connection:
            schema = await self._schema_in_force(connection)
            if schema is not None and _is_local(request.commands):
                results = await run_locally(connection, schema, request.commands, self._find_out)
                if results is not None:
                    return proto.ExecuteResponse(results=results, committed=True)
            return await self._execute_coordinated(connection, schema, request)

    async def _execute_coordinated(
        self, connection: Connection, schema: ShardSchema | None, request: proto.ExecuteRequest
    ) -> proto.ExecuteResponse:
        transaction = self._transaction(connection, schema, alone=True)
        results = await run_until_effects(transaction, request.commands)
        return proto.ExecuteResponse(results=results, committed=transaction.finished)

    @override
    async def Participate(  # type: ignore[override]  # grpc.aio takes a coroutine that reads and writes as well
        self, request_iterator: AsyncIterator[proto.ParticipateRequest], context: Context
    ) -> None:
        # Not a generator: a cancelled call leaves a generator suspended, and its transaction and locks with it.
        request = await context.read()
        # Only now: a router that is still writing would not be told why the stream ends.
        async with self._database.connection() as connection:
            transaction = self._transaction(connection, await self._schema_in_force(connection), alone=False)
            while isinstance(request, proto.ParticipateRequest):
                self._check_shard(request.shard)
                await context.write(await run_for_participant(transaction, request.commands))
                request = await context.read()

    @override
    async def FinishPrepared(
        self, request: proto.FinishPreparedRequest, context: Context
    ) -> proto.FinishPreparedResponse:
        self._check_shard(request.shard)
        self._gids.check_participants(request.gids)
        async with self._database.finishing_connection() as connection:
            with translated():
                await recovery.finish_prepared(connection, request.gids, commit=request.commit)
        return proto.FinishPreparedResponse()

    @override
    async def Decide(self, request: proto.DecideRequest, context: Context) -> proto.DecideResponse:
        self._check_shard(request.shard)
        self._gids.check_decisions(request.gids)
        async with self._database.finishing_connection() as connection:
            return proto.DecideResponse(outcomes=await recovery.decide(connection, request.gids, peek=request.peek))

    @override
    async def ListPrepared(self, request: proto.ListPreparedRequest, context: Context) -> proto.ListPreparedResponse:
        self._check_shard(request.shard)
        async with self._database.finishing_connection() as connection:
            with translated():
                transactions = await recovery.list_prepared(connection, self._gids)
        return proto.ListPreparedResponse(transactions=transactions)

    @override
    async def ForgetDecisions(
        self, request: proto.ForgetDecisionsRequest, context: Context
    ) -> proto.ForgetDecisionsResponse:
        self._check_shard(request.shard)
        self._gids.check_decisions(request.gids)
        async with self._database.finishing_connection() as connection:
            with translated():
                await recovery.forget_decisions(connection, request.gids)
        return proto.ForgetDecisionsResponse()

    @override
    async def ListDecisions(self, request: proto.ListDecisionsRequest, context: Context) -> proto.ListDecisionsResponse:
        self._check_shard(request.shard)
        async with self._database.finishing_connection() as connection:
            with translated():
                gids = await recovery.list_decisions(connection, request.min_age_ms)
        return proto.ListDecisionsResponse(gids=gids)

    @override
    async def DescribeShard(self, request: proto.DescribeShardRequest, context: Context) -> proto.DescribeShardResponse:
        self._check_shard(request.shard)
        async with self._database.connection() as connection:
            schema = await self._schema_in_force(connection)
        response = proto.DescribeShardResponse(
            shards=self._identity.shards,
            cluster=self._identity.cluster,
            postgres_version=self._identity.postgres_version,
            incarnation=self._identity.incarnation,
            token_key=self._identity.token_key,
        )
        if schema is not None:
            response.schema_fingerprint = schema.fingerprint
            if request.known_fingerprint != schema.fingerprint:
                response.description_json = schema.database.to_json()
        return response

    @override
    async def InspectSchema(self, request: proto.InspectSchemaRequest, context: Context) -> proto.InspectSchemaResponse:
        self._check_shard(request.shard)
        with translated():
            description = await inspect_schema(self._dsn, request.sql)
        return proto.InspectSchemaResponse(description_json=description.to_json())

    @override
    async def Read(self, request: proto.ReadRequest, context: Context) -> proto.ReadResponse:
        async with self._reading_table(request) as (connection, table):
            return await reader.read(connection, table, request)

    @override
    async def CountRows(self, request: proto.CountRowsRequest, context: Context) -> proto.CountRowsResponse:
        async with self._reading_table(request) as (connection, table):
            return await reader.count_rows(connection, table, request)

    @override
    async def DrawNumbers(self, request: proto.DrawNumbersRequest, context: Context) -> proto.DrawNumbersResponse:
        async with self._reading(request.shard) as (connection, schema):
            return await default_values.draw_numbers(connection, schema.sequence(request.sequence), request)

    @override
    async def ComputeDefaults(
        self, request: proto.ComputeDefaultsRequest, context: Context
    ) -> proto.ComputeDefaultsResponse:
        async with self._reading_table(request) as (connection, table):
            return await default_values.compute_defaults(connection, table, request)

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
    async def Sort(self, request: proto.SortRequest, context: Context) -> proto.SortResponse:
        async with self._reading_table(request) as (connection, table):
            return await sorting.sort(connection, table, request)

    @override
    async def AuditShard(
        self, request: proto.AuditShardRequest, context: Context
    ) -> AsyncIterator[proto.AuditShardResponse]:
        async with self._reading(request.shard) as (connection, schema):
            async for finding in shard_audit.audit_shard(connection, schema, self._identity, self._dsn):
                yield finding

    @override
    async def ListGuards(self, request: proto.ListGuardsRequest, context: Context) -> proto.ListGuardsResponse:
        async with self._reading(request.shard) as (connection, schema):
            return await shard_audit.list_guards(connection, schema, self._identity, request)

    @override
    async def FindUnusedShadows(
        self, request: proto.FindUnusedShadowsRequest, context: Context
    ) -> proto.FindUnusedShadowsResponse:
        async with self._reading(request.shard) as (connection, schema):
            referenced = schema.referenced_key(request.referenced_key)
            keys, count = await find_unused(connection, schema, referenced, request.keys_json.decode())
            return proto.FindUnusedShadowsResponse(keys_json=keys.encode(), count=count)

    @override
    async def FindClaims(self, request: proto.FindClaimsRequest, context: Context) -> proto.FindClaimsResponse:
        async with self._reading(request.shard) as (connection, schema):
            claim = schema.claim(request.claim)
            found = await look_up_claims(connection, claim, request.keys_json.decode())
            shards = sorted({shard for shard, _ in found if shard is not None})
            return proto.FindClaimsResponse(shards=shards, claims=map(to_found_claim, found))

    @override
    async def FindUnguarded(self, request: proto.FindUnguardedRequest, context: Context) -> proto.FindUnguardedResponse:
        async with self._reading(request.shard) as (connection, schema):
            return await shard_audit.find_unguarded(connection, schema, self._identity, request)

    @asynccontextmanager
    async def _reading(self, shard: int) -> AsyncIterator[tuple[Connection, ShardSchema]]:
        """A connection and the schema for a read. Raises WrongShard, SchemaNotLoaded, and PostgreSQL's errors."""
        self._check_shard(shard)
        async with self._database.connection() as connection:
            schema = await self._schema_in_force(connection)
            if schema is None:
                raise no_schema()
            with translated():
                yield connection, schema

    @asynccontextmanager
    async def _reading_table(
        self, request: proto.ReadRequest | proto.CountRowsRequest | proto.SortRequest | proto.ComputeDefaultsRequest
    ) -> AsyncIterator[tuple[Connection, Table]]:
        """A connection and the table for a read of one table. Raises as `_reading`, and UnknownTable."""
        async with self._reading(request.shard) as (connection, schema):
            table = schema.table(request.table)
            with naming_table(table.name):
                yield connection, table

    def _transaction(self, connection: Connection, schema: ShardSchema | None, *, alone: bool) -> ShardTransaction:
        return ShardTransaction(
            connection,
            schema,
            self._identity.shard,
            self._identity.shards,
            alone=alone,
            gids=self._gids,
            find_out=self._find_out,
        )

    def _check_shard(self, shard: int) -> None:
        if shard != self._identity.shard:
            raise errors.WrongShard(
                f"this node serves shard {self._identity.shard}, not {shard}",
                shard=self._identity.shard,
                hint="Give the router its nodes in the order of the shards' numbers.",
            )

    async def _schema_in_force(self, connection: Connection) -> ShardSchema | None:
        """The schema; once there is one it never changes, so it is read until then."""
        if self._schema is None:
            with translated():
                self._schema = await read_schema(connection)
        return self._schema


def _is_local(commands: Any) -> bool:
    """Whether the commands are statements and a plain commit, which PostgreSQL alone may well be able to do."""
    kinds = [command.WhichOneof("command") for command in commands]
    return (
        bool(kinds)
        and kinds[-1] == "commit"
        and not commands[-1].commit.decision_gid
        and set(kinds[:-1]) <= {"run", "check"}
    )
