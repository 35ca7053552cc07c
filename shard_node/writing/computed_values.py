"""What an index would keep unique of rows that are not there yet."""

from __future__ import annotations

from functools import lru_cache

import psycopg
from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import Column, Table
from crosskey.catalog.plan import Claim
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.shard_node.guards.claims import claim_shard, is_claimed, valued_rows
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import from_postgres
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.row_json import own_type, read_given
from crosskey.shard_node.sql_text.sql_names import typed_columns
from crosskey.shard_node.sql_text.travelling_keys import travelling_key


async def compute_values(
    connection: Connection, claim: Claim, table: Table, request: proto.ComputeValues, shards: int
) -> list[proto.ComputedValue]:
    """The value of each row, and the shard where it is claimed; nothing if PostgreSQL refuses to compute one.

    The transaction goes on: what is refused here will be refused when the row is written, after other faults of it.
    """
    text = _text(claim, table, frozenset(request.json_text_columns), shards)
    await connection.execute(b"SAVEPOINT crosskey_computing", prepare=False)
    try:
        cursor = await connection.execute(text, (request.rows_json.decode(),))
        computed = [_value(*row) for row in await cursor.fetchall()]
    except psycopg.Error as error:
        if not isinstance(from_postgres(error), errors.STATEMENT_ERRORS):
            raise
        computed = []
        await connection.execute(b"ROLLBACK TO crosskey_computing", prepare=False)
    await connection.execute(b"RELEASE crosskey_computing", prepare=False)
    return computed


def _value(value: str | None, shard: int | None) -> proto.ComputedValue:
    return proto.ComputedValue(value_json=(value or "").encode(), shard=shard or 0)


@lru_cache
def _text(claim: Claim, table: Table, json_text: frozenset[str], shards: int) -> bytes:
    return (
        sql.SQL(
            "SELECT computed.value::text, computed.shard"
            " FROM json_array_elements(%s) WITH ORDINALITY AS element(object, place) LEFT JOIN LATERAL"
            " (SELECT {value} AS value, {shard} AS shard FROM {rows} WHERE {claimed}) computed ON true"
            " ORDER BY element.place"
        )
        .format(
            value=travelling_key(claim, "n"),
            shard=claim_shard(claim, table, "n", shards),
            rows=valued_rows(
                claim, _given_row([column for column in table.columns if column.name in claim.reads], json_text), "n"
            ),
            claimed=is_claimed(claim, "n"),
        )
        .as_bytes()
    )


def _given_row(columns: list[Column], json_text: frozenset[str]) -> sql.Composed:
    """The row in hand, with the columns that a value depends on."""
    if not columns:
        return sql.SQL("(SELECT)").format()
    shown = sql.SQL(", ").join(
        sql.SQL("{} AS {}").format(own_type(column), identifier(column.name)) for column in columns
    )
    typed = typed_columns(read_given(columns, json_text))
    return sql.SQL("(SELECT {} FROM json_to_record(element.object) AS given({}))").format(shown, typed)
