"""In which order tables are loaded: parents before children, and tables that reference each other together. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping


def load_order(tables: Collection[str], references: Iterable[tuple[str, str]]) -> list[tuple[list[str], bool]]:
    """Groups of tables in order, and whether the rows of each must be loaded in one transaction.

    `references` are pairs of child and parent. A group has more than one table if they reference each other in a
    circle; a table that references itself is a circle of one.
    """
    parents: dict[str, set[str]] = {table: set() for table in sorted(tables)}
    for child, parent in references:
        if child in parents and parent in parents:
            parents[child].add(parent)
    return [(sorted(group), _is_circle(group, parents)) for group in _components(parents)]


def _is_circle(group: Collection[str], parents: Mapping[str, set[str]]) -> bool:
    return len(group) > 1 or any(table in parents[table] for table in group)


def _components(parents: Mapping[str, set[str]]) -> list[list[str]]:
    """The strongly connected components, each after those that it references (Tarjan)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    waiting: list[str] = []
    found: list[list[str]] = []

    def visit(table: str) -> None:
        order[table] = lowest[table] = len(order)
        waiting.append(table)
        for parent in sorted(parents[table]):
            if parent not in order:
                visit(parent)
                lowest[table] = min(lowest[table], lowest[parent])
            elif parent in waiting:
                lowest[table] = min(lowest[table], order[parent])
        if lowest[table] == order[table]:
            start = waiting.index(table)
            found.append(waiting[start:])
            del waiting[start:]

    for table in parents:
        if table not in order:
            visit(table)
    return found
