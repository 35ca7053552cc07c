"""Updates that give columns which nobody can set, because they wrote back a whole row that they read.

PostgreSQL takes no value for a generated column, nor for an identity column GENERATED ALWAYS, not even the one that is
stored. Here the stored one is taken, and changes nothing; every other is refused in PostgreSQL's words.
"""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from crosskey.catalog.model import Column, Table
from crosskey.internal.v1 import transactions_pb2
from crosskey.shard_node.sql_text.conditions import Fragment
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.row_json import own_type, read_given, text_of
from crosskey.shard_node.sql_text.sql_names import typed_columns


def kept_columns(table: Table, update: transactions_pb2.UpdateRows) -> list[Column]:
    """The given columns that cannot be set. None if nothing else is set: then PostgreSQL is to refuse the update."""
    kept = [column for column in table.columns if column.name in update.columns and not _can_be_set(column)]
    return kept if len(kept) < len(update.columns) or update.computed else []


def keeping(table: Table, kept: Sequence[Column], update: transactions_pb2.UpdateRows, where: Fragment) -> Fragment:
    """The condition of an update, which then fails if a row that meets it has another value in a kept column."""
    if not kept:
        return where
    condition, parameters = where
    checks = [_check(table, column, update) for column in kept]
    # Nothing else says that only rows which meet the condition are looked at.
    expression = sql.SQL("{condition} AND CASE WHEN {condition} THEN {checks} ELSE FALSE END").format(
        condition=condition, checks=sql.SQL(" AND ").join(check for check, _ in checks)
    )
    return expression, [*parameters, *parameters, *(value for _, values in checks for value in values)]


def _can_be_set(column: Column) -> bool:
    return not column.generated and column.identity != "ALWAYS"


def _check(table: Table, column: Column, update: transactions_pb2.UpdateRows) -> Fragment:
    kind = "a generated column" if column.generated else "an identity column defined as GENERATED ALWAYS"
    # Not by the type's own equality: json has none, and equal numerics may differ.
    expression = sql.SQL(
        "crosskey.keep({stored}, (SELECT {value} FROM json_to_record(%s) AS given({typed})), {message}, {detail})"
    ).format(
        stored=text_of(identifier(table.name.schema, table.name.name, column.name)),
        value=text_of(own_type(column)),
        typed=typed_columns(read_given([column], update.json_text_columns)),
        message=literal(f'column "{column.name}" can only be updated to DEFAULT'),
        detail=literal(f'Column "{column.name}" is {kind}.'),
    )
    return expression, [update.set_json.decode()]
