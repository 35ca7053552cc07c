"""A cluster in this process: three PostgreSQL servers, three nodes and a router, all real but for their processes."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import grpc.aio
import psycopg

from crosskey import AsyncClient
from crosskey.internal.v1 import maintenance_pb2_grpc, session_pb2_grpc
from crosskey.local_cluster.cluster import ROLE
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.router.admin_service import Admin
from crosskey.router.administration.cleaning_up import Cleaner
from crosskey.router.calls.cluster import Cluster
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.seats import Seats
from crosskey.router.planning.shadow_hints import ShadowHints
from crosskey.router.reading.reader import Reader
from crosskey.router.requests import Requests
from crosskey.router.router_service import Router
from crosskey.router.session_transactions import Bounds, Opener
from crosskey.router.watching.watches import Watches
from crosskey.router.writing.anchor_lookup import AnchorLookup
from crosskey.router.writing.loader import Loader
from crosskey.router.writing.pipeline import Pipeline
from crosskey.router.writing.repeats import Repeats
from crosskey.router.writing.sequence_blocks import SequenceBlocks
from crosskey.router.writing.value_generator import ValueGenerator
from crosskey.router.writing.writer import Writer
from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.interceptor import ErrorInterceptor
from crosskey.shard_node.commands.provision import ensure_database, ensure_role
from crosskey.shard_node.events.feed import EventFeed
from crosskey.shard_node.maintenance import ShardMaintenance
from crosskey.shard_node.postgres.database import Database
from crosskey.shard_node.postgres.startup import prepare_database
from crosskey.shard_node.schema.shard import Shard
from crosskey.shard_node.service import ShardNode
from crosskey.v1 import admin_pb2_grpc, router_pb2_grpc

CLUSTER = "traced"
MAX_IN_FLIGHT = 100


@asynccontextmanager
async def cluster_here(
    servers: Sequence[PostgresServer], schema: str
) -> AsyncIterator[router_pb2_grpc.RouterAsyncStub]:
    """A stub of a router with that schema in force, on databases of its own, one for each server."""
    async with AsyncExitStack() as stack:
        addresses = [await _node(stack, shard, len(servers), server) for shard, server in enumerate(servers)]
        address = await _router(stack, addresses)
        async with AsyncClient(address) as client:
            await client.apply_schema(schema)
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address))
        yield router_pb2_grpc.RouterStub(channel)


async def _node(stack: AsyncExitStack, shard: int, shards: int, server: PostgresServer) -> str:
    """Starts a node; answers its address."""
    dsn = _provision(server)
    database = Database(dsn, pool_size=4, pool_queue=50, lock_timeout_ms=1000)
    async with await database.connect() as connection:
        identity = await prepare_database(connection, CLUSTER, shard, shards)
    await database.open()
    stack.push_async_callback(database.close)
    served = Shard(database, identity)
    server_of_node = _server()
    session_pb2_grpc.add_ShardNodeServicer_to_server(
        ShardNode(served, EventFeed(database), CallsInFlight(MAX_IN_FLIGHT)), server_of_node
    )
    maintenance_pb2_grpc.add_ShardMaintenanceServicer_to_server(ShardMaintenance(served, dsn), server_of_node)
    return await _started(stack, server_of_node)


def _provision(server: PostgresServer) -> str:
    """Makes the role and a database; answers its DSN."""
    password, name = secrets.token_hex(), f"trace_{secrets.token_hex(4)}"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        ensure_role(connection, ROLE, password)
        ensure_database(connection, ROLE, name)
    return psycopg.conninfo.make_conninfo(server.dsn(), dbname=name, user=ROLE, password=password)


async def _router(stack: AsyncExitStack, addresses: Sequence[str]) -> str:
    """Starts a router; answers its address."""
    nodes = Nodes.behind(addresses)
    stack.push_async_callback(nodes.close)
    cluster, finisher, hints = Cluster(nodes), Finisher(nodes), ShadowHints()
    await cluster.wait_for_nodes()
    value_generator = ValueGenerator(nodes, SequenceBlocks(nodes))
    anchor_lookup = AnchorLookup(nodes)
    writes = Pipeline(
        value_generator,
        anchor_lookup,
        Writer(nodes, finisher, Seats(len(nodes), 5), hints, cluster, 8, value_generator, anchor_lookup),
    )
    loader = Loader(nodes, finisher, cluster, value_generator)
    server = _server()
    cleaner = Cleaner(cluster, nodes, finisher)
    requests = Requests(cluster, Reader(nodes), writes, hints, loader, Watches(nodes), cleaner, Repeats(nodes))
    opener = Opener(cluster, writes, Bounds(maximum=8, idle_seconds=10, seconds=60))
    router_pb2_grpc.add_RouterServicer_to_server(Router(requests, opener, CallsInFlight(MAX_IN_FLIGHT)), server)
    admin_pb2_grpc.add_AdminServicer_to_server(Admin(cluster, nodes, finisher, addresses, cleaner), server)
    stack.push_async_callback(finisher.drain)
    return await _started(stack, server)


def _server() -> grpc.aio.Server:
    return grpc.aio.server(interceptors=[ErrorInterceptor(CallsInFlight(MAX_IN_FLIGHT))])


async def _started(stack: AsyncExitStack, server: grpc.aio.Server) -> str:
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    stack.push_async_callback(server.stop, 0)
    return f"127.0.0.1:{port}"
