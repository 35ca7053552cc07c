"""Rows that a branch locks before it writes others, and what they are then."""

from __future__ import annotations

import psycopg
from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import Table
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import naming_table
from crosskey.shard_node.sql_text.conditions import known_column, where_clause
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_ends import KeyEnds
from crosskey.shard_node.sql_text.row_json import row_expression, text_expression, text_of
from crosskey.shard_node.sql_text.sql_names import table_identifier

_ALIAS = "t"

_STRENGTHS = {
    proto.LockRows.STRENGTH_KEY_SHARE: sql.SQL("FOR KEY SHARE"),
    proto.LockRows.STRENGTH_NO_KEY_UPDATE: sql.SQL("FOR NO KEY UPDATE"),
}


async def lock_rows(connection: Connection, table: Table, lock: proto.LockRows, ends: KeyEnds) -> bytes:
    """Locks rows until the transaction ends. Answers a JSON array with an array for each: the row, and its texts.

    Who holds a lock is waited for, and the conditions are looked at once more then, as PostgreSQL has it of READ
    COMMITTED. Raises UnknownColumn, InvalidRequest (an unknown strength, a wrong condition) and psycopg.Error.
    """
    strength = _STRENGTHS.get(lock.strength)
    if strength is None:
        raise errors.InvalidRequest(f"there is no strength {lock.strength} of locks", table=str(table.name))
    where, parameters = where_clause(table, lock.where, _ALIAS, ends)
    shown = text_expression if lock.as_text else row_expression
    texts = [text_of(identifier(_ALIAS, known_column(table, name).name)) for name in lock.texts]
    statement = sql.SQL(
        "SELECT json_build_array({row}, json_build_array({texts}))::text FROM {table} AS {alias} WHERE {where} {lock}"
    ).format(
        row=shown(table, _ALIAS, [known_column(table, name) for name in lock.columns]),
        texts=sql.SQL(", ").join(texts),
        table=table_identifier(table.name),
        alias=sql.Identifier(_ALIAS),
        where=where,
        lock=strength,
    )
    try:
        cursor = await connection.execute(statement, parameters)
        found = [row for (row,) in await cursor.fetchall()]
    except psycopg.Error as error:
        named = naming_table(error, table.name)
        if named is error:
            raise
        raise named from error
    return f"[{','.join(found)}]".encode()
