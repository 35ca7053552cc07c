"""What copies need of shadows and parents: the DML beside the DDL of copies.py."""

from __future__ import annotations

from functools import lru_cache

from psycopg import sql

from crosskey.catalog.plan import ReferencedKey
from crosskey.shard_node.guards.foreign_key_queries import add_shadows
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.sql_text.key_columns import same_key
from crosskey.shard_node.sql_text.sql_names import column_list, table_identifier
from crosskey.shard_node.sql_text.travelling_keys import travelling_copies


async def values_now(connection: Connection, referenced: ReferencedKey, keys: str) -> tuple[str, int]:
    """What the shadows of those keys are to be now, a JSON array, and how many parents there are.

    A row that changed several times is told once; one that went is told as gone, by another effect.
    """
    cursor = await connection.execute(_values_text(referenced), (keys,))
    [(rows, count)] = await cursor.fetchall()
    return rows, count


@lru_cache
def _values_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL(
            "SELECT coalesce(json_agg({row} ORDER BY {columns}), '[]')::text, count(*) FROM {parent} p"
            " WHERE EXISTS (SELECT FROM json_populate_recordset(NULL::{shadow}, %s) k WHERE {same})"
        )
        .format(
            row=travelling_copies(referenced, "p"),
            columns=column_list(referenced.columns, alias="p"),
            parent=table_identifier(referenced.parent),
            shadow=table_identifier(referenced.shadow),
            same=same_key(referenced, "p", "k"),
        )
        .as_bytes()
    )


async def revise_shadows(connection: Connection, referenced: ReferencedKey, rows: str) -> None:
    """Gives shadows the values that their parents have; their triggers give them to the children.

    Where a third shard is home, a pin may be committed while its shadow is still prepared, and no UPDATE would see it.
    Adding the shadow waits until it is there. One that the same transaction is about to add comes with these values.
    """
    await add_shadows(connection, referenced, rows)
    await connection.execute(_revise_text(referenced), (rows,))


@lru_cache
def _revise_text(referenced: ReferencedKey) -> bytes:
    return (
        sql.SQL(
            "UPDATE {shadow} s SET ({copied}) = ROW({new}) FROM json_populate_recordset(NULL::{shadow}, %s) k"
            " WHERE {same} AND record_image_ne(ROW({old}), ROW({new}))"
        )
        .format(
            shadow=table_identifier(referenced.shadow),
            copied=column_list(referenced.copied),
            old=column_list(referenced.copied, alias="s"),
            new=column_list(referenced.copied, alias="k"),
            same=same_key(referenced, "s", "k"),
        )
        .as_bytes()
    )
