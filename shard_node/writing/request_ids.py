"""The ids of requests, as the triggers that write events find them: in a setting of the transaction."""

from __future__ import annotations

from psycopg import sql

from crosskey.serving.request_id import request_id
from crosskey.shard_node.guards.event_triggers import REQUEST_IDS_SEPARATOR

# PostgreSQL takes no NUL, and the other stands between ids. Callers choose ids as they like.
_LEFT_OUT = str.maketrans("", "", "\0" + REQUEST_IDS_SEPARATOR)


def own_request_id() -> str:
    """The id of the request that the current task works for; empty outside of any."""
    return request_id.get().translate(_LEFT_OUT)


def tell_request_id() -> bytes:
    """SQL that says in a transaction which request it is for."""
    return sql.SQL("SET LOCAL crosskey.request_id = {}; ").format(sql.Literal(own_request_id())).as_bytes()
