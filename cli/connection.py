"""What every command that talks to a router shares: which one, JSON in and out, errors in one line."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from google.protobuf.json_format import MessageToDict, Parse, ParseError
from google.protobuf.message import Message

from crosskey import Client, CrosskeyError, ShardUnavailable, Tls
from crosskey.client import DEFAULT_TIMEOUT
from crosskey.exact_json import encode, exact_number
from crosskey.serving.address import ADDRESS
from crosskey.serving.commands import setting

Parsed = TypeVar("Parsed", bound=Message)

DEFAULT_ROUTER = "127.0.0.1:7400"

_NEVER_CONNECTED = "failed to connect to all addresses"


class JsonType(click.ParamType[Any]):
    """A click type that reads JSON from the argument, or from standard input for `-`."""

    name = "json"

    def __init__(self, shape: Any) -> None:
        self._decoder = msgspec.json.Decoder(shape, float_hook=exact_number)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns what the JSON says; click's BadParameter if it is none, or of another shape."""
        text = sys.stdin.buffer.read() if value == "-" else str(value).encode()
        try:
            return self._decoder.decode(text)
        except msgspec.DecodeError as error:
            self.fail(str(error), param, ctx)
        except RecursionError:
            self.fail("it nests too deep to be read", param, ctx)


class _Seconds(click.FloatRange):
    """A click type of times: more than 0 and at most some weeks, and no NaN, which is in no range and out of none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Returns the number; click's BadParameter if it is no such time."""
        seconds = super().convert(value, param, ctx)
        if math.isnan(seconds):
            self.fail("nan is no number of seconds", param, ctx)
        return seconds


SECONDS = _Seconds(min=0, min_open=True, max=30 * 24 * 3600)
"""A time in seconds, on the command line."""

OBJECT = JsonType(dict[str, Any])
OBJECTS = JsonType(dict[str, Any] | list[dict[str, Any]])
"""One object or many."""


def router_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --router and --timeout to a command."""
    command = setting("timeout", SECONDS, "Seconds that a call may take.", default=DEFAULT_TIMEOUT)(command)
    return router_option(command)


def router_option(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --router to a command, and the options that `router_client` asks for: who one is there, and by which CA."""
    for name, help in (
        ("ca", "Speak TLS; the router's certificate is of this CA, in PEM."),
        ("client_cert", "The certificate to show to the router, in PEM."),
        ("client_key", "Its key, in PEM."),
        ("token_file", "A file with the token to show to the router."),
    ):
        command = click.option(
            "--" + name.replace("_", "-"),
            name,
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            envvar="CROSSKEY_" + name.upper(),
            show_envvar=True,
            help=help,
            expose_value=False,
            callback=_remember,
        )(command)
    return setting("router", ADDRESS, "The router to ask.", default=DEFAULT_ROUTER)(command)


def _remember(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    ctx.meta[f"{__name__}.{param.name}"] = value


def _told(name: str) -> Path | None:
    file: Path | None = click.get_current_context().meta.get(f"{__name__}.{name}")
    return file


def router_identity() -> tuple[Tls | None, str | None]:
    """How the router is known, and the token for it, by the options of the command that runs.

    Raises click's UsageError if they do not go together.
    """
    ca, certificate, key, token_file = (_told(name) for name in ("ca", "client_cert", "client_key", "token_file"))
    if ca is None:
        if certificate or key or token_file:
            raise click.UsageError(
                "--client-cert, --client-key and --token-file need --ca: they are only shown over TLS"
            )
        return None, None
    if (certificate is None) != (key is None):
        raise click.UsageError("--client-cert and --client-key go together")
    return Tls(ca, certificate, key), None if token_file is None else token_file.read_text().strip()


def router_client(router: str, timeout: float) -> Client:
    """A client of the router, by the options of the command that runs. Raises click's UsageError."""
    tls, token = router_identity()
    try:
        return Client(router, timeout=timeout, tls=tls, token=token)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


@contextmanager
def connected(router: str, timeout: float) -> Iterator[Client]:
    """A client of the router; its errors, and values that cannot be sent, end the command with exit code 1."""
    with router_client(router, timeout) as client, errors_of_router(router):
        try:
            yield client
        except TypeError as error:
            raise click.ClickException(str(error)) from error


@contextmanager
def errors_of_router(router: str) -> Iterator[None]:
    """Errors of the router end the command with exit code 1."""
    try:
        yield
    except CrosskeyError as error:
        raise click.ClickException(_nobody_at(router) if _is_unreachable(error) else _in_one_line(error)) from error


def parse_message(value: Any, target: Parsed) -> Parsed:
    """Fills a message with what JSON says. Raises click's UsageError if it is no such message."""
    try:
        return Parse(encode(value), target)
    except (ParseError, AttributeError) as error:
        raise click.UsageError(f"not a {type(target).__name__}: {error}") from error


def print_json(value: Any) -> None:
    """Prints a value as one line of JSON."""
    click.echo(encode(value))


def print_message(message: Message) -> None:
    """Prints a message as indented JSON with all its fields, named as in the protos."""
    fields = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    click.echo(msgspec.json.format(msgspec.json.encode(fields)))


def _is_unreachable(error: CrosskeyError) -> bool:
    """Whether gRPC itself says that there is no server."""
    return isinstance(error, ShardUnavailable) and error.message.startswith(_NEVER_CONNECTED)


def _nobody_at(router: str) -> str:
    return f"no router answers at {router}: start one with `crosskey up`, or name another with --router"


def _in_one_line(error: CrosskeyError) -> str:
    where = ", ".join(f"{key}={value}" for key, value in error.metadata.items())
    text = f"{error.reason_name}: {error.message}" + (f" ({where})" if where else "")
    return " ".join(text.split())
