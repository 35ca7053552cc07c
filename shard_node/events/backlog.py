"""What a shard's outbox holds, for operators."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from crosskey.shard_node.postgres.database import Connection
from crosskey.v1.admin_pb2 import OutboxDescription

COUNTED = 100_000
"""Events that are counted one by one; of more, their number is estimated from the table's statistics."""

_DESCRIBE = b"""
SELECT counted.events, (SELECT n_live_tup FROM pg_stat_user_tables WHERE relid = 'crosskey.event'::regclass),
    pg_total_relation_size('crosskey.event'),
    (SELECT (extract(epoch FROM time) * 1000000)::bigint FROM crosskey.event ORDER BY position LIMIT 1),
    CASE WHEN is_called THEN last_value ELSE 0 END, trimmed.position, open.ms, open.gid
FROM crosskey.event_position_seq, crosskey.event_trimmed AS trimmed,
    (SELECT count(*) AS events FROM (SELECT FROM crosskey.event LIMIT %s) AS first) AS counted,
    (
        SELECT coalesce(max(extract(epoch FROM clock_timestamp() - since)) * 1000, 0)::bigint AS ms,
            coalesce((array_agg(gid ORDER BY since) FILTER (WHERE gid <> ''))[1], '') AS gid
        FROM (
            SELECT xact_start AS since, '' AS gid FROM pg_stat_activity
            WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
            UNION ALL SELECT prepared, gid FROM pg_prepared_xacts
        ) AS transaction
    ) AS open
"""


async def describe_outbox(connection: Connection, shard: int) -> OutboxDescription:
    """How many events there are, since when, and since when something holds them back. Raises psycopg.Error."""
    cursor = await connection.execute(_DESCRIBE, (COUNTED,))
    row = await cursor.fetchone()
    assert row is not None, "each part of the query is one row"
    counted, estimated, size, oldest, drawn, trimmed, held_back_ms, held_back_by = row
    return OutboxDescription(
        shard=shard,
        events=counted if counted < COUNTED else max(counted, estimated or 0),
        bytes=size,
        oldest=None if oldest is None else Timestamp(seconds=oldest // 1_000_000, nanos=oldest % 1_000_000 * 1000),
        drawn=drawn,
        trimmed=trimmed,
        held_back_ms=held_back_ms,
        held_back_by=held_back_by,
    )
