"""The settings of a server that say who reaches it: TLS, listening beyond this machine, reflection."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from crosskey.serving.certificates import ServerTls, is_loopback
from crosskey.serving.commands import optional_setting

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@dataclass(frozen=True, kw_only=True)
class Exposure:
    """Who reaches a server. Without `tls` everybody on the way reads and changes what is said."""

    tls: ServerTls | None = None
    reflection: bool = True
    """Whether it answers which services and messages it has."""


def exposure_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the settings to a command that serves; `taken_exposure` makes an Exposure of them."""
    for add in (
        optional_setting("tls_cert", FILE, "The server's certificate, in PEM."),
        optional_setting("tls_key", FILE, "Its key, in PEM."),
        optional_setting("tls_client_ca", FILE, "Connects only clients with a certificate of this CA, in PEM."),
        click.option(
            "--insecure-listen",
            is_flag=True,
            envvar="CROSSKEY_INSECURE_LISTEN",
            show_envvar=True,
            help="Listen beyond this machine without TLS, where everybody reads, changes and asks what they like.",
        ),
        click.option(
            "--reflection/--no-reflection",
            default=True,
            envvar="CROSSKEY_REFLECTION",
            show_envvar=True,
            show_default=True,
            help="Whether to answer which services there are.",
        ),
    ):
        command = add(command)
    return command


def taken_exposure(listen: str, values: dict[str, Any]) -> Exposure:
    """The exposure that the options say, which are taken out of `values`.

    Raises click's UsageError for a certificate without its key, and for an address that others reach without TLS.
    """
    certificate, key, client_ca = (values.pop(name) for name in ("tls_cert", "tls_key", "tls_client_ca"))
    insecure, reflection = values.pop("insecure_listen"), values.pop("reflection")
    if (certificate is None) != (key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if certificate is None and client_ca is not None:
        raise click.UsageError("--tls-client-ca needs --tls-cert and --tls-key")
    if certificate is None and not insecure and not is_loopback(listen):
        raise click.UsageError(
            f"{listen} is reached from beyond this machine: give --tls-cert and --tls-key, or say --insecure-listen"
        )
    tls = None if certificate is None else ServerTls(certificate, key, client_ca)
    return Exposure(tls=tls, reflection=reflection)
