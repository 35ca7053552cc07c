"""How clients connect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

Options: TypeAlias = Sequence[tuple[str, str | int]]

MAX_RESPONSE_BYTES = 64 * 1024 * 1024
"""As much as a router answers in one message."""

KEEPALIVE_TIME_MS = 30_000
"""How often an idle connection is probed, so that a dead router is noticed before the next call."""

KEEPALIVE_TIMEOUT_MS = 10_000
"""How long a probe may stay without an answer."""

MAX_RECONNECT_BACKOFF_MS = 2_000
"""How long a router that came back may stay unnoticed; gRPC's own two minutes are for the internet."""

MAX_SESSION_REQUEST_BYTES = 1 << 20
"""A larger request goes by a unary call: on the stream it would hold up all others."""

MAX_PORT = 65_535

_GRPC_SCHEMES = frozenset({"dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds"})

_DEFAULTS: Options = (
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_BACKOFF_MS),
    # A database is never reached through a web proxy that happens to be in the environment.
    ("grpc.enable_http_proxy", 0),
)


def checked_address(address: str) -> str:
    """The address of a router, HOST:PORT or a target of gRPC's with its scheme. Raises ValueError for all else."""
    scheme, colon, _ = address.partition(":")
    if colon and scheme in _GRPC_SCHEMES:
        return address
    host, _, port = address.rpartition(":")
    if host and "/" not in host and port.isdecimal() and 0 < int(port) <= MAX_PORT:
        return address
    raise ValueError(f'{address!r} is no address of a router: say HOST:PORT, such as "127.0.0.1:7400"')


def with_defaults(options: Options) -> list[tuple[str, str | int]]:
    """The channel options with ours where they say nothing."""
    return list({**dict(_DEFAULTS), **dict(options)}.items())
