"""What every command that talks to a router shares: which one, JSON in and out, errors in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import msgspec
from google.protobuf.json_format import MessageToDict, Parse, ParseError
from google.protobuf.message import Message

from crosskey import Client, CrosskeyError, ShardUnavailable
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


OBJECT = JsonType(dict[str, Any])
OBJECTS = JsonType(dict[str, Any] | list[dict[str, Any]])
"""One object or many."""


def router_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --router and --timeout to a command."""
    command = setting("timeout", click.FLOAT, "Seconds that a call may take.", default=DEFAULT_TIMEOUT)(command)
    return router_option(command)


def router_option(command: Callable[..., None]) -> Callable[..., None]:
    """Adds --router to a command."""
    return setting("router", ADDRESS, "The router to ask.", default=DEFAULT_ROUTER)(command)


@contextmanager
def connected(router: str, timeout: float) -> Iterator[Client]:
    """A client of the router; its errors, and values that cannot be sent, end the command with exit code 1."""
    with Client(router, timeout=timeout) as client, errors_of_router(router):
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
