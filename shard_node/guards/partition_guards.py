"""Rows of a partitioned table that rows of other shards may reference, or live with, stay in their partition.

PostgreSQL carries out an update that takes a row to another partition as a delete and an insert, and fires no row
trigger for updates: what notes a new key would not hear of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from crosskey.catalog.model import Table
from crosskey.catalog.plan import Plan
from crosskey.shard_node.guards.triggers import AFTER_ALL_OTHERS, changed, trigger_function
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.sql_names import function_identifier, table_identifier

_PURPOSE = "stays_in_partition"


def guard_partition_key(plan: Plan, table: Table) -> Iterable[sql.Composed]:
    """Refuses updates of what tells the partition of a row, where other shards may count on the row."""
    if not table.partitioned or not _others_count_on(plan, table):
        return
    columns = " and ".join(f'"{column}"' for column in table.partition_key)
    message = (
        f'{columns} of "{table.name}" tell the partition of a row that other rows may reference, and cannot change'
    )
    refuse = sql.SQL("RAISE SQLSTATE 'XK002' USING MESSAGE = {}, HINT = {};").format(
        literal(message), literal("Delete the row and insert it anew, in one Transact.")
    )
    yield trigger_function(_PURPOSE, table.name, [refuse], "NEW")
    yield sql.SQL(
        "CREATE TRIGGER {name} BEFORE UPDATE ON {table} FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION {function}()"
    ).format(
        name=identifier(f"{AFTER_ALL_OTHERS}{_PURPOSE}"),
        table=table_identifier(table.name),
        changed=changed(table.partition_key),
        function=function_identifier(_PURPOSE, table.name),
    )


def _others_count_on(plan: Plan, table: Table) -> bool:
    anchors = (lives.anchor for _, lives in plan.anchored)
    return bool(plan.referenced_keys_of(table.name)) or any(
        table.name in (anchor.table, anchor.root_table) for anchor in anchors
    )
