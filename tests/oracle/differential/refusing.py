"""Which generated schemas planning refuses, told independently of it from what docs/schema.md says."""

from __future__ import annotations

from tests.oracle.differential.family import Family, ForeignKey, Table


def why_refused(family: Family) -> str | None:
    """A reason, or None if every table can be placed and every key can be kept."""
    for table in family.tables:
        if table.shard_key is not None and any(table.shard_key not in key for key in table.unique_keys):
            return "a unique key without the shard key"
        for key in table.foreign_keys:
            why = _why_key_refused(table, family.table(key.parent), key)
            if why is not None:
                return why
    return None


def _why_key_refused(table: Table, parent: Table, key: ForeignKey) -> str | None:
    if parent.shard_key is None:
        return None
    if parent.shard_key not in key.parent_columns:
        return "a key that does not name the parent's shard key"
    column = key.columns[key.parent_columns.index(parent.shard_key)]
    if table.column(column).counts != parent.column(parent.shard_key).counts:
        return "a key between columns of two kinds"
    return None
