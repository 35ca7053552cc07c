"""What a migration does on this shard: both schemas are compared, and the steps tried, in a scratch database.

What the steps come to is compared with the new schema, guards and all: a change for which no steps are known is refused
before anything is touched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
import psycopg

from crosskey import errors
from crosskey.catalog.changes.clean_ups import forgotten_clean_ups
from crosskey.catalog.changes.columns import Unsupported
from crosskey.catalog.changes.differing import ADD_LABEL, find_steps
from crosskey.catalog.changes.pieces import Key, Piece
from crosskey.catalog.changes.plans import changed_tables, created_tables, in_old_order, need_empty, refuse_plans
from crosskey.catalog.changes.renamed_pieces import renamed_pieces
from crosskey.catalog.changes.renames import Renames, read_renames, refuse_reused
from crosskey.catalog.changes.steps import Step
from crosskey.catalog.model import Database, TableName
from crosskey.catalog.plan import Plan
from crosskey.catalog.planning import SchemaRefused, plan_schema
from crosskey.shard_node import sql as sql_files
from crosskey.shard_node.guards.foreign_keys import guard_statements
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import is_passing
from crosskey.shard_node.postgres.startup import ShardIdentity
from crosskey.shard_node.schema.installation import sequence_spaces
from crosskey.shard_node.schema.introspection import judge_schema, within_time
from crosskey.shard_node.schema.piece_reading import differences, read_pieces
from crosskey.shard_node.schema.running import RunSchema, run_schema, run_trusted
from crosskey.shard_node.schema.scratch import scratch_database
from crosskey.shard_node.schema.shard_schema import ShardSchema
from crosskey.shard_node.sql_text.sql_names import table_identifier

_SET_LOCALLY = b"SET LOCAL search_path TO pg_catalog; SET LOCAL check_function_bodies TO off"
_PHASES = ("before", "flip", "after")


@dataclass(frozen=True)
class Wish:
    """The schema to change to: the whole of it, or, if `on_top`, what comes behind the text of the one in force."""

    sql: str
    on_top: bool
    renames: Sequence[str]


@dataclass(frozen=True)
class PlannedMigration:
    """The steps on this shard, and what is in force after them: text, fingerprint, description and pieces.

    `changed` are the tables, by their old `schema.name`, which statements of the old plan must not write any more;
    `created` are new ones, which those of a still older plan must not, that knew another table of the name;
    `need_empty` those that must have no rows, each with a reason. `run` tells of what was skipped.
    """

    steps: tuple[Step, ...]
    sql: str
    description: Database
    pieces: dict[Key, Piece]
    changed: tuple[str, ...]
    created: tuple[TableName, ...]
    need_empty: tuple[tuple[str, str], ...]
    run: RunSchema
    spaces: tuple[str, ...] = ()
    """What gives new sequences a space of their own on this shard."""
    clean_ups: tuple[TableName, ...] = ()
    """The tables of clean-ups that must be over."""


async def plan_migration(
    dsn: str, schema: ShardSchema, schema_sql: str, wish: Wish, identity: ShardIdentity
) -> PlannedMigration:
    """Plans a migration from the schema in force, whose text is `schema_sql`.

    Raises SchemaRefused for a schema that does not load or cannot be placed, and for a change that is not supported;
    NotSupported if the shard's role has no planner.
    """
    async with scratch_database(dsn) as scratch, await scratch.connect() as connection:
        planning = _Planning(connection, schema, schema_sql, wish, identity)
        return await within_time(scratch, planning.plan())


class _Planning:
    def __init__(
        self, connection: Connection, schema: ShardSchema, schema_sql: str, wish: Wish, identity: ShardIdentity
    ) -> None:
        self._connection = connection
        self._schema = schema
        self._old_sql = schema_sql
        self._wish = wish
        # The schema in force may end without a semicolon, or in a comment.
        before = f"{schema_sql.rstrip()}\n;\n" if wish.on_top else ""
        self._new_sql = before + wish.sql
        self._lines_before = before.count("\n")
        self._identity = identity

    async def plan(self) -> PlannedMigration:
        try:
            renames = read_renames(self._wish.renames, self._schema.database)
            database, plan, pieces, run = await self._load_new(renames)
            refuse_reused(renames, self._schema.database, pieces)
            refuse_plans(self._schema.plan, plan, renames.tables)
            return await self._compare(renames, database, plan, pieces, run)
        except Unsupported as unsupported:
            raise errors.SchemaRefused(
                str(unsupported), hint="docs/migrations.md lists what a migration can do."
            ) from unsupported

    async def _load_new(self, renames: Renames) -> tuple[Database, Plan, dict[Key, Piece], RunSchema]:
        await self._begin()
        run = await run_schema(self._connection, self._new_sql, lines_before=self._lines_before)
        try:
            described = await judge_schema(self._connection)
            database = in_old_order(described, self._schema.database, renames.columns, renames.tables)
            plan = _plan(database)
            await self._add_guards(plan)
            pieces = await read_pieces(self._connection)
        except psycopg.Error as error:
            if self._connection.broken or is_passing(error):
                raise
            raise errors.SchemaRefused(error.diag.message_primary or str(error), sqlstate=error.sqlstate) from error
        await self._connection.rollback()
        return database, plan, pieces, run

    async def _compare(
        self, renames: Renames, database: Database, plan: Plan, wanted: dict[Key, Piece], run: RunSchema
    ) -> PlannedMigration:
        await self._begin()
        await run_trusted(self._connection, self._old_sql)
        await self._add_guards(self._schema.plan)
        await self._connection.execute(_SET_LOCALLY)
        old = await self._read_with_new_names(renames)
        _refuse_moved_guards(old, wanted)
        steps = [*renames.steps, *find_steps(old, wanted, renames.of_tables)]
        # In the order in which they will be taken: what is made before the flip meets the old names.
        tried = [await self._try(step) for step in sorted(steps, key=lambda step: _PHASES.index(step.phase))]
        spaces = await self._spaces(_new_sequences(old, wanted))
        for difference in differences(wanted, await read_pieces(self._connection)):
            raise Unsupported(f"this change is not supported yet: after all its steps {difference}")
        await self._connection.rollback()
        changed = changed_tables(self._schema.plan, plan, (old, wanted), renames.tables)
        by_old_name = {new: name for name, new in renames.tables.items()}
        return PlannedMigration(
            tuple(tried),
            self._new_sql,
            database,
            wanted,
            tuple(sorted(by_old_name.get(name, name) for name in changed)),
            tuple(created_tables(self._schema.plan, plan, renames.tables)),
            tuple(_needs(tried, need_empty(self._schema.plan, plan, renames.tables), by_old_name)),
            run,
            spaces,
            tuple(dict.fromkeys(forgotten_clean_ups(self._schema.plan, plan, renames.tables))),
        )

    async def _read_with_new_names(self, renames: Renames) -> dict[Key, Piece]:
        """The pieces as they are once what has another name is called by it, and nothing else has changed."""
        await self._connection.execute("SAVEPOINT named")
        for step in renames.steps:
            await self._try(step)
        pieces = await read_pieces(self._connection)
        await self._connection.execute("ROLLBACK TO SAVEPOINT named")
        return pieces

    async def _begin(self) -> None:
        await self._connection.execute("BEGIN")
        for name in ("bootstrap", "slots"):
            await self._connection.execute(sql_files.load(name).encode(), prepare=False)

    async def _add_guards(self, plan: Plan) -> None:
        for statement in guard_statements(plan, self._identity.shard, self._identity.shards):
            await self._connection.execute(statement.as_bytes(), (), prepare=False)

    async def _try(self, step: Step) -> Step:
        """Takes a step; it says then whether its table was rewritten."""
        before = await self._files(step)
        # What is made while others go on cannot be made in a transaction, and comes to the same.
        text = step.sql.replace(" CONCURRENTLY ", " ", 1) if step.phase == "before" else step.sql
        try:
            await self._connection.execute(text.encode(), prepare=False)
        except psycopg.Error as error:
            if self._connection.broken or is_passing(error):
                raise
            raise Unsupported(
                f"this change is not supported yet: {error.diag.message_primary}, in: {step.sql}"
            ) from error
        if step.phase == "before" and step.what == ADD_LABEL:
            # PostgreSQL lets nothing use a label before it is committed; the scratch database is thrown away.
            await self._connection.commit()
            await self._connection.execute("BEGIN")
            await self._connection.execute(_SET_LOCALLY)
        return msgspec.structs.replace(step, rewrites=await self._files(step) != before)

    async def _files(self, step: Step) -> object:
        if not step.what.startswith(("add column", "change")):
            return None
        schema, name = step.table.split(".", 1)
        cursor = await self._connection.execute(
            "SELECT c.relfilenode FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = %s AND c.relname = %s",
            (schema, name),
        )
        return await cursor.fetchone()

    async def _spaces(self, sequences: set[Key]) -> tuple[str, ...]:
        names = {name for _, _, name in sequences if not name.startswith("crosskey")}
        if self._identity.shard == 0 or not names:
            return ()
        return await sequence_spaces(self._connection, self._identity.shard, self._identity.shards, names)


def _refuse_moved_guards(old: dict[Key, Piece], new: dict[Key, Piece]) -> None:
    """Shadows, pins and claims hold what rows need: none may be made anew because something has another name."""
    gone = [key for key in old.keys() - new.keys() if key[0] == "table" and key[2].startswith("crosskey_")]
    added = [key for key in new.keys() - old.keys() if key[0] == "table" and key[2].startswith("crosskey_")]
    columns = [key for key in old.keys() ^ new.keys() if key[0] == "column" and key[1].startswith("crosskey_")]
    stays = [key for key in columns if ("table", "", key[1]) in old and ("table", "", key[1]) in new]
    if stays or (gone and added):
        name = (stays or gone)[0]
        raise Unsupported(
            f"{name[1] or name[2]} holds what keys over shards need, and would have to be made anew: a table or column"
            " of such a key cannot have another name yet"
        )


def _new_sequences(old: dict[Key, Piece], new: dict[Key, Piece]) -> set[Key]:
    """Those that begin to count; one that has another name goes on."""
    renamed = {piece.key for _, piece in renamed_pieces(old, new)}
    return {key for key in new.keys() - old.keys() - renamed if key[0] == "sequence"}


def _needs(
    steps: Sequence[Step], others: Iterator[tuple[str, str]], old_names: dict[str, str]
) -> Iterator[tuple[str, str]]:
    for step in steps:
        if step.needs_empty:
            yield old_names.get(step.table, step.table), f"{step.sql}: {step.needs_empty}"
    for table, why in others:
        yield old_names.get(table, table), why


def _plan(database: Database) -> Plan:
    """Raises SchemaRefused."""
    if not database.tables:
        raise errors.SchemaRefused("the schema has no tables")
    try:
        return plan_schema(database)
    except SchemaRefused as refused:
        first = refused.refusals[0]
        raise errors.SchemaRefused(
            str(refused),
            table=first.table or None,
            constraint=first.constraint or None,
            columns=first.column or None,
        ) from refused


def name_as_sql(name: TableName) -> str:
    """A table's name for a statement without parameters, in which %% does not stand for %."""
    return table_identifier(name).as_string().replace("%%", "%")


async def tables_with_rows(connection: Connection, schema: ShardSchema, names: Sequence[str]) -> set[str]:
    """Those of the tables, by `schema.name`, that have rows on this shard."""
    filled = set()
    for name in sorted(set(names)):
        table = name_as_sql(schema.table(name).name)
        cursor = await connection.execute(f"SELECT FROM {table} LIMIT 1".encode(), prepare=False)
        if cursor.rowcount:
            filled.add(name)
    return filled
