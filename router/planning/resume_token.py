"""Resume tokens of a Watch: the position that it has come to on each shard, signed as page tokens are."""

from __future__ import annotations

from collections.abc import Mapping

from crosskey import errors
from crosskey.router.planning import page_token
from crosskey.router.planning.schema_view import SchemaView


def encode(view: SchemaView, positions: Mapping[int, int]) -> str:
    """The token of these positions, one for each shard. It is good for any tables."""
    return page_token.encode(view.token_key, _query(view), {shard: [str(at)] for shard, at in positions.items()})


def decode(view: SchemaView, token: str) -> dict[int, int]:
    """The positions of a token that is not empty. Raises InvalidPageToken if it is damaged, forged or none of these."""
    try:
        places = page_token.decode(view.token_key, token, _query(view))
    except errors.InvalidPageToken as error:
        raise errors.InvalidPageToken(
            "the resume token is damaged, or no Watch of this cluster has answered it"
        ) from error
    return {shard: int(place[0] or 0) for shard, place in places.items() if place is not None}


def _query(view: SchemaView) -> bytes:
    return page_token.query_digest(b"Watch", str(view.shards).encode())
