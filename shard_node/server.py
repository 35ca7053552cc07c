"""Puts a shard node together and runs it."""

from __future__ import annotations

import asyncio

import grpc
import psycopg
import structlog

from crosskey import errors
from crosskey.internal.v1 import maintenance_pb2_grpc, session_pb2_grpc
from crosskey.pauses import growing_pauses
from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.logging import configure_logging
from crosskey.serving.peers import only_named
from crosskey.serving.server import MAX_INTERNAL_REQUEST_BYTES, ServerSettings, run_server
from crosskey.shard_node.events.feed import EventFeed
from crosskey.shard_node.events.trimming import Retention, trim_regularly
from crosskey.shard_node.maintenance import ShardMaintenance
from crosskey.shard_node.pace import Pace
from crosskey.shard_node.postgres.connection_limits import check_connections
from crosskey.shard_node.postgres.database import Database
from crosskey.shard_node.postgres.startup import ShardIdentity, UnfitDatabase, prepare_database
from crosskey.shard_node.schema.scratch import drop_left_over
from crosskey.shard_node.schema.shard import Shard
from crosskey.shard_node.service import ShardNode
from crosskey.shard_node.settings import Settings
from crosskey.shard_node.writing.kept_answers import forget_regularly
from crosskey.shard_node.writing.tidying import tidy_regularly

SERVICE_NAMES = ("crosskey.internal.v1.ShardNode", "crosskey.internal.v1.ShardMaintenance")

# PostgreSQL may be starting while the node is: try again for so long before giving up.
CONNECT_PATIENCE_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0

# Calls that wait for a connection are bounded by the pool's queue; this bounds branches as well.
MAX_IN_FLIGHT = 2000

_log = structlog.get_logger(__name__)


async def serve(settings: Settings) -> None:
    """Serves a shard until SIGTERM. Raises UnfitDatabase if it cannot be served."""
    configure_logging(service="node", shard=settings.shard, worker=settings.worker)
    database = Database(
        settings.dsn,
        pool_size=settings.pool_size,
        pool_queue=settings.pool_queue,
        lock_timeout_ms=settings.lock_timeout_ms,
    )
    identity = await open_patiently(database, settings)
    try:
        await _run(database, identity, settings)
    finally:
        await database.close()


async def open_patiently(database: Database, settings: Settings) -> ShardIdentity:
    """Opens the database as soon as PostgreSQL answers for long enough.

    Raises UnfitDatabase at once for what waiting does not mend, and, saying why, if it does not answer for too long.
    """
    pauses = growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, within=CONNECT_PATIENCE_SECONDS)
    while True:
        try:
            identity = await _prepare(database, settings)
            await _clear_away(settings.dsn)
            await database.open()
            return identity
        except (errors.ShardUnavailable, errors.Overloaded) as error:
            pause = next(pauses, None)
            if pause is None:
                raise UnfitDatabase(f"{error.message}: {error.__cause__}") from error
            _log.warning("trying again", error=error.message)
            await asyncio.sleep(pause)


async def _prepare(database: Database, settings: Settings) -> ShardIdentity:
    async with await database.connect() as connection:
        await check_connections(connection, settings.pool_size, settings.workers)
        return await prepare_database(connection, settings.cluster, settings.shard, settings.shards)


async def _clear_away(dsn: str) -> None:
    """Drops what a node left behind that was killed. If that fails, the next planning tries again."""
    try:
        await drop_left_over(dsn)
    except psycopg.Error as error:
        _log.warning("scratch databases not looked for", error=str(error))


async def _run(database: Database, identity: ShardIdentity, settings: Settings) -> None:
    pace = Pace(settings.cleanup_batch_rows, settings.cleanup_pause_ms, settings.cleanup_late_seconds)
    shard = Shard(database, identity, pace)
    feed = EventFeed(database)
    retention = Retention(settings.events_retention_seconds, settings.events_max_mib * 1024 * 1024)
    tidying = [
        asyncio.create_task(trim_regularly(database, retention, settings.events_trim_seconds)),
        asyncio.create_task(tidy_regularly(database)),
        asyncio.create_task(
            forget_regularly(database, settings.answers_retention_seconds, settings.answers_forget_seconds)
        ),
    ]
    node = ShardNode(shard, feed, CallsInFlight(MAX_IN_FLIGHT))
    maintenance = ShardMaintenance(shard, settings.dsn)

    def register(server: grpc.aio.Server) -> None:
        session_pb2_grpc.add_ShardNodeServicer_to_server(node, server)
        maintenance_pb2_grpc.add_ShardMaintenanceServicer_to_server(maintenance, server)

    _log.info("shard", shard=identity.shard, shards=identity.shards, postgres_version=identity.postgres_version)
    try:
        await run_server(
            ServerSettings(
                listen=settings.listen,
                max_request_bytes=MAX_INTERNAL_REQUEST_BYTES,
                drain_seconds=settings.drain_seconds,
                shares_address=settings.worker is not None,
                exposure=settings.exposure,
                admission=only_named(settings.router_names) if settings.router_names else None,
            ),
            CallsInFlight(MAX_IN_FLIGHT),
            register=register,
            service_names=SERVICE_NAMES,
            on_drain=node.drain,
        )
    finally:
        for task in tidying:
            task.cancel()
        await asyncio.gather(*tidying, return_exceptions=True)
        await feed.close()
