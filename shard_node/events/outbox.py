"""Reading the outbox."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp

from crosskey import errors
from crosskey.shard_node.postgres.database import Connection
from crosskey.v1.router_pb2 import Event

_READ = b"""
SELECT trimmed.position, e.found, e.position, e.id::text, e.aggregatetype, e.aggregateid, e.type, e.before, e.after,
    (extract(epoch FROM e.time) * 1000000)::bigint, e.xid::text::bigint, coalesce(e.request_id, ''),
    CASE WHEN e.type = 'arrival' THEN (e.payload ->> 'shard')::integer END,
    CASE WHEN e.type = 'arrival' THEN (e.payload ->> 'through')::bigint END
FROM crosskey.event_trimmed AS trimmed LEFT JOIN LATERAL (
    SELECT *, payload -> 'before' #>> '{}' AS before, payload -> 'after' #>> '{}' AS after FROM (
        SELECT *, count(*) OVER () AS found,
            sum(octet_length(payload::text)) OVER (ORDER BY position) - octet_length(payload::text) AS bytes_before
        FROM (
            SELECT * FROM crosskey.event WHERE position > %s AND position <= %s ORDER BY position LIMIT %s
        ) AS first
    ) AS sized
    WHERE bytes_before < %s
) AS e ON true
ORDER BY e.position
"""

_TYPES = {"insert": Event.TYPE_INSERT, "update": Event.TYPE_UPDATE, "delete": Event.TYPE_DELETE}


class Arrival(NamedTuple):
    """At this position rows of a table came from another shard, where their changes have positions up to `through`."""

    position: int
    table: str
    shard: int
    through: int


Entry: TypeAlias = Event | Arrival


class Bounds(NamedTuple):
    """How many events are read at once, and how many bytes their rows have, but for the first of them."""

    events: int
    bytes: int


async def read_outbox(connection: Connection, after: int, up_to: int, bounds: Bounds) -> tuple[list[Entry], bool]:
    """The events behind a position, up to another one that is settled, in order; and whether these are all.

    Raises EventsGone if events behind `after` are deleted, and psycopg.Error.
    """
    cursor = await connection.execute(_READ, (after, up_to, bounds.events, bounds.bytes))
    rows = await cursor.fetchall()
    if rows[0][0] > after:
        raise events_gone()
    if rows[0][1] is None:
        return [], True
    found = rows[0][1]
    return [_entry(*row[2:]) for row in rows], len(rows) == found < bounds.events


def events_gone() -> errors.EventsGone:
    """What is raised for a position that lies too far back, or that the shard has not come to."""
    return errors.EventsGone(
        "events behind the resume token are deleted already, or the shard was restored to an earlier state",
        hint="Read the rows themselves, and watch from now on.",
    )


def size_of(entry: Entry) -> int:
    """How many bytes its rows have."""
    return len(entry.before_json) + len(entry.after_json) if isinstance(entry, Event) else 0


def _entry(
    position: int,
    identifier: str,
    table: str,
    key: str,
    kind: str,
    before: str | None,
    after: str | None,
    micros: int,
    transaction: int,
    request_id: str,
    origin: int | None,
    through: int | None,
) -> Entry:
    if origin is not None and through is not None:
        return Arrival(position, table, origin, through)
    seconds, rest = divmod(micros, 1_000_000)
    return Event(
        id=identifier,
        table=table,
        key=key,
        type=_TYPES[kind],
        before_json=before or "",
        after_json=after or "",
        time=Timestamp(seconds=seconds, nanos=rest * 1000),
        position=position,
        transaction=transaction,
        request_id=request_id,
    )
