"""Keys as JSON objects that travel between shards, where json_populate_record reads them back as the same keys."""

from __future__ import annotations

from psycopg import sql

from crosskey.catalog.plan import Claim, ReferencedKey
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.row_json import text_of


def travelling_key(key: ReferencedKey | Claim, alias: str) -> sql.Composed:
    """An SQL expression of type json: the key of the row called `alias`, such as `{"id": 5, "place": "(1,2)"}`."""
    pairs = sql.SQL(", ").join(
        sql.SQL("{}, {}").format(literal(column), _value(key, alias, column)) for column in key.columns
    )
    return sql.SQL("json_build_object({})").format(pairs)


def travelling_copies(key: ReferencedKey, alias: str) -> sql.Composed:
    """The same with the values that its children copy: what a shadow is made of."""
    pairs = sql.SQL(", ").join(
        sql.SQL("{}, {}").format(literal(column), _value(key, alias, column)) for column in (*key.columns, *key.copied)
    )
    return sql.SQL("json_build_object({})").format(pairs)


def _value(key: ReferencedKey | Claim, alias: str, column: str) -> sql.Composable:
    value = identifier(alias, column)
    return text_of(value) if column in key.verbatim else value
