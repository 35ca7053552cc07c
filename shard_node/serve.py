"""The subcommand that runs a shard node."""

from dataclasses import replace
from typing import Any

import click
import uvloop

from crosskey.errors import CrosskeyError
from crosskey.serving.address import ADDRESS
from crosskey.serving.commands import setting
from crosskey.serving.exposure import Exposure, exposure_options, taken_exposure
from crosskey.serving.logging import UnknownLogLevel
from crosskey.serving.workers import run_workers
from crosskey.shard_node import server
from crosskey.shard_node.postgres.startup import UnfitDatabase
from crosskey.shard_node.setting_types import CLUSTER_NAME, CONNECTION_STRING
from crosskey.shard_node.settings import Settings

COUNT = click.IntRange(min=0)
POSITIVE = click.IntRange(min=1)
SECONDS = click.FloatRange(min=0)


@click.command()
@setting("shard", COUNT, "The number of this node's shard, from 0.")
@setting("shards", POSITIVE, "How many shards the cluster has.")
@setting("cluster", CLUSTER_NAME, "The cluster's name.")
@setting("dsn", CONNECTION_STRING, "The connection string of the shard's database.")
@setting("listen", ADDRESS, "Where to serve.")
@setting("pool_size", POSITIVE, "Connections to PostgreSQL at most, of all workers.", default=Settings.pool_size)
@setting("pool_queue", POSITIVE, "Requests that may wait for a connection.", default=Settings.pool_queue)
@setting("lock_timeout_ms", POSITIVE, "How long a statement waits for a lock.", default=Settings.lock_timeout_ms)
@setting("drain_seconds", SECONDS, "How long requests may go on after SIGTERM.", default=Settings.drain_seconds)
@setting("events_retention_seconds", SECONDS, "How long events are kept.", default=Settings.events_retention_seconds)
@setting("events_max_mib", POSITIVE, "Room that events may take on the disk, in MiB.", default=Settings.events_max_mib)
@setting(
    "events_trim_seconds",
    click.FloatRange(min=0, min_open=True),
    "How often events that need not be kept are deleted.",
    default=Settings.events_trim_seconds,
)
@setting(
    "answers_retention_seconds",
    SECONDS,
    "How long the answers of requests with a request_id are kept.",
    default=Settings.answers_retention_seconds,
)
@setting(
    "answers_forget_seconds",
    click.FloatRange(min=0, min_open=True),
    "How often answers that need not be kept are deleted.",
    default=Settings.answers_forget_seconds,
)
@setting(
    "cleanup_batch_rows",
    POSITIVE,
    "How many rows one transaction cleans up, of a foreign key with @enforce eventual.",
    default=Settings.cleanup_batch_rows,
)
@setting(
    "cleanup_pause_ms",
    COUNT,
    "How long the next such transaction waits.",
    default=Settings.cleanup_pause_ms,
)
@setting(
    "cleanup_late_seconds",
    SECONDS,
    "How old a clean-up is when `crosskey audit` finds fault with it.",
    default=Settings.cleanup_late_seconds,
)
@setting("workers", POSITIVE, "How many processes share the address and the work.", default=1)
@exposure_options
@click.option(
    "--router-name",
    "router_names",
    multiple=True,
    envvar="CROSSKEY_ROUTER_NAMES",
    show_envvar=True,
    help="A name in the certificates of its routers; others of the CA are refused. In the environment: by spaces.",
)
def serve(pool_size: int, workers: int, **values: Any) -> None:
    """Serve one shard until SIGTERM."""
    if pool_size < workers:
        raise click.UsageError(f"{workers} workers need a --pool-size of at least {workers}")
    exposure = taken_exposure(values["listen"], values)
    _check_obedience(exposure, values["router_names"])
    settings = Settings(exposure=exposure, pool_size=pool_size // workers, workers=workers, **values)
    if settings.shard >= settings.shards:
        raise click.UsageError(f"there is no shard {settings.shard} among {settings.shards}: they count from 0")
    try:
        if workers == 1:
            _run(settings)
        else:
            run_workers(
                workers, settings.listen, lambda listen, worker: _run(replace(settings, listen=listen, worker=worker))
            )
    except OSError as error:
        raise click.ClickException(str(error)) from None


def _check_obedience(exposure: Exposure, router_names: tuple[str, ...]) -> None:
    """Raises click's UsageError if a node with TLS would obey everybody."""
    client_ca = exposure.tls is not None and exposure.tls.client_ca is not None
    if exposure.tls is not None and not client_ca:
        raise click.UsageError("a node obeys whoever calls it: with --tls-cert, give --tls-client-ca for its routers")
    if router_names and not client_ca:
        raise click.UsageError("--router-name needs --tls-client-ca")


def _run(settings: Settings) -> None:
    try:
        uvloop.run(server.serve(settings))
    except (UnfitDatabase, CrosskeyError, UnknownLogLevel, OSError) as error:
        raise click.ClickException(str(error)) from None
