"""Keys that stop being eventual: what of their clean-ups a change of the schema would forget."""

from __future__ import annotations

from collections.abc import Iterator

from crosskey.catalog.changes.plans import Names
from crosskey.catalog.model import TableName
from crosskey.catalog.plan import Plan


def forgotten_clean_ups(old: Plan, new: Plan, tables: Names) -> Iterator[TableName]:
    """The tables, by their old names, of clean-ups that nobody would go on with: they must be over by then.

    A row in one of them hides children of a parent that is deleted; without it they would be seen again.
    """
    kept = _eventual(new, {})
    for key, dead in _eventual(old, tables).items():
        if kept.get(key) != dead:
            yield from dead


def _eventual(plan: Plan, tables: Names) -> dict[tuple[str, str], tuple[TableName, TableName]]:
    """Eventual keys, by the new names of their tables and their own: where the deleted parents are noted."""
    found = {}
    for key in plan.keys:
        referenced = None if key.referenced_key is None else plan.referenced_key(key.referenced_key)
        if referenced is not None and referenced.eventual:
            table = key.foreign_key.table.qualified
            found[tables.get(table, table), key.foreign_key.name] = (referenced.departed, referenced.dead)
    return found
