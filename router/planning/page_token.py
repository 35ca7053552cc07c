"""Page tokens: where a list goes on, on each shard. Opaque to callers, good for the same query only.

They are signed with a key of the cluster's, so that what comes back is what a router of the cluster has answered.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

import msgspec

from crosskey import errors

Position = list[str | None]
"""The text of each order column of a row; None for NULL."""

Places = Mapping[int, Position | None]
"""For each shard that may have more rows: the last row that was answered, None if none was yet."""

DIGEST_BYTES = 16
SIGNATURE_BYTES = 16


class _Content(msgspec.Struct, array_like=True, frozen=True):
    query: bytes
    places: dict[int, Position | None]


def query_digest(*parts: bytes) -> bytes:
    """What a token remembers of the query that it is good for."""
    digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def encode(key: bytes, query: bytes, places: Places) -> str:
    """The token; empty if there is nothing to go on with."""
    if not places:
        return ""
    content = msgspec.msgpack.encode(_Content(query, dict(places)))
    return base64.urlsafe_b64encode(_signature(key, content) + content).decode().rstrip("=")


def decode(key: bytes, token: str, query: bytes) -> Places:
    """The places of a token that is not empty. Raises InvalidPageToken if it is damaged, forged or of another query."""
    content = _intact_content(key, token)
    if content.query != query:
        raise errors.InvalidPageToken("the page token is of another query: send the same table, where and order_by")
    return content.places


def _intact_content(key: bytes, token: str) -> _Content:
    try:
        padding = "=" * (-len(token) % 4)
        raw = base64.b64decode(token + padding, altchars=b"-_", validate=True)
        content = raw[SIGNATURE_BYTES:]
        if hmac.compare_digest(_signature(key, content), raw[:SIGNATURE_BYTES]):
            return msgspec.msgpack.decode(content, type=_Content)
    except (ValueError, msgspec.MsgspecError):
        pass  # Answered below, whichever way it is damaged.
    raise errors.InvalidPageToken("the page token is damaged")


def _signature(key: bytes, content: bytes) -> bytes:
    return hmac.digest(key, content, "sha256")[:SIGNATURE_BYTES]
