"""Installing a schema on a shard: the user's DDL verbatim, then shadows, pins, checks, triggers, spaces of numbers."""

from __future__ import annotations

import asyncio
from collections.abc import Set

import psycopg

from crosskey import errors
from crosskey.catalog.model import Database
from crosskey.catalog.planning import plan_schema
from crosskey.shard_node.guards.foreign_keys import guard_statements
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import is_passing
from crosskey.shard_node.schema.introspection import describe
from crosskey.shard_node.schema.running import RunSchema, refuse_rows, run_schema
from crosskey.shard_node.sql import load

# Any number, other than that of starting.
INSTALLATION_LOCK = 4_853_921_078
# Longer than an installation takes; the lock time-out of requests is too short for it.
_LOCK_TIMEOUT = "10s"
# As planning it may take.
_RUN_SECONDS = 120

# Names of ours are resolved with their schema; the user's DDL finds its own schema first, as on a plain PostgreSQL.
_INSTALLED_STATEMENT = "INSERT INTO crosskey.schema (sql, fingerprint, description) VALUES (%s, %s, %s::json)"


async def install(connection: Connection, schema_sql: str, description: Database, *, shard: int, shards: int) -> None:
    """Installs a schema in the transaction that is open on the connection.

    Raises SchemaRefused if the DDL fails here, or means something else here than where it was inspected; Conflict if
    there is a schema already. Errors of psycopg that say nothing of the schema pass.
    """
    try:
        await _wait_for_others(connection)
        run = await _run(connection, schema_sql, shard)
        if await describe(connection) != description:
            raise errors.SchemaRefused(
                f"the PostgreSQL of shard {shard} reads the schema differently than the one that planned it",
                shard=str(shard),
                hint="Run the same PostgreSQL version on every shard, and keep user tables out of its database.",
            )
        await refuse_rows(connection, description.tables)
        for statement in guard_statements(plan_schema(description), shard, shards):
            await connection.execute(statement, (), prepare=False)
        if shard != 0:
            await _space_sequences(connection, shard, shards)
        await connection.execute(_INSTALLED_STATEMENT, (schema_sql, run.fingerprint, description.to_json().decode()))
    except psycopg.Error as error:
        if is_passing(error):
            raise
        message = error.diag.message_primary or "the connection was lost"
        raise errors.SchemaRefused(f"the schema does not load on shard {shard}: {message}", shard=str(shard)) from error


async def _run(connection: Connection, schema_sql: str, shard: int) -> RunSchema:
    """Runs the user's DDL. Raises SchemaRefused, which names the shard."""
    try:
        async with asyncio.timeout(_RUN_SECONDS):
            return await run_schema(connection, schema_sql)
    except TimeoutError:
        raise errors.SchemaRefused(f"the schema takes longer than {_RUN_SECONDS} s on shard {shard}") from None
    except errors.SchemaRefused as refused:
        refused.metadata["shard"] = str(shard)
        raise errors.SchemaRefused(
            f"the schema does not load on shard {shard}: {refused.message}", **refused.metadata
        ) from refused


async def _wait_for_others(connection: Connection) -> None:
    """Returns once nobody else installs a schema here, and keeps others waiting until the transaction ends."""
    await connection.execute("SELECT set_config('lock_timeout', %s, true)", (_LOCK_TIMEOUT,))
    await connection.execute("SELECT pg_advisory_xact_lock(%s)", (INSTALLATION_LOCK,))
    await connection.execute("RESET lock_timeout")
    if (await connection.execute("SELECT FROM crosskey.schema")).rowcount:
        raise errors.Conflict("another client has installed a schema meanwhile")


async def _space_sequences(connection: Connection, shard: int, shards: int) -> None:
    """Sees to it that what this shard draws from a sequence by itself is drawn nowhere else."""
    for statement in await sequence_spaces(connection, shard, shards):
        await connection.execute(statement.encode(), prepare=False)


async def sequence_spaces(
    connection: Connection, shard: int, shards: int, names: Set[str] | None = None
) -> tuple[str, ...]:
    """The statements for it, of all sequences or of those `schema.name`s."""
    wanted = None if names is None else sorted(names)
    parameters = {"shard": shard, "shards": shards, "names": wanted}
    cursor = await connection.execute(load("sequence_spaces").encode(), parameters)
    return tuple(statement for (statement,) in await cursor.fetchall())
