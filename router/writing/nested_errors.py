"""Errors of nested writes: which of the rows of a statement each is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from crosskey import errors
from crosskey.catalog.model import Table
from crosskey.router.planning.given_values import Row
from crosskey.router.planning.nesting.actions import Write
from crosskey.router.planning.nesting.paths import add_path, within
from crosskey.router.planning.nesting.tasks import NestedRow
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.writing.upserting import LostRace

_FAILING_ROW = "Failing row contains ("
"""How PostgreSQL's detail of a row begins that breaks a constraint of its own."""


@contextmanager
def naming_row(view: SchemaView, write: Write) -> Iterator[None]:
    """Has errors of a write name the row, and the column if it is one.

    Raises Conflict in the place of a violation by a row that was looked for and not found: another transaction has
    inserted it since. Raises LostRace if another constraint is broken by the same text, which may come of that, too.
    """
    try:
        yield
    except errors.UniqueViolation as error:
        sought = _has_text_of_sought(error, write)
        if sought and _is_of_sought(error, write):
            raise errors.Conflict(
                f'another transaction has just inserted the row of "{write.table.table.name}"',
                table=str(write.table.table.name),
            ) from error
        name_row(view, write, error)
        if sought:
            raise LostRace(error, given=False) from error
        raise
    except errors.CrosskeyError as error:
        name_row(view, write, error)
        raise


def name_row(view: SchemaView, write: Write, error: errors.CrosskeyError) -> None:
    """The same for an error that is there already."""
    if not isinstance(error, (*errors.STATEMENT_ERRORS, errors.InvalidRequest)):
        return
    table = write.table.table
    if error.metadata.get("table", str(table.name)) != str(table.name) or not write.rows_of:
        add_path(error, write.path)
        return
    columns = _columns(view, table, error)
    row = _row(write.rows_of, columns, error)
    if not columns and isinstance(error, errors.InvalidValue):
        row, columns = _with_value(write.rows_of, error.message) or (row, columns)
    path = row.path if row is not None else _without_place(write.path)
    names = [_shown_as(row, name) for name in columns]
    add_path(error, within(path, names[0]) if len(set(names)) == 1 else path)


def _has_text_of_sought(error: errors.UniqueViolation, write: Write) -> bool:
    """Whether what is taken reads as a key by which nothing was found before."""
    return any(", ".join(map(str, key.values())) == error.metadata.get("key") for key in _sought(write))


def _is_of_sought(error: errors.UniqueViolation, write: Write) -> bool:
    """Whether it is that key which is taken, not one over lower(email), say, of an e-mail address in lower case.

    The key of a partition is not known: it may be.
    """
    keys = (key for key in write.table.table.unique_keys if key.name == error.metadata.get("constraint"))
    violated = next(keys, None)
    return violated is None or (
        violated.names_rows and any(one.keys() == {*violated.columns} for one in _sought(write))
    )


def _sought(write: Write) -> list[Row]:
    return [row.sought for row in write.rows_of if row.sought is not None]


def _columns(view: SchemaView, table: Table, error: errors.CrosskeyError) -> Sequence[str]:
    """The columns that the error is about, as far as it tells them."""
    constraint = error.metadata.get("constraint")
    for key in table.unique_keys:
        if key.name == constraint:
            return key.columns
    for plan in view.plan.keys:
        if plan.foreign_key.table == table.name and plan.foreign_key.name == constraint:
            return plan.foreign_key.columns
    named = [column.strip() for column in error.metadata.get("columns", "").split(",")]
    return [name for name in named if table.column(name) is not None]


def _row(rows: Sequence[NestedRow], columns: Sequence[str], error: errors.CrosskeyError) -> NestedRow | None:
    """The row with the values that the error is about; None if that does not tell it."""
    if len(rows) == 1:
        return rows[0]
    if isinstance(error, errors.NotNullViolation) and columns:
        return next((row for row in rows if row.values.get(columns[0]) is None), None)
    detail = error.metadata.get("detail", "")
    if detail.startswith(_FAILING_ROW):
        return next((row for row in rows if _may_be(row, detail)), None)
    key = error.metadata.get("key")
    if key is None or not columns:
        return None
    having = [row for row in rows if ", ".join(str(row.values.get(name)) for name in columns) == key]
    # Of two rows with the value, the second is in the way of the first.
    return having[-1] if having else None


def _may_be(row: NestedRow, detail: str) -> bool:
    """Whether PostgreSQL shows that row, whose id was made before."""
    key = [row.values.get(name) for name in row.table.table.primary_key]
    return bool(key) and all(value is not None and str(value) in detail for value in key)


def _with_value(rows: Sequence[NestedRow], message: str) -> tuple[NestedRow, Sequence[str]] | None:
    """The only value that PostgreSQL may speak of, which says neither column nor row: it quotes the value."""
    found = [
        (row, (name,))
        for row in rows
        for name, value in row.values.items()
        if value is not None and message.endswith(_quoting(value))
    ]
    return found[0] if len(found) == 1 else None


def _quoting(value: object) -> tuple[str, ...]:
    return f': "{value}"', f'"{value}" is out of range for type integer', f'"{value}" is out of range for type bigint'


def _shown_as(row: NestedRow | None, column: str) -> str:
    """What a request calls the column: the relation whose task has set it, if one has."""
    for task in row.tasks if row is not None else ():
        if task.relation.kind == "belongs to" and column in task.relation.key.columns:
            return task.relation.name
    return column


def _without_place(path: str) -> str:
    """The path of all rows of one statement."""
    return path[: path.rindex("[")] if path.endswith("]") else path
