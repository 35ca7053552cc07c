"""Page tokens: where a list goes on, on each shard. Opaque to callers, good for the same query only."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping

import msgspec

from crosskey import errors

Position = list[str | None]
"""The text of each order column of a row; None for NULL."""

Places = Mapping[int, Position | None]
"""For each shard that may have more rows: the last row that was answered, None if none was yet."""

DIGEST_BYTES = 16
_CHECKSUM_BYTES = 8


class _Content(msgspec.Struct, array_like=True, frozen=True):
    query: bytes
    places: dict[int, Position | None]


def query_digest(*parts: bytes) -> bytes:
    """What a token remembers of the query that it is good for."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def encode(query: bytes, places: Places) -> str:
    """The token; empty if there is nothing to go on with."""
    if not places:
        return ""
    content = msgspec.msgpack.encode(_Content(query, dict(places)))
    return base64.urlsafe_b64encode(_checksum(content) + content).decode().rstrip("=")


def decode(token: str, query: bytes) -> Places:
    """The places of a token that is not empty. Raises InvalidPageToken if it is damaged or of another query."""
    content = _intact_content(token)
    if content.query != query:
        raise errors.InvalidPageToken("the page token is of another query: send the same table, where and order_by")
    return content.places


def _intact_content(token: str) -> _Content:
    try:
        padding = "=" * (-len(token) % 4)
        raw = base64.b64decode(token + padding, altchars=b"-_", validate=True)
        content = raw[_CHECKSUM_BYTES:]
        if _checksum(content) == raw[:_CHECKSUM_BYTES]:
            return msgspec.msgpack.decode(content, type=_Content)
    except (ValueError, msgspec.MsgspecError):
        pass  # Answered below, whichever way it is damaged.
    raise errors.InvalidPageToken("the page token is damaged")


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest()
