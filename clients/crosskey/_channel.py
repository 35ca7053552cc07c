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

_DEFAULTS: Options = (
    ("grpc.max_receive_message_length", MAX_RESPONSE_BYTES),
    ("grpc.keepalive_time_ms", KEEPALIVE_TIME_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
    ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_BACKOFF_MS),
    # A database is never reached through a web proxy that happens to be in the environment.
    ("grpc.enable_http_proxy", 0),
)


def with_defaults(options: Options) -> list[tuple[str, str | int]]:
    """The channel options with ours where they say nothing."""
    return list({**dict(_DEFAULTS), **dict(options)}.items())
