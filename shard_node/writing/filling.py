"""Filling a foreign key that was added to rows which were there before: their parents are pinned, their shadows made.

Rows are gone through by where they lie. One that another transaction moves meanwhile may be passed over: who validates
the key in the end sees it, and goes through all of them once more.
"""

from __future__ import annotations

from functools import lru_cache

from psycopg import sql

from crosskey import errors
from crosskey.catalog.plan import KeyPlan, Plan
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.shard_node.guards.child_triggers import note_unshadowed_rows
from crosskey.shard_node.guards.references import references_of_rows
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_columns import same_key
from crosskey.shard_node.sql_text.sql_names import table_identifier
from crosskey.shard_node.writing.branch import Branch
from crosskey.shard_node.writing.effects import apply_noted


async def fill_shadows(branch: Branch, fill: proto.FillShadows, result: proto.CommandResult) -> None:
    """Notes the parents that rows in a range of pages reference, and that have no shadow here.

    The result has them in `rows_json`, how many they are, and how many pages the table has.
    """
    key = _key(branch.schema.plan, fill.table, fill.constraint)
    name = table_identifier(key.foreign_key.table).as_string().replace("%%", "%")
    cursor = await branch.connection.execute(
        "SELECT coalesce(max(pg_relation_size(oid) / current_setting('block_size')::bigint), 0) FROM pg_class"
        " WHERE oid = %(table)s::regclass OR oid IN (SELECT relid FROM pg_partition_tree(%(table)s::regclass))",
        {"table": name},
    )
    [(result.pages,)] = await cursor.fetchall()
    first, end = (f"({page},0)" for page in (fill.first_page, fill.first_page + fill.pages))
    text = _fill_text(branch.schema.plan, key, branch.shards)
    cursor = await branch.connection.execute(text, (first, end), prepare=False)
    [(count, keys)] = await cursor.fetchall()
    result.count, result.rows_json = count, keys.encode()
    await apply_noted(branch, result)


async def mend_orphans(branch: Branch, mend: proto.MendOrphans, result: proto.CommandResult) -> None:
    """Deals with the rows that reference some keys of which none has a shadow here.

    The result has how many there are; and, if they are listed, the keys with how many rows reference each.
    """
    key = _key(branch.schema.plan, mend.table, mend.constraint)
    keys = (mend.keys_json.decode(),)
    rows = _orphans(branch.schema.plan, key)
    child = table_identifier(key.foreign_key.table)
    match mend.action:
        case proto.MendOrphans.ACTION_DELETE:
            text = sql.SQL("DELETE FROM {} c USING ({}) o WHERE c.ctid = o.place AND c.tableoid = o.part")
            cursor = await branch.connection.execute(text.format(child, rows), keys, prepare=False)
            result.count = cursor.rowcount
            await apply_noted(branch, result)
        case proto.MendOrphans.ACTION_SET_NULL:
            text = sql.SQL("UPDATE {} c SET {} FROM ({}) o WHERE c.ctid = o.place AND c.tableoid = o.part")
            nulls = sql.SQL(", ").join(
                sql.SQL("{} = NULL").format(identifier(name)) for name in _clearable(branch.schema.plan, key)
            )
            cursor = await branch.connection.execute(text.format(child, nulls, rows), keys, prepare=False)
            result.count = cursor.rowcount
            await apply_noted(branch, result)
        case _:
            text = sql.SQL(
                "SELECT coalesce(json_agg(json_build_object('key', o.key, 'rows', o.rows)), '[]'::json)::text,"
                " coalesce(sum(o.rows), 0)::bigint"
                " FROM (SELECT r.key::text::json AS key, count(*) AS rows FROM ({}) r GROUP BY r.key::text) o"
            )
            cursor = await branch.connection.execute(text.format(rows), keys, prepare=False)
            [(listed, count)] = await cursor.fetchall()
            result.rows_json, result.count = listed.encode(), count


def _key(plan: Plan, table: str, constraint: str) -> KeyPlan:
    """Raises InvalidRequest if there is no such key over shards."""
    for key in plan.keys:
        if (key.foreign_key.table.qualified, key.foreign_key.name) == (table, constraint) and key.referenced_key:
            return key
    raise errors.InvalidRequest(f"no foreign key {constraint} of {table} crosses shards")


def _clearable(plan: Plan, key: KeyPlan) -> list[str]:
    """The columns of a key that can be NULL. Raises NotSupported if none can."""
    table = plan.table(key.foreign_key.table)
    assert table is not None, f"the plan has a key of {key.foreign_key.table}, and not the table"
    placing = {table.shard_key, *table.table.primary_key}
    columns = [table.table.column(name) for name in key.foreign_key.columns]
    names = [column.name for column in columns if column and not column.not_null and column.name not in placing]
    if not names:
        raise errors.NotSupported(f"no column of key {key.foreign_key.name} can be NULL")
    return names


@lru_cache
def _fill_text(plan: Plan, key: KeyPlan, shards: int) -> bytes:
    in_range = sql.SQL("n.ctid >= %s::tid AND n.ctid < %s::tid")
    return note_unshadowed_rows(plan, key, shards, in_range).as_bytes()


def _orphans(plan: Plan, key: KeyPlan) -> sql.Composed:
    """The rows that reference one of the keys given and have no shadow: the key, and where each row lies."""
    referenced = plan.referenced_key(key.referenced_key or "")
    return sql.SQL(
        "SELECT to_json(k) AS key, n.place, n.part FROM ({rows}) n"
        " JOIN json_populate_recordset(NULL::{shadow}, %s) k ON {same}"
        " WHERE NOT EXISTS (SELECT FROM {shadow} s WHERE {present})"
    ).format(
        rows=references_of_rows(plan, key.foreign_key),
        shadow=table_identifier(referenced.shadow),
        same=same_key(referenced, "n", "k"),
        present=same_key(referenced, "s", "k"),
    )
