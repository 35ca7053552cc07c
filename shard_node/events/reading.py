"""The events of a shard as routers ask for them."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import datetime

import psycopg
from google.protobuf.timestamp_pb2 import Timestamp

from crosskey import errors
from crosskey.internal.v1 import events_pb2 as proto
from crosskey.shard_node.events.feed import Batch, EventFeed
from crosskey.shard_node.events.filtering import wanted_events
from crosskey.shard_node.events.outbox import Arrival, Bounds, Entry
from crosskey.shard_node.postgres.postgres_errors import naming_table
from crosskey.shard_node.schema.shard import Shard
from crosskey.shard_node.schema.shard_schema import ShardSchema
from crosskey.shard_node.writing.execution import tagged
from crosskey.v1.router_pb2 import Event

MAX_EVENTS = 10_000
MAX_BYTES = 16 * 1024 * 1024
"""Of an answer, whatever a router asks for; the first event is answered however large it is."""


async def read_events(shard: Shard, feed: EventFeed, request: proto.ReadEventsRequest) -> proto.ReadEventsResponse:
    """Answers the next events, or where the shard is now.

    Raises UnknownTable, SchemaNotLoaded, EventsGone, and what conditions come to.
    """
    async with shard.database.connection() as connection:
        schema = await shard.schema(connection)
    if request.check:
        await _wanted(shard, schema, request.tables, ())
    wait_seconds = request.wait_ms / 1000
    if not request.HasField("after"):
        return _response((), await feed.now(wait_seconds))
    bounds = Bounds(min(request.limit, MAX_EVENTS) or MAX_EVENTS, min(request.max_bytes, MAX_BYTES) or MAX_BYTES)
    batch = _up_to_arrival(await feed.read(request.after, bounds, wait_seconds), _names(schema, request.tables))
    events = [entry for entry in batch.entries if isinstance(entry, Event)]
    response = _response(await _wanted(shard, schema, request.tables, events), batch)
    for entry in batch.entries:
        if isinstance(entry, Arrival):
            response.behind.add(shard=entry.shard, through=entry.through)
    return response


def _names(schema: ShardSchema, tables: Sequence[proto.WatchedTable]) -> set[str]:
    """The tables as events name them. Raises UnknownTable."""
    return {str(schema.table(watched.table).name) for watched in tables}


def _up_to_arrival(batch: Batch, tables: Set[str]) -> Batch:
    """The first part of a batch: what follows an arrival of rows of the tables is not to be given with what is before.

    Arrivals of other tables are left out.
    """
    entries: list[Entry] = []
    is_behind_event = False
    for entry in batch.entries:
        if isinstance(entry, Event):
            is_behind_event = True
        elif entry.table not in tables:
            continue
        elif is_behind_event:
            return Batch(entries, entries[-1].position, None, entry.position - 1)
        entries.append(entry)
    return replace(batch, entries=entries)


async def _wanted(
    shard: Shard, schema: ShardSchema, tables: Sequence[proto.WatchedTable], events: Sequence[Event]
) -> list[Event]:
    """The events that are asked for, in order."""
    names = _names(schema, [watched for watched in tables if not watched.where])
    places = {place for place, event in enumerate(events) if event.table in names}
    compared = [watched for watched in tables if watched.where]
    if compared:
        async with shard.database.connection() as connection:
            for watched in compared:
                table = schema.table(watched.table)
                try:
                    places |= await wanted_events(connection, table, watched, events)
                except (psycopg.Error, errors.CrosskeyError) as error:
                    told = tagged(naming_table(error, table.name), "")
                    if told is error:
                        raise
                    raise told from error
    return [events[place] for place in sorted(places)]


def _response(events: Sequence[Event], batch: Batch) -> proto.ReadEventsResponse:
    resolved = None if batch.resolved is None else _timestamp(batch.resolved)
    return proto.ReadEventsResponse(events=events, position=batch.position, resolved=resolved, through=batch.through)


def _timestamp(time: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(time)
    return timestamp
