"""The subcommand that runs a router."""

from dataclasses import replace
from typing import Any

import click
import uvloop

from crosskey.errors import CrosskeyError
from crosskey.router import server
from crosskey.router.access import UnfitAccessFile
from crosskey.router.calls.cluster import Misconfigured
from crosskey.router.settings import Settings
from crosskey.serving.address import ADDRESS
from crosskey.serving.commands import optional_setting, setting
from crosskey.serving.exposure import FILE, Exposure, exposure_options, taken_exposure
from crosskey.serving.logging import UnknownLogLevel
from crosskey.serving.workers import run_workers
from crosskey.tls import Tls

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
@exposure_options
@optional_setting("access", FILE, "The file of rights: who may call, and do what; without it everybody everything.")
@optional_setting(
    "nodes_ca", FILE, "The CA of the nodes' certificates, in PEM; without it nodes are called without TLS."
)
@optional_setting("nodes_cert", FILE, "What nodes are shown instead of --tls-cert.")
@optional_setting("nodes_key", FILE, "Its key.")
def serve(workers: int, **values: Any) -> None:
    """Serve the public API until SIGTERM."""
    exposure = taken_exposure(values["listen"], values)
    if values["access"] is not None and exposure.tls is None:
        raise click.UsageError("--access needs --tls-cert and --tls-key: without TLS nobody can say who they are")
    settings = Settings(exposure=exposure, nodes_tls=_taken_nodes_tls(exposure, values), **values)
    try:
        if workers == 1:
            _run(settings)
        else:
            run_workers(
                workers, settings.listen, lambda listen, worker: _run(replace(settings, listen=listen, worker=worker))
            )
    except OSError as error:
        raise click.ClickException(str(error)) from None


def _taken_nodes_tls(exposure: Exposure, values: dict[str, Any]) -> Tls | None:
    """Who the router is to nodes, by options that are taken out of `values`. Raises click's UsageError."""
    ca, certificate, key = (values.pop(name) for name in ("nodes_ca", "nodes_cert", "nodes_key"))
    if (certificate is None) != (key is None):
        raise click.UsageError("--nodes-cert and --nodes-key go together")
    if ca is None:
        if certificate is not None:
            raise click.UsageError("--nodes-cert and --nodes-key need --nodes-ca")
        return None
    if certificate is None and exposure.tls is not None:
        certificate, key = exposure.tls.certificate, exposure.tls.key
    return Tls(ca, certificate, key)


def _run(settings: Settings) -> None:
    try:
        uvloop.run(server.serve(settings))
    except (Misconfigured, UnfitAccessFile, CrosskeyError, UnknownLogLevel, OSError) as error:
        raise click.ClickException(str(error)) from None
