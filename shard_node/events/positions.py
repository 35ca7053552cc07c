"""How far consumers of events have come, and which process of each leads: kept on the first shard.

A lease, by the clock of PostgreSQL. Who holds one may keep a position; who has lost it to another process cannot,
however late it notices.
"""

from __future__ import annotations

from crosskey import errors
from crosskey.shard_node.postgres.database import Connection
from crosskey.v1.admin_pb2 import HoldPositionRequest, HoldPositionResponse

MAX_NAME = 200
"""Characters of the name of a consumer, and of a process."""

MAX_LEASE_MS = 3_600_000

_HOLD = b"""
INSERT INTO crosskey.consumer AS c (name, holder, held_until)
VALUES (%(consumer)s, %(holder)s, clock_timestamp() + make_interval(secs => %(lease)s))
ON CONFLICT (name) DO UPDATE SET holder = EXCLUDED.holder, held_until = EXCLUDED.held_until,
    resume_token = CASE WHEN c.holder = EXCLUDED.holder AND %(token)s <> '' THEN %(token)s ELSE c.resume_token END
WHERE c.holder = EXCLUDED.holder OR c.held_until < clock_timestamp()
RETURNING holder, resume_token
"""
_LOOK = b"""
SELECT CASE WHEN held_until < clock_timestamp() THEN '' ELSE holder END, resume_token
FROM crosskey.consumer WHERE name = %(consumer)s
"""


async def hold_position(connection: Connection, asked: HoldPositionRequest) -> HoldPositionResponse:
    """Takes or prolongs the lease, and keeps the position. Raises InvalidRequest and psycopg.Error."""
    for name in (asked.consumer, asked.holder):
        if not 0 < len(name) <= MAX_NAME or "\0" in name:
            raise errors.InvalidRequest(f"consumer and holder are names of 1 to {MAX_NAME} characters")
    if asked.lease_ms > MAX_LEASE_MS:
        raise errors.InvalidRequest(f"a lease is for {MAX_LEASE_MS} ms at most")
    given = {
        "consumer": asked.consumer,
        "holder": asked.holder,
        "lease": asked.lease_ms / 1000,
        "token": asked.resume_token,
    }
    row = await (await connection.execute(_HOLD, given)).fetchone()
    if row is not None:
        return HoldPositionResponse(held=asked.lease_ms > 0, holder=row[0], resume_token=row[1])
    row = await (await connection.execute(_LOOK, given)).fetchone()
    holder, token = row or ("", "")
    return HoldPositionResponse(holder=holder, resume_token=token)
