"""By which of its columns the rows of a query are told apart: what a list of them is ordered by in the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from crosskey.catalog.equal_columns import EqualColumns
from crosskey.catalog.key_values import keys_without_nulls
from crosskey.catalog.view_queries import Equal, Join, Query, Source, Var
from crosskey.catalog.view_spread import Tables

Key = tuple[str, ...]


def find_key(query: Query, tables: Tables) -> Key | None:
    """The places of such columns, from 1; None if none are known. They may be NULL."""
    if query.union or query.multiplies or query.grouping_sets:
        return None
    if query.grouped is None and (key := _key_of_joined(query, tables)) is not None:
        return key
    for told_apart in (query.grouped, query.distinct):
        if told_apart and max(told_apart) < query.width:
            return tuple(str(place + 1) for place in told_apart)
    return None


def never_null(query: Query, tables: Tables) -> frozenset[str]:
    """The places of the columns that are columns of tables and never NULL."""
    if query.union or query.grouping_sets:
        return frozenset()
    joined = _Joined.of(query)
    return frozenset(
        str(place + 1)
        for place, var in enumerate(query.targets[: query.width])
        if var is not None and var.source not in joined.nullable and _is_never_null(query.sources, var, tables)
    )


def _is_never_null(sources: Sequence[Source], var: Var, tables: Tables) -> bool:
    plan = None if var.up else tables.table(sources[var.source].table)
    column = None if plan is None else plan.table.column(var.column)
    return column is not None and column.not_null


@dataclass
class _Joined:
    """The sources that are joined, what must be equal in each row, and of a source that may be missing, beside it."""

    sources: list[int] = field(default_factory=list)
    equal: EqualColumns = field(default_factory=EqualColumns)
    beside: dict[int, tuple[Equal, ...]] = field(default_factory=dict)
    nullable: set[int] = field(default_factory=set)

    @staticmethod
    def of(query: Query) -> _Joined:
        """What is joined by a query."""
        joined = _Joined(equal=EqualColumns(query.equal))
        for node in query.joined:
            joined._add(node, certain=True)
        return joined

    def _add(self, node: int | Join, *, certain: bool) -> None:
        if isinstance(node, int):
            self.sources.append(node)
            if not certain:
                self.nullable.add(node)
            return
        if node.kind == "inner" and certain:
            for pair in node.equal:
                self.equal.add(pair)
        self._add(node.left, certain=certain and node.kind in ("inner", "left"))
        self._add(node.right, certain=certain and node.kind in ("inner", "right"))
        if node.kind == "left" and isinstance(node.right, int):
            self.beside[node.right] = node.equal


def _key_of_joined(query: Query, tables: Tables) -> Key | None:
    """The keys of all sources together, but of those that the others name by a key."""
    joined = _Joined.of(query)
    keys = {number: _keys_of_source(query.sources[number], tables) for number in joined.sources}
    left = list(joined.sources)
    for number in reversed(joined.sources):
        others = {one for one in left if one != number}
        if any(_is_named(number, key, others, joined) for key in keys[number]):
            left.remove(number)
    answered = [_answered(query, number, keys[number], joined.equal) for number in left]
    found = [one for one in answered if one is not None]
    return tuple(dict.fromkeys(chain.from_iterable(found))) if left and len(found) == len(answered) else None


def _is_named(number: int, key: Key, others: set[int], joined: _Joined) -> bool:
    """Whether the row of a source is the only one with the values that columns of others have."""
    equal = joined.equal
    if number in joined.nullable:
        equal = EqualColumns(joined.beside.get(number, ()))
    return all(any(one.up or one.source in others for one in equal.equal_to(Var(number, column))) for column in key)


def _answered(query: Query, number: int, keys: Sequence[Key], equal: EqualColumns) -> Key | None:
    """The places of the columns that have the values of a key of that source."""
    for key in keys:
        places = [next(_places_of(query, Var(number, column), equal), None) for column in key]
        known = [place for place in places if place is not None]
        if len(known) == len(key):
            return tuple(known)
    return None


def _places_of(query: Query, var: Var, equal: EqualColumns) -> Iterator[str]:
    for place, target in enumerate(query.targets[: query.width]):
        if target is not None and equal.are_equal(var, target):
            yield str(place + 1)


def _keys_of_source(source: Source, tables: Tables) -> list[Key]:
    if source.query is not None:
        key = find_key(source.query, tables)
        return [] if key is None else [key]
    plan, view = tables.table(source.table), tables.view(source.table)
    if plan is not None:
        return keys_without_nulls(plan.table)
    key = None if view is None or view.query is None else find_key(view.query, tables)
    return [] if key is None or view is None else [tuple(view.columns[int(place) - 1].name for place in key)]
