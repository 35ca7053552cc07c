"""What is answered of each row that is read, and beside it: texts of columns, and which shards hold pins on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg import sql

from crosskey.catalog.model import Column, Table
from crosskey.catalog.plan import ReferencedKey
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.guards.pin_places import PIN_SHARD
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.schema.shard_schema import ShardSchema
from crosskey.shard_node.sql_text.conditions import known_column
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_columns import same_key
from crosskey.shard_node.sql_text.row_json import row_expression, text_expression, text_of
from crosskey.shard_node.sql_text.sql_names import table_identifier

# A transaction that is prepared has no process; its locks hang together by its virtual transaction. None is prepared
# most of the time, which is seen without a look at the locks.
_UNSETTLED = b"""
SELECT EXISTS (SELECT FROM pg_prepared_xacts WHERE database = current_database()) AND EXISTS (
    SELECT FROM pg_locks WHERE pid IS NULL AND locktype = 'relation' AND mode = 'RowExclusiveLock'
    AND relation = ANY (%s::regclass[]) AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))
"""


@dataclass(frozen=True)
class RowShape:
    """What is answered of each row: see the message of that name. No columns are all columns."""

    columns: tuple[Column, ...] = ()
    no_columns: bool = False
    as_text: bool = False
    texts: tuple[Column, ...] = ()
    pins: tuple[ReferencedKey, ...] = ()

    @property
    def has_beside(self) -> bool:
        """Whether anything is answered beside the row."""
        return bool(self.texts or self.pins)

    def row(self, table: Table, alias: str) -> sql.Composable:
        """The row, an SQL expression of type json."""
        if self.no_columns:
            return sql.SQL("'{}'::json")
        shown = text_expression if self.as_text else row_expression
        return shown(table, alias, self.columns)

    def beside(self, alias: str) -> sql.Composed:
        """What is beside the row, an SQL expression of type json: an array of texts, and then of arrays of shards."""
        texts = [text_of(identifier(alias, column.name)) for column in self.texts]
        return sql.SQL("json_build_array({})").format(
            sql.SQL(", ").join([*texts, *(_pinning_shards(one, alias) for one in self.pins)])
        )


ALL_COLUMNS = RowShape()


def row_shape(table: Table, shape: reads_pb2.RowShape, schema: ShardSchema | None, *, as_text: bool) -> RowShape:
    """The shape that a router asks for. Raises UnknownColumn, and InvalidRequest for an unknown referenced key."""
    return RowShape(
        tuple(known_column(table, name) for name in shape.columns),
        shape.no_columns,
        as_text,
        tuple(known_column(table, name) for name in shape.texts),
        tuple(schema.referenced_key(one) for one in shape.pins) if schema is not None else (),
    )


async def pins_in_doubt(connection: Connection, referenced: Sequence[ReferencedKey]) -> bool:
    """Whether pins on these keys may be missed: whoever pinned is prepared, and may be committed elsewhere already.

    To be asked before pins are read: what is finished by then is seen.
    """
    if not referenced:
        return False
    pins = [sql.Identifier(one.pin.schema, one.pin.name).as_string() for one in referenced]
    cursor = await connection.execute(_UNSETTLED, (pins,))
    [(in_doubt,)] = await cursor.fetchall()
    return bool(in_doubt)


def _pinning_shards(referenced: ReferencedKey, alias: str) -> sql.Composed:
    return sql.SQL("(SELECT coalesce(json_agg(pin.{shard}), '[]'::json) FROM {pins} AS pin WHERE {same})").format(
        shard=identifier(PIN_SHARD), pins=table_identifier(referenced.pin), same=same_key(referenced, "pin", alias)
    )
