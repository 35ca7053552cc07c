"""In which order tables are loaded: parents before children, and tables that reference each other together. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from crosskey.catalog.table_groups import parents_first


def load_order(tables: Collection[str], references: Iterable[tuple[str, str]]) -> list[tuple[list[str], bool]]:
    """Groups of tables in order, and whether the rows of each must be loaded in one transaction.

    `references` are pairs of child and parent. A group has more than one table if they reference each other in a
    circle; a table that references itself is a circle of one.
    """
    pairs = set(references)
    return [(group, len(group) > 1 or (group[0], group[0]) in pairs) for group in parents_first(tables, pairs)]
