"""Tables in the order of their references: what writes many tables begins with parents, or with children. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping


def parents_first(tables: Collection[str], references: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Groups of tables, each behind those that it references; within a group by name.

    `references` are pairs of child and parent; those with other tables are left out. A group has more than one table
    if they reference each other in a circle.
    """
    parents: dict[str, set[str]] = {table: set() for table in sorted(tables)}
    for child, parent in references:
        if child in parents and parent in parents:
            parents[child].add(parent)
    return [sorted(group) for group in _components(parents)]


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
