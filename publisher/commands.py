"""The subcommands: one for each kind of bus."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from crosskey import AsyncClient, CrosskeyError, Tls
from crosskey.publisher.bus import Bus, BusRefused
from crosskey.publisher.nats_bus import NatsBus
from crosskey.publisher.publishing import Publisher
from crosskey.publisher.redis_bus import RedisBus
from crosskey.serving.address import ADDRESS
from crosskey.serving.commands import optional_setting, setting
from crosskey.serving.logging import UnknownLogLevel, configure_logging

DEFAULT_ROUTER = "127.0.0.1:7400"

EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
COUNT = click.IntRange(min=0)
POSITIVE_SECONDS = click.FloatRange(min=0, min_open=True)


def _shared(command: Callable[..., None]) -> Callable[..., None]:
    """Adds what both subcommands take."""
    command = click.option(
        "--table", "tables", multiple=True, help="A table to publish; all with @events if none is given."
    )(command)
    command = setting(
        "lease_seconds", POSITIVE_SECONDS, "How long an anchor that is gone is waited for.", default=15.0
    )(command)
    command = setting("consumer", click.STRING, "One of all of this name leads.", default="publisher")(command)
    command = setting("source", click.STRING, "What events say they come from.", default="crosskey")(command)
    for name, help in (
        ("ca", "Speak TLS; the router's certificate is of this CA, in PEM."),
        ("client_cert", "The certificate to show to the router, in PEM."),
        ("client_key", "Its key, in PEM."),
        ("token_file", "A file with the token to show to the router."),
    ):
        command = optional_setting(name, EXISTING_FILE, help)(command)
    return setting("router", ADDRESS, "The router to watch.", default=DEFAULT_ROUTER)(command)


@click.command()
@_shared
@setting("nats_url", click.STRING, "The server.", default="nats://127.0.0.1:4222")
@setting("nats_stream", click.STRING, "The stream, and how its subjects begin.", default="crosskey")
@setting("nats_duplicate_seconds", POSITIVE_SECONDS, "How long repeats are dropped, if it is made.", default=600.0)
def nats(nats_url: str, nats_stream: str, nats_duplicate_seconds: float, source: str, **values: Any) -> None:
    """Publish to NATS JetStream until SIGTERM."""
    _publish(NatsBus(nats_url, nats_stream, source, nats_duplicate_seconds), **values)


@click.command()
@_shared
@setting("redis_url", click.STRING, "The server.", default="redis://127.0.0.1:6379")
@setting("redis_prefix", click.STRING, "How names of streams begin.", default="crosskey")
@setting("redis_max_length", COUNT, "About how many entries a stream keeps; 0 for all.", default=0)
def redis(redis_url: str, redis_prefix: str, redis_max_length: int, source: str, consumer: str, **values: Any) -> None:
    """Publish to streams of Valkey or Redis until SIGTERM."""
    bus = RedisBus(redis_url, redis_prefix, source, consumer=consumer, max_length=redis_max_length)
    _publish(bus, consumer=consumer, **values)


def _publish(bus: Bus, *, token_file: Path | None, **values: Any) -> None:
    try:
        token = None if token_file is None else token_file.read_text().strip()
        configure_logging(service="publisher")
        asyncio.run(_run(bus, token=token, **values))
    except (CrosskeyError, BusRefused, UnknownLogLevel, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None


async def _run(
    bus: Bus,
    *,
    router: str,
    consumer: str,
    lease_seconds: float,
    tables: tuple[str, ...],
    ca: Path | None,
    client_cert: Path | None,
    client_key: Path | None,
    token: str | None,
) -> None:
    holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    tls = None if ca is None else Tls(ca, client_cert, client_key)
    async with AsyncClient(router, tls=tls, token=token) as client:
        publisher = Publisher(client, bus, consumer=consumer, holder=holder, tables=tables, lease_seconds=lease_seconds)
        work = asyncio.ensure_future(publisher.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, work.cancel)
        with suppress(asyncio.CancelledError):
            await work
