"""The steps of columns that are added, dropped and changed on tables that stay."""

from __future__ import annotations

from collections.abc import Iterator

from crosskey.catalog.changes.pieces import Piece, quoted
from crosskey.catalog.changes.steps import ACCESS_EXCLUSIVE, SHARE_UPDATE_EXCLUSIVE, Step

_FILLED = "the table has rows, which would have no value"


class Unsupported(ValueError):
    """A change that no steps are known for; the message is a sentence that names what it is about."""


def add_column(table: str, column: Piece) -> Iterator[Step]:
    """The table is as SQL."""
    facts = column.facts
    has_value = facts["default"] is not None or facts["generated"]
    numbered = bool(facts["identity"]) or "nextval(" in (facts["default"] or "")
    needs_empty = ""
    if numbered:
        needs_empty = "the table has rows, and each shard would number its own"
    elif facts["not_null"] and not has_value:
        needs_empty = _FILLED
    yield Step(
        f"ALTER TABLE {table} ADD COLUMN {column.made_by}",
        "flip",
        "add column",
        column.table,
        ACCESS_EXCLUSIVE,
        needs_empty=needs_empty,
    )


def drop_column(table: str, column: Piece) -> Step:
    """The table is as SQL."""
    sql = f"ALTER TABLE {table} DROP COLUMN {quoted(column.name)}"
    return Step(sql, "flip", "drop column", column.table, ACCESS_EXCLUSIVE, destructive=True)


def change_column(table: str, old: Piece, new: Piece, *, early: bool) -> Iterator[Step]:
    """The table is as SQL; `early` is whether anything can be done with it before the flip. Raises Unsupported."""
    name = quoted(new.name)
    for fact, what in (("generated", "what it is generated from"), ("identity", "whether it is an identity")):
        if old.facts[fact] != new.facts[fact]:
            raise Unsupported(f"column {new.name} of {new.table}: {what} cannot be changed yet: add another column")
    if new.facts["generated"] and old.facts["default"] != new.facts["default"]:
        raise Unsupported(f"column {new.name} of {new.table}: its expression cannot be changed yet: add another column")
    if _type(old) != _type(new):
        yield _flip(f"ALTER TABLE {table} ALTER COLUMN {name} TYPE {_type(new)}", "change type", new)
    if old.facts["default"] != new.facts["default"]:
        default = new.facts["default"]
        words = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
        yield _flip(f"ALTER TABLE {table} ALTER COLUMN {name} {words}", "change default", new)
    if old.facts["not_null"] and not new.facts["not_null"]:
        yield _flip(f"ALTER TABLE {table} ALTER COLUMN {name} DROP NOT NULL", "drop not null", new)
    elif new.facts["not_null"] and not old.facts["not_null"]:
        yield from _set_not_null(table, new) if early else [_set_not_null_at_once(table, new)]
    elif old.facts["not_null_name"] != new.facts["not_null_name"]:
        old_name, new_name = (quoted(piece.facts["not_null_name"]) for piece in (old, new))
        sql = f"ALTER TABLE {table} RENAME CONSTRAINT {old_name} TO {new_name}"
        yield _flip(sql, "rename constraint", new)


def validated(table: str, name: str, schema_name: str, undo: str = "") -> Step:
    """Has PostgreSQL look whether a constraint that holds for new rows holds for all. The table is as SQL."""
    sql = f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}"
    return Step(sql, "before", "validate", schema_name, SHARE_UPDATE_EXCLUSIVE, undo=undo)


def _set_not_null(table: str, column: Piece) -> Iterator[Step]:
    """By way of a check that is validated while clients go on: PostgreSQL then need not look at the rows."""
    name, check = quoted(column.name), quoted(f"crosskey_not_null_{column.name}"[:63])
    undo = f"ALTER TABLE IF EXISTS {table} DROP CONSTRAINT IF EXISTS {check}"
    yield Step(
        f"ALTER TABLE {table} ADD CONSTRAINT {check} CHECK ({name} IS NOT NULL) NOT VALID",
        "before",
        "check for nulls",
        column.table,
        ACCESS_EXCLUSIVE,
        undo=undo,
        clear=undo,
    )
    yield validated(table, check, column.table)
    yield _set_not_null_at_once(table, column)
    yield _flip(undo, "drop check for nulls", column)


def _set_not_null_at_once(table: str, column: Piece) -> Step:
    name, own_name = quoted(column.name), column.facts["not_null_name"]
    words = f"ALTER COLUMN {name} SET NOT NULL"
    if own_name is not None:
        words = f"ADD CONSTRAINT {quoted(own_name)} NOT NULL {name}"
    return _flip(f"ALTER TABLE {table} {words}", "set not null", column)


def _type(column: Piece) -> str:
    collation = column.facts["collation"]
    return f"{column.facts['type']} COLLATE {collation}" if collation else str(column.facts["type"])


def _flip(sql: str, what: str, column: Piece) -> Step:
    return Step(sql, "flip", what, column.table, ACCESS_EXCLUSIVE)
