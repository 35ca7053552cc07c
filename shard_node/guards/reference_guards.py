"""Copies of reference tables stay alike: they are written only by what is done on every shard, and is the same there.

A trigger of the user's on a sharded table would write the copy of its own shard alone, one on a reference table each
copy by itself, with the shard's own sequences and clock. Both are refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from psycopg import sql

from crosskey.catalog.model import Table
from crosskey.catalog.plan import Plan, ReferencedKey
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.sql_text.identifiers import literal
from crosskey.shard_node.sql_text.sql_names import table_identifier

EVERYWHERE = "coalesce(current_setting('crosskey.everywhere', true), '') = 'on'"
"""Set while a statement runs that every shard runs."""


def guard_copy(table: Table) -> Iterable[sql.Composed]:
    """The triggers of a reference table that refuse what is not done everywhere, and what functions do there."""
    trigger = sql.SQL(
        "CREATE TRIGGER {} BEFORE INSERT OR UPDATE OR DELETE ON {}"
        " FOR EACH STATEMENT WHEN ({}) EXECUTE FUNCTION crosskey.{}()"
    )
    name, everywhere = table_identifier(table.name), sql.SQL(EVERYWHERE)
    yield trigger.format(
        sql.SQL("crosskey_everywhere"), name, sql.SQL("NOT {}").format(everywhere), sql.SQL("refuse_one_copy")
    )
    yield trigger.format(sql.SQL("crosskey_no_function"), name, everywhere, sql.SQL("refuse_write_of_function"))


def refuse_displaced_rows(table: Table, displaced: sql.Composable) -> sql.Composed:
    """Part of a trigger function: refuses rows that a trigger inserted on every shard and that belong on one only.

    `displaced` is a query for those that do not belong here.
    """
    message = f'a trigger that fires on all shards cannot insert into "{table.name.name}", whose rows live on one'
    return sql.SQL(
        "IF TG_OP = 'INSERT' AND {} AND EXISTS ({}) THEN RAISE SQLSTATE 'XK002' USING MESSAGE = {}; END IF;"
    ).format(sql.SQL(EVERYWHERE), displaced, literal(message))


def has_copied_children(plan: Plan, referenced: ReferencedKey) -> bool:
    """Whether rows of reference tables reference the key, so that its shadows are on all shards."""
    children = {key.foreign_key.table for key in plan.keys if key.referenced_key == referenced.id}
    return any(table.placement == "reference" and table.table.name in children for table in plan.tables)


@asynccontextmanager
async def written_everywhere(connection: Connection) -> AsyncIterator[None]:
    """For what every shard does. After an error the transaction goes back to before it, and the setting with it."""
    await connection.execute(b"SET LOCAL crosskey.everywhere = 'on'", prepare=False)
    yield
    await connection.execute(b"SET LOCAL crosskey.everywhere = 'off'", prepare=False)
