"""In what this shard differs from the schema in force: parts that are missing, changed, switched off or too many.

What there should be is not remembered but made anew: the schema and its guards are installed in a scratch database on
the same server, and the two are compared in PostgreSQL's own words.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from crosskey.shard_node import sql as sql_files
from crosskey.shard_node.guards.foreign_keys import guard_statements
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.startup import ShardIdentity
from crosskey.shard_node.schema.running import run_trusted
from crosskey.shard_node.schema.scratch import scratch_database
from crosskey.shard_node.schema.shard_schema import ShardSchema


class GuardPart(msgspec.Struct, frozen=True):
    """A part of a schema, such as a column or a trigger; `table` is `schema.name`, empty for what belongs to none."""

    kind: str
    table: str
    name: str
    state: str

    @property
    def is_guard(self) -> bool:
        """Whether keys depend on it: a constraint, a trigger, and whatever is Crosskey's own."""
        return self.kind in ("constraint", "trigger") or self.name.startswith("crosskey.")

    @property
    def is_ours(self) -> bool:
        """Whether it, or the table, is in a schema of Crosskey's."""
        return (self.table or self.name).startswith("crosskey")


class Difference(msgspec.Struct, frozen=True):
    """A part as it should be and as it was found; one of the two is None if it should not be there, or is not."""

    wanted: GuardPart | None
    found: GuardPart | None

    @property
    def part(self) -> GuardPart:
        """Which part it is about."""
        part = self.wanted or self.found
        assert part is not None, "a difference is about a part"
        return part


async def find_drift(
    connection: Connection, schema: ShardSchema, identity: ShardIdentity, dsn: str
) -> list[Difference]:
    """In what this shard, which is at `dsn`, differs from an installation of the schema in force.

    Raises psycopg.Error, and NotSupported if the shard's role has no planner.
    """
    found = await _parts(connection)
    wanted = await _wanted_parts(connection, schema, identity, dsn)
    return list(_differences(wanted, found))


def _differences(wanted: list[GuardPart], found: list[GuardPart]) -> Iterator[Difference]:
    by_name = {(part.kind, part.table, part.name): part for part in found}
    for part in wanted:
        there = by_name.pop((part.kind, part.table, part.name), None)
        if there is None or there.state != part.state:
            yield Difference(part, there)
    tables = {part.table for part in wanted}
    for part in by_name.values():
        # A table that is too many is told once, without its parts; what else is in schemas of ours is harmless.
        if not part.is_ours and (part.kind == "table" or not part.table or part.table in tables):
            yield Difference(None, part)


async def _wanted_parts(
    connection: Connection, schema: ShardSchema, identity: ShardIdentity, dsn: str
) -> list[GuardPart]:
    [(schema_sql,)] = await (await connection.execute("SELECT sql FROM crosskey.schema")).fetchall()
    async with scratch_database(dsn) as scratch, await scratch.connect() as planner, planner.transaction():
        for text in (sql_files.load("bootstrap"), sql_files.load("slots")):
            await planner.execute(text.encode(), prepare=False)
        await run_trusted(planner, schema_sql)
        for statement in guard_statements(schema.plan, identity.shard, identity.shards):
            await planner.execute(statement.as_bytes(), (), prepare=False)
        return await _parts(planner)


async def _parts(connection: Connection) -> list[GuardPart]:
    # Rolled back, so that the search path is as it was.
    async with connection.transaction(force_rollback=True):
        await connection.execute(b"SET LOCAL search_path TO pg_catalog")
        parts = []
        for name in ("guards", "objects"):
            cursor = await connection.execute(sql_files.load(name).encode(), prepare=False)
            parts += [GuardPart(*row) for row in await cursor.fetchall()]
        return parts
