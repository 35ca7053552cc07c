"""The subcommand that runs a router."""

from dataclasses import replace
from typing import Any

import click
import uvloop

from crosskey.errors import CrosskeyError
from crosskey.router import server
from crosskey.router.calls.cluster import Misconfigured
from crosskey.router.settings import Settings
from crosskey.serving.address import ADDRESS
from crosskey.serving.commands import setting
from crosskey.serving.logging import UnknownLogLevel
from crosskey.serving.workers import run_workers

COUNT = click.IntRange(min=0)
POSITIVE = click.IntRange(min=1)
SECONDS = click.FloatRange(min=0)


@click.command()
@click.option(
    "--node",
    "nodes",
    type=ADDRESS,
    multiple=True,
    required=True,
    envvar="CROSSKEY_NODES",
    show_envvar=True,
    help="A shard's node; once for each shard, in order. In the environment: separated by commas.",
)
@setting("listen", ADDRESS, "Where to serve.")
@setting("retries", COUNT, "How often a request that lost a race is tried again.", default=Settings.retries)
@setting("drain_seconds", SECONDS, "How long requests may go on after SIGTERM.", default=Settings.drain_seconds)
@setting(
    "resolver_interval_ms",
    POSITIVE,
    "How often to look for transactions in doubt.",
    default=Settings.resolver_interval_ms,
)
@setting(
    "resolver_min_age_ms",
    COUNT,
    "How old a transaction in doubt is before it is taken up.",
    default=Settings.resolver_min_age_ms,
)
@setting(
    "sweep_interval_seconds",
    SECONDS,
    "How often to drop unused shadows; 0 for never.",
    default=Settings.sweep_interval_seconds,
)
@setting("max_in_flight", POSITIVE, "How many requests may be in flight.", default=Settings.max_in_flight)
@setting(
    "max_distributed",
    POSITIVE,
    "How many transactions over several shards may be at work on a shard.",
    default=Settings.max_distributed,
)
@setting(
    "max_transactions",
    COUNT,
    "How many transactions may be open on sessions.",
    default=Settings.max_transactions,
)
@setting(
    "transaction_idle_seconds",
    SECONDS,
    "How long such a transaction may be idle.",
    default=Settings.transaction_idle_seconds,
)
@setting(
    "transaction_seconds",
    SECONDS,
    "How long such a transaction may last.",
    default=Settings.transaction_seconds,
)
@setting("workers", POSITIVE, "How many processes share the address and the work.", default=1)
def serve(workers: int, **values: Any) -> None:
    """Serve the public API until SIGTERM."""
    settings = Settings(**values)
    try:
        if workers == 1:
            _run(settings)
        else:
            run_workers(
                workers, settings.listen, lambda listen, worker: _run(replace(settings, listen=listen, worker=worker))
            )
    except OSError as error:
        raise click.ClickException(str(error)) from None


def _run(settings: Settings) -> None:
    try:
        uvloop.run(server.serve(settings))
    except (Misconfigured, CrosskeyError, UnknownLogLevel, OSError) as error:
        raise click.ClickException(str(error)) from None
