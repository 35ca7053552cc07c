"""Whether PostgreSQL lets a node have the connections that it may need, all at once."""

from __future__ import annotations

import psycopg

from crosskey import errors
from crosskey.shard_node.postgres.database import FINISHING_POOL_SIZE, Connection
from crosskey.shard_node.postgres.postgres_errors import from_postgres
from crosskey.shard_node.postgres.startup import UnfitDatabase

# Outside of its pools: one that finds out why there is no connection, one that asks for events, and those of a plan or
# audit, which makes a scratch database, works in it and drops it.
BESIDE_POOLS = 5

# What is kept for superusers, and from 16 on for whoever has a role for that, a node does not get. A limit of -1 is
# none.
_LIMITS = """
SELECT current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
       - coalesce(current_setting('reserved_connections', true), '0')::integer,
       nullif(rolconnlimit, -1), nullif(datconnlimit, -1), rolname, datname
FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
"""


async def check_connections(connection: Connection, pool_size: int, workers: int = 1) -> None:
    """Raises UnfitDatabase if the server, the role or the database allows fewer connections than the node may need.

    `pool_size` is of each of the workers.
    What other nodes and programs take of them is not known; they are told OVERLOADED then. Raises ShardUnavailable.
    """
    try:
        cursor = await connection.execute(_LIMITS)
        [(server, role_limit, database_limit, role, database)] = await cursor.fetchall()
    except psycopg.Error as error:
        if isinstance(from_postgres(error), errors.ShardUnavailable):
            raise errors.ShardUnavailable("the shard's PostgreSQL went away") from error
        raise
    needed = workers * (pool_size + FINISHING_POOL_SIZE + BESIDE_POOLS)
    flags = f"--pool-size {workers * pool_size}" + (f" and --workers {workers}" if workers > 1 else "")
    limits = {
        "max_connections, without what is reserved,": server,
        f'the connection limit of the role "{role}"': role_limit,
        f'the connection limit of the database "{database}"': database_limit,
    }
    for name, limit in limits.items():
        if limit is not None and limit < needed:
            raise UnfitDatabase(
                f"{name} is {limit}, and a node with {flags} needs up to {needed} connections: raise it"
                " by what is missing, for each node of this server, or give the node a smaller --pool-size"
            )
