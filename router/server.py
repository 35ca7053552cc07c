"""Puts a router together and runs it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc

from crosskey.router.access import Access
from crosskey.router.admin_service import Admin
from crosskey.router.administration.cleaning_up import Cleaner
from crosskey.router.administration.unused_shadows import ShadowSweeper
from crosskey.router.calls.cluster import Cluster
from crosskey.router.calls.nodes import Nodes
from crosskey.router.committing.finishing import Finisher
from crosskey.router.committing.resolver import Resolver
from crosskey.router.committing.seats import Seats
from crosskey.router.planning.shadow_hints import ShadowHints
from crosskey.router.reading.reader import Reader
from crosskey.router.requests import Requests
from crosskey.router.router_service import Router
from crosskey.router.session_transactions import Bounds, Opener
from crosskey.router.settings import Settings
from crosskey.router.watching.watches import Watches
from crosskey.router.writing.anchor_lookup import AnchorLookup
from crosskey.router.writing.loader import Loader
from crosskey.router.writing.pipeline import Pipeline
from crosskey.router.writing.repeats import Repeats
from crosskey.router.writing.sequence_blocks import SequenceBlocks
from crosskey.router.writing.value_generator import ValueGenerator
from crosskey.router.writing.writer import Writer
from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.logging import configure_logging
from crosskey.serving.server import ServerSettings, run_server
from crosskey.v1 import admin_pb2_grpc, router_pb2_grpc

SERVICE_NAMES = ("crosskey.v1.Router", "crosskey.v1.Admin")


async def serve(settings: Settings) -> None:
    """Serves the public API until SIGTERM. Raises Misconfigured if the nodes are not one cluster in this order.

    Raises UnfitAccessFile, and OSError for a file that cannot be read.
    """
    configure_logging(service="router", worker=settings.worker)
    access = None if settings.access is None else Access(settings.access)
    nodes = Nodes.behind(settings.nodes, settings.nodes_tls)
    cluster = Cluster(nodes)
    finisher = Finisher(nodes)
    resolver = Resolver(nodes, interval_ms=settings.resolver_interval_ms, min_age_ms=settings.resolver_min_age_ms)
    hints = ShadowHints()
    value_generator = ValueGenerator(nodes, SequenceBlocks(nodes))
    anchor_lookup = AnchorLookup(nodes)
    seats = Seats(len(nodes), settings.max_distributed)
    writer = Writer(nodes, finisher, seats, hints, cluster, settings.retries, value_generator, anchor_lookup)
    writes = Pipeline(value_generator, anchor_lookup, writer)
    watches = Watches(nodes)
    cleaner = Cleaner(cluster, nodes, finisher)
    loader = Loader(nodes, finisher, cluster, value_generator)
    requests = Requests(cluster, Reader(nodes), writes, hints, loader, watches, cleaner, Repeats(nodes))
    in_flight = CallsInFlight(settings.max_in_flight)
    bounds = Bounds(settings.max_transactions, settings.transaction_idle_seconds, settings.transaction_seconds)
    router = Router(requests, Opener(cluster, writes, bounds, cleaner.deleted), in_flight)
    recovery: list[asyncio.Task[None]] = []

    async def ready() -> None:
        await cluster.wait_for_nodes()
        recovery.append(asyncio.create_task(resolver.run()))
        recovery.append(asyncio.create_task(finisher.forget_regularly()))
        recovery.append(asyncio.create_task(cleaner.run()))
        recovery.append(asyncio.create_task(cluster.keep_up()))
        if settings.sweep_interval_seconds:
            sweeper = ShadowSweeper(cluster, nodes, finisher)
            recovery.append(asyncio.create_task(sweeper.run(settings.sweep_interval_seconds)))

    def register(server: grpc.aio.Server) -> None:
        router_pb2_grpc.add_RouterServicer_to_server(router, server)
        admin_pb2_grpc.add_AdminServicer_to_server(Admin(cluster, nodes, finisher, settings.nodes, cleaner), server)

    async def drain() -> None:
        watches.drain()
        await router.drain()

    try:
        await run_server(
            ServerSettings(
                listen=settings.listen,
                drain_seconds=settings.drain_seconds,
                shares_address=settings.worker is not None,
                exposure=settings.exposure,
                admission=None if access is None else access.admit,
            ),
            in_flight,
            register=register,
            service_names=SERVICE_NAMES,
            ready=ready,
            on_drain=drain,
        )
    finally:
        await _stop(recovery)
        await finisher.drain()
        await nodes.close()


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
