"""What is asked of a shard for a migration: planned, its steps taken, and noted in the journal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import msgspec

from crosskey.catalog.changes.steps import Step
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.internal.v1 import transactions_pb2
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.schema.flipping import fence
from crosskey.shard_node.schema.migration_planning import (
    PlannedMigration,
    Wish,
    name_as_sql,
    plan_migration,
    tables_with_rows,
)
from crosskey.shard_node.schema.shard import Shard
from crosskey.shard_node.schema.shard_schema import ShardSchema, no_schema
from crosskey.v1 import admin_pb2

_PHASES = {
    "before": admin_pb2.MigrationStep.PHASE_BEFORE,
    "flip": admin_pb2.MigrationStep.PHASE_FLIP,
    "after": admin_pb2.MigrationStep.PHASE_AFTER,
}


async def plan_on_shard(
    shard: Shard, dsn: str, connection: Connection, asked: admin_pb2.Migration
) -> proto.PlanShardMigrationResponse:
    """Plans a migration. Raises SchemaRefused, SchemaNotLoaded, and NotSupported if the shard's role has no planner."""
    schema = await shard.latest_schema(connection)
    if schema is None:
        raise no_schema()
    [(schema_sql,)] = await (await connection.execute("SELECT sql FROM crosskey.schema")).fetchall()
    wish = Wish(asked.sql, asked.on_top, asked.renames)
    planned = await plan_migration(dsn, schema, schema_sql, wish, shard.identity)
    response = proto.PlanShardMigrationResponse(
        epoch=schema.epoch,
        steps=map(_to_step, planned.steps),
        skipped=[admin_pb2.SkippedStatement(**msgspec.structs.asdict(each)) for each in planned.run.skipped],
        refusals=await _refusals(connection, schema, planned, asked),
        changes=bool(planned.steps) or planned.run.fingerprint != schema.fingerprint,
    )
    response.flip.CopyFrom(_to_flip(schema, planned))
    return response


def _to_flip(schema: ShardSchema, planned: PlannedMigration) -> transactions_pb2.FlipSchema:
    locked = [name_as_sql(schema.table(name).name) for name in planned.changed]
    # Before the steps, so that a table still has its old name.
    fences = [fence(name, schema.epoch + 1) for name in locked]
    steps = [step.sql for step in planned.steps if step.phase == "flip"]
    new_fences = [fence(name_as_sql(name), schema.epoch + 1) for name in planned.created]
    return transactions_pb2.FlipSchema(
        epoch=schema.epoch,
        locked=locked,
        statements=[*fences, *steps, *new_fences, *planned.spaces],
        sql=planned.sql,
        fingerprint=planned.run.fingerprint,
        description_json=planned.description.to_json(),
        pieces_json=msgspec.json.encode(list(planned.pieces.values())),
        must_be_empty=_must_be_empty(schema, planned),
    )


def _must_be_empty(schema: ShardSchema, planned: PlannedMigration) -> Iterator[transactions_pb2.MustBeEmpty]:
    """The tables that must have no rows when the schema changes: what was seen when it was planned may have changed."""
    there = {table.name.qualified: table.name for table in schema.database.tables}
    for name, why in planned.need_empty:
        if name in there:
            yield transactions_pb2.MustBeEmpty(table=name_as_sql(there[name]), why=why)
    for table in planned.clean_ups:
        why = "a clean-up is under way of a key that would stop being eventual: `crosskey cleanups` shows it"
        yield transactions_pb2.MustBeEmpty(table=name_as_sql(table), why=why, passing=True)


async def _refusals(
    connection: Connection, schema: ShardSchema, planned: PlannedMigration, asked: admin_pb2.Migration
) -> list[str]:
    """Why it is refused as it was asked for: a sentence each."""
    filled = [each async for each in _filled(connection, schema, planned, asked)]
    return [*_destructive(planned, asked), *filled, *await _taken(connection, planned)]


def _destructive(planned: PlannedMigration, asked: admin_pb2.Migration) -> Iterator[str]:
    if not asked.allow_destructive:
        for step in planned.steps:
            if step.destructive:
                yield f"{step.sql}: it loses what is there; say --allow-destructive, or --rename if it has another name"


async def _filled(
    connection: Connection, schema: ShardSchema, planned: PlannedMigration, asked: admin_pb2.Migration
) -> AsyncIterator[str]:
    rewritten = [(step.table, step.sql) for step in planned.steps if step.rewrites and not asked.allow_rewrites]
    names = {table.name.qualified for table in schema.database.tables}
    touched = {table for table, _ in (*planned.need_empty, *rewritten)} & names
    filled = await tables_with_rows(connection, schema, sorted(touched))
    for table, why in planned.need_empty:
        if table in filled:
            yield why
    for table, sql in rewritten:
        if table in filled:
            yield f"{sql}: it rewrites {table}, which nobody can use meanwhile; say --allow-rewrites"


async def _taken(connection: Connection, planned: PlannedMigration) -> list[str]:
    """Refuses what would meet another relation of its name, which somebody has made by hand."""
    refusals = []
    async with connection.transaction(force_rollback=True):
        await connection.execute(b"SET LOCAL search_path TO pg_catalog")
        for step in planned.steps:
            if step.taken:
                [(taken,)] = await (await connection.execute(step.taken.encode(), prepare=False)).fetchall()
                if taken:
                    refusals.append(f"{step.sql}: the shard has something else of the name; see `crosskey audit`")
    return refusals


def _to_step(step: Step) -> proto.ShardMigrationStep:
    return proto.ShardMigrationStep(
        step=admin_pb2.MigrationStep(
            phase=_PHASES[step.phase],
            what=step.what,
            table=step.table,
            sql=step.sql,
            lock=step.lock,
            destructive=step.destructive,
            rewrites=step.rewrites,
            undo=step.undo,
        ),
        ours=step.ours,
        done=step.done,
        clear=step.clear,
    )
