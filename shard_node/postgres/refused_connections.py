"""Connections to PostgreSQL that could not be made: why not, as far as it can be told."""

from __future__ import annotations

import psycopg

from crosskey import errors

NO_ROOM = (
    "the shard's PostgreSQL takes no more connections: raise its max_connections, or the limit of the node's role or"
    " database, or give the nodes a smaller --pool-size"
)
NOT_REACHED = "the shard's PostgreSQL cannot be reached"

# libpq tells no SQLSTATE of a connection that was refused, only PostgreSQL's words: these are those of 53300.
_TOO_MANY = ("too many clients already", "connection slots are reserved", "too many connections for")


def not_connected(error: psycopg.OperationalError) -> errors.ShardUnavailable | errors.Overloaded:
    """What to raise for a connection that was lost, or not made. PostgreSQL's own words may name addresses."""
    if any(text in str(error) for text in _TOO_MANY):
        return errors.Overloaded(NO_ROOM)
    return errors.ShardUnavailable(NOT_REACHED)
