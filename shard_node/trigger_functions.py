"""The functions of triggers, and how they know what transaction they are in."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import sql

from catalog.model import TableName
from shard_node.sql_names import function_identifier

# Never NULL, which a CHECK would let pass.
COORDINATED = "coalesce(current_setting('crosskey.coordinated', true), '') = 'on'"


def create_trigger_function(purpose: str, table: TableName, body: Sequence[sql.Composable]) -> sql.Composed:
    """The DDL of the function, called `function_identifier(purpose, table)`."""
    source = sql.SQL("BEGIN {} RETURN NULL; END").format(sql.SQL(" ").join(body)).as_string()
    # Its names are escaped for parameters already, so the source is quoted as it is.
    return sql.SQL("CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS {}").format(
        function_identifier(purpose, table), sql.Literal(source)
    )
