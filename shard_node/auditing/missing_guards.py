"""Which constraints, triggers and functions of the schema in force are missing, changed or switched off on this shard.

What there should be is not remembered but made anew: the schema and its guards are installed in a scratch database on
the same server, and the two are compared in PostgreSQL's own words.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from shard_node import sql as sql_files
from shard_node.guards.foreign_keys import guard_statements
from shard_node.postgres.database import Connection
from shard_node.postgres.startup import ShardIdentity
from shard_node.schema.running import run_trusted
from shard_node.schema.scratch import scratch_database
from shard_node.schema.shard_schema import ShardSchema


class Guard(msgspec.Struct, frozen=True):
    """A constraint, trigger or function; `table` is `schema.name`, empty for a function."""

    kind: str
    table: str
    name: str
    state: str


class MissingGuard(msgspec.Struct, frozen=True):
    """A guard as it should be, and the state in which it was found; None if it was not."""

    wanted: Guard
    found: str | None


async def find_missing_guards(
    connection: Connection, schema: ShardSchema, identity: ShardIdentity, dsn: str
) -> list[MissingGuard]:
    """What an installation of the schema makes and this shard, which is at `dsn`, has not.

    Raises psycopg.Error, and NotSupported if the shard's role has no planner.
    """
    found = await _guards(connection)
    wanted = await _wanted_guards(connection, schema, identity, dsn)
    return list(_differences(wanted, found))


def _differences(wanted: list[Guard], found: list[Guard]) -> Iterator[MissingGuard]:
    states = {(guard.kind, guard.table, guard.name): guard.state for guard in found}
    for guard in wanted:
        state = states.get((guard.kind, guard.table, guard.name))
        if state != guard.state:
            yield MissingGuard(guard, state)


async def _wanted_guards(connection: Connection, schema: ShardSchema, identity: ShardIdentity, dsn: str) -> list[Guard]:
    [(schema_sql,)] = await (await connection.execute("SELECT sql FROM crosskey.schema")).fetchall()
    async with scratch_database(dsn) as scratch, await scratch.connect() as planner, planner.transaction():
        for text in (sql_files.load("bootstrap"), sql_files.load("slots")):
            await planner.execute(text.encode(), prepare=False)
        await run_trusted(planner, schema_sql, stands_for=scratch.stands_for)
        for statement in guard_statements(schema.plan, identity.shard, identity.shards):
            await planner.execute(statement.as_bytes(), (), prepare=False)
        return await _guards(planner)


async def _guards(connection: Connection) -> list[Guard]:
    # Rolled back, so that the search path is as it was.
    async with connection.transaction(force_rollback=True):
        await connection.execute(b"SET LOCAL search_path TO pg_catalog")
        cursor = await connection.execute(sql_files.load("guards").encode(), prepare=False)
        return [Guard(*row) for row in await cursor.fetchall()]
