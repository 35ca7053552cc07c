"""What all triggers of ours are made of, as SQL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from psycopg import sql

from crosskey.catalog.model import TableName
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.sql_names import function_identifier, table_identifier

# Never NULL, which a CHECK would let pass.
COORDINATED = "coalesce(current_setting('crosskey.coordinated', true), '') = 'on'"

# Triggers fire in the order of their names' bytes, and each sees the row as those before it have made it.
AFTER_ALL_OTHERS = "~crosskey_"
"""How a BEFORE trigger's name begins that must see a row as it is to be stored."""

GUARDS_FIRST = "!crosskey_0_"
"""How the name of an AFTER trigger begins that refuses before anything else can: a trigger of the user's, or
PostgreSQL's own RI_ConstraintTrigger of a foreign key."""

NOTES_FIRST = "!crosskey_1_"
"""The same of one that tells of a row before any of these changes it again."""

LOCKS_EARLY = "coalesce(current_setting('crosskey.lock_early', true), '') = 'on'"
"""Set where rows that others live with are locked before any change, whether they leave or not."""

RELOCATING = "coalesce(current_setting('crosskey.relocating', true), '') = 'on'"
"""Set while rows are taken out because they move to another shard: their pins go with them, their shadows stay."""


def trigger_function(
    purpose: str,
    table: TableName,
    body: Sequence[sql.Composable],
    answer: Literal["NULL", "NEW"] = "NULL",
    *,
    prefer_columns: bool = False,
) -> sql.Composed:
    """A function that runs the statements of `body`; AFTER triggers answer NULL, BEFORE triggers that let pass NEW.

    With `prefer_columns`, `body` has expressions of the user's, in which a name such as found or tg_op is a column.
    """
    statements = sql.SQL("\n").join(body)
    source = (
        sql.SQL("\n{}BEGIN\n{}\nRETURN {};\nEND\n")
        .format(sql.SQL("#variable_conflict use_column\n" if prefer_columns else ""), statements, sql.SQL(answer))
        .as_string()
    )
    # Its names are escaped for parameters already, so the source is quoted as it is.
    return sql.SQL("CREATE FUNCTION {}() RETURNS trigger LANGUAGE plpgsql AS {}").format(
        function_identifier(purpose, table), sql.Literal(source)
    )


def statement_trigger(
    purpose: str, table: TableName, event: str, transition: str, body: Sequence[sql.Composable]
) -> Iterable[sql.Composed]:
    """A trigger with a function of its own, for coordinated transactions."""
    name = f"{purpose}_{event.lower()}"
    yield trigger_function(name, table, body)
    yield sql.SQL(
        "CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING {transition}"
        " FOR EACH STATEMENT WHEN ({coordinated}) EXECUTE FUNCTION {function}()"
    ).format(
        name=identifier(f"crosskey_{name}"),
        event=sql.SQL(event),
        table=table_identifier(table),
        transition=sql.SQL(transition),
        coordinated=sql.SQL(COORDINATED),
        function=function_identifier(name, table),
    )


def changed(columns: Sequence[str]) -> sql.Composed:
    """Whether a row's columns are not the same byte by byte as before, for a trigger: of a deleted row they are not."""
    return sql.SQL("record_image_ne(ROW({old}), ROW({new}))").format(
        old=_columns_of("OLD", columns), new=_columns_of("NEW", columns)
    )


def _columns_of(row: Literal["OLD", "NEW"], columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL("{}.{}").format(sql.SQL(row), identifier(column)) for column in columns)
