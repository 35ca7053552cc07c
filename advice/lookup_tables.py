"""Which tables look like small lists that others only look things up in: fit to be on every shard."""

from __future__ import annotations

from crosskey.advice.column_hints import is_kind
from crosskey.advice.survey import Survey
from crosskey.catalog.model import ForeignKey, Table, TableName

MAX_ROWS = 10_000
"""More are no trouble for a shard, but a table that has grown so large grows on."""

MAX_CHANGES_SHARE = 0.01
"""Of the writes to the tables that name it: each change of a reference table is a transaction over all shards."""

ROWS_THAT_TELL = 1000
"""Of a table that names it. With fewer, the database is new, and small tables may be small only yet."""

_MAX_COLUMNS = 4
_MAX_COLUMNS_BY_NAME = 8
_CODES = frozenset({"text", "varchar", "bpchar", "int2"})


def why_lookup(table: Table, survey: Survey) -> str | None:
    """Why a table looks like a lookup table; None if it does not, or if rows of others belong to its rows."""
    keys = survey.database.foreign_keys
    naming = [key for key in keys if key.parent == table.name and key.table != table.name]
    if not naming or _names_others(table, keys) or any(_belongs(key, keys) for key in naming):
        return None
    if is_written_by_triggers(table.name, survey):
        return None
    if _is_counted(naming, survey):
        return _why_by_counts(table.name, naming, survey)
    why = _why_by_form(table)
    return (
        why
        and f"{why}; {why_unknown(survey)}: {_how_to_know(survey)}, or make sure that it is small and seldom written"
    )


def why_unknown(survey: Survey) -> str:
    """Why it is not known whether a table is a list, as a clause; for a survey without statistics that tell."""
    source = "a file alone"
    if survey.live:
        source = f"the database has counted {'too few' if survey.has_statistics else 'no'} rows, so it"
    return f"{source} cannot tell a list such as countries from tenants"


def _how_to_know(survey: Survey) -> str:
    return "run ANALYZE, or ask a database that is in use" if survey.live else "ask a live database with --dsn"


def may_be_lookup(table: Table, survey: Survey) -> bool:
    """Whether only its counts, which are not known, could tell that a table is no lookup table."""
    keys = survey.database.foreign_keys
    naming = [key for key in keys if key.parent == table.name and key.table != table.name]
    unknown = bool(naming) and not _is_counted(naming, survey)
    return unknown and not _names_others(table, keys) and not any(_belongs(key, keys) for key in naming)


def _names_others(table: Table, keys: tuple[ForeignKey, ...]) -> bool:
    return any(key.table == table.name and key.parent != table.name for key in keys)


def _belongs(key: ForeignKey, keys: tuple[ForeignKey, ...]) -> bool:
    """Whether the child is part of its parent: it goes with it, or the column is also part of a composite key."""
    if key.on_delete == "CASCADE":
        return True
    others = (other for other in keys if other.table == key.table and len(other.columns) > 1)
    return any(set(key.columns) < set(other.columns) for other in others)


def _is_counted(naming: list[ForeignKey], survey: Survey) -> bool:
    """Whether the tables that name a table have so many rows that its own number tells something."""
    return max((survey.facts(key.table).rows for key in naming), default=0) >= ROWS_THAT_TELL


def is_written_by_triggers(name: TableName, survey: Survey) -> bool:
    """Whether writes to other tables write this one: on one shard, which a reference table does not take."""
    return any(name in table.written_by_triggers for table in survey.database.tables if table.name != name)


def _why_by_counts(name: TableName, naming: list[ForeignKey], survey: Survey) -> str | None:
    facts = survey.facts(name)
    children = [survey.facts(child) for child in {key.table for key in naming}]
    changes = facts.updates + facts.deletes
    writes = sum(child.inserts + child.updates + child.deletes for child in children)
    small = facts.rows <= MAX_ROWS and facts.rows < max(child.rows for child in children)
    if not small or changes > writes * MAX_CHANGES_SHARE:
        return None
    return f"it has {facts.rows} rows, and {changes} updates and deletes against {writes} writes of what names it"


def _why_by_form(table: Table) -> str | None:
    if is_kind(table.name.name) and len(table.columns) <= _MAX_COLUMNS_BY_NAME:
        return "its name is that of a list, and it names no other table"
    key = [table.column(name) for name in table.primary_key]
    is_code = len(key) == 1 and key[0] is not None and key[0].base_type in _CODES
    if not is_code or len(table.columns) > _MAX_COLUMNS:
        return None
    return "its key is a code and it names no other table"
