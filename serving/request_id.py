"""The id that ties the log lines of one request together, over all servers that it passes."""

from __future__ import annotations

import random
from collections.abc import Iterable
from contextvars import ContextVar

import structlog

METADATA_KEY = "crosskey-request-id"
"""The metadata key that carries the id from server to server; callers may set it too."""

MAX_LENGTH = 64
"""A caller's own id may be a trace id or two UUIDs, but not fill the log."""

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request that the current task works for; empty outside of any."""


def adopt_or_mint(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """Takes the request id from a call's metadata, or makes one, and binds it to the task and its log lines."""
    return bind(_sent_in(metadata))


def bind(given: str) -> str:
    """Takes a request id that was sent, or makes one if it is empty, and binds it to the task and its log lines."""
    value = given[:MAX_LENGTH] or f"{random.getrandbits(64):016x}"
    request_id.set(value)
    structlog.contextvars.bind_contextvars(request_id=value)
    return value


def metadata_to_pass_on() -> tuple[tuple[str, str], ...]:
    """The metadata for calls to other servers on behalf of the current request."""
    value = request_id.get()
    return ((METADATA_KEY, value),) if value else ()


def _sent_in(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    for key, value in metadata:
        if key == METADATA_KEY and isinstance(value, str):
            return value
    return ""
