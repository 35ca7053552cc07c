"""Whether a connection leads to the server that the shard lives on, and not to a restored copy or a promoted standby.

Either may lack what was prepared or committed last, while other shards rely on it.
"""

from __future__ import annotations

from typing import Any

import psycopg

REPLACED = (
    "the shard's PostgreSQL was restored, or replaced by a standby, and may lack transactions: accept it with"
    " `python -m crosskey.shard_node accept`, and then audit the cluster"
)

_LEADS_HOME = """
SELECT (s.system_identifier, s.timeline) = (server.system_identifier, server.timeline)
FROM crosskey.shard s, crosskey.server
"""


async def leads_home(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Whether it does. Also False where it cannot be told: on a standby, and in a database that is no shard."""
    try:
        cursor = await connection.execute(_LEADS_HOME)
        [(leads,)] = await cursor.fetchall()
    except psycopg.DatabaseError as error:
        if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
            raise
        return False
    return bool(leads)
