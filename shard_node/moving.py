"""Moving rows to another shard: whatever got a shard key that does not belong here.

PostgreSQL has carried out the update on this shard already, with every ON UPDATE action on the rows beside it. What is
left is to take out all rows that belong elsewhere now, parents and children alike, without carrying out any ON DELETE
action, and to put them in on their new shard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

import msgspec
from psycopg import sql

from catalog.model import Table
from catalog.plan import TablePlan
from crosskey import errors
from crosskey.v1 import shard_node_pb2 as proto
from shard_node.database import Connection
from shard_node.guards import shard_of
from shard_node.identifiers import identifier
from shard_node.row_json import row_expression
from shard_node.shard_schema import ShardSchema
from shard_node.sql_names import column_list, table_identifier, typed_columns


class MovedRows(msgspec.Struct, frozen=True):
    """Rows taken out, as a JSON array, and the shard where they belong."""

    table: str
    shard: int
    rows: str


async def take_out(
    connection: Connection, schema: ShardSchema, misplaced: Mapping[str, Sequence[str]], shards: int
) -> list[MovedRows]:
    """Takes out all rows with the given shard keys: JSON arrays of them, by table as `schema.name`.

    All are read before any is deleted, so it does not matter if a foreign key's action takes one along: whatever
    references a row by a local key moves with it.
    """
    moved = []
    keys = {table: f"[{','.join(array[1:-1] for array in arrays)}]" for table, arrays in misplaced.items()}
    for table, shard_keys in keys.items():
        cursor = await connection.execute(_read_text(schema.placed_table(table), shards), (shard_keys,))
        moved += [MovedRows(table, *row) for row in await cursor.fetchall()]
    await connection.execute(b"SET LOCAL crosskey.relocating = 'on'", prepare=False)
    for table in _children_first(schema, keys):
        await connection.execute(_delete_text(schema.placed_table(table)), (keys[table],))
    for table, shard_keys in keys.items():
        cursor = await connection.execute(_read_text(schema.placed_table(table), shards), (shard_keys,))
        if await cursor.fetchall():
            raise kept_from_moving(table, "DELETE")
    await connection.execute(b"SET LOCAL crosskey.relocating = 'off'", prepare=False)
    return moved


def kept_from_moving(table: str, event: str) -> errors.NotSupported:
    """What is raised where a trigger of the user's would double or lose a row that moves."""
    return errors.NotSupported(
        f'a BEFORE {event} trigger of "{table}" keeps a row from moving to another shard',
        table=table,
        hint="A row that moves is deleted on one shard and inserted on another; let the trigger pass it.",
    )


def placement(table: Table, rows_json: bytes) -> proto.InsertRows:
    """The insert that puts moved rows in exactly as they were."""
    columns = [column.name for column in table.columns if not column.generated]
    return proto.InsertRows(columns=columns, rows_json=rows_json, overriding_system_value=True)


def _children_first(schema: ShardSchema, tables: Iterable[str]) -> list[str]:
    """The tables so that one that references another comes first; RESTRICT would refuse otherwise."""
    remaining = list(tables)
    ordered: list[str] = []
    parents = schema.local_parents
    while remaining:
        # In a cycle there is no such order; then any table will do.
        unreferenced = [
            table for table in remaining if not any(table in parents[other] for other in remaining if other != table)
        ]
        ordered += unreferenced or remaining[:1]
        remaining = [table for table in remaining if table not in ordered]
    return ordered


@lru_cache
def _read_text(plan: TablePlan, shards: int) -> bytes:
    table, shard_key = plan.table, plan.shard_key_column
    return (
        sql.SQL(
            "SELECT {shard}, json_agg({row})::text FROM {table} moving"
            " WHERE {column} IN (SELECT {column} FROM json_to_recordset(%s) AS given({typed})) GROUP BY 1"
        )
        .format(
            shard=shard_of(shard_key, identifier("moving", shard_key.name), shards),
            row=row_expression(table, "moving"),
            table=table_identifier(table.name),
            column=column_list([shard_key.name]),
            typed=typed_columns([shard_key]),
        )
        .as_bytes()
    )


@lru_cache
def _delete_text(plan: TablePlan) -> bytes:
    shard_key = plan.shard_key_column
    return (
        sql.SQL("DELETE FROM {table} WHERE {column} IN (SELECT {column} FROM json_to_recordset(%s) AS given({typed}))")
        .format(
            table=table_identifier(plan.table.name),
            column=column_list([shard_key.name]),
            typed=typed_columns([shard_key]),
        )
        .as_bytes()
    )
