"""Whether the rows of a view, shard by shard, are the rows that it has on one server.

A query is `everywhere` if every shard answers the same rows, `parted` if each of its rows is answered by one shard, and
`attached`, inside of another one, if it reads all that belongs to a row of that, which is on the same shard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from crosskey.catalog.equal_columns import EqualColumns
from crosskey.catalog.key_values import keys_without_nulls
from crosskey.catalog.model import TableName, View
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.slots import FAMILIES
from crosskey.catalog.view_queries import Join, Query, Source, Var

Place: TypeAlias = tuple[str, ...]
"""What places rows: two rows with equal values in columns of one place are on one shard."""

BY_SLOT: Final = "slot"
"""The first part of a place whose values tell the shard; the other is the family of their type."""


class NotSpread(Exception):
    """The union over the shards is not what one server would answer; the text says why, and what to do."""


@dataclass(frozen=True)
class Gathering:
    """What is known of a column: the places by which it gathers rows, unless it is NULL, which it may be."""

    places: frozenset[Place] = frozenset()
    nullable: bool = False


@dataclass(frozen=True)
class Spread:
    """Where the rows of a query or table are, and what its columns tell of that."""

    kind: Literal["everywhere", "parted", "attached"]
    columns: Mapping[str, Gathering] = field(default_factory=dict)
    stored: bool = True
    """Whether rows of tables are read."""
    by_disk: str = ""
    """What of it follows the order in which rows of reference tables are stored, which is each shard's own."""


EVERYWHERE: Final = Spread("everywhere")
NOTHING_STORED: Final = Spread("everywhere", stored=False)


class Tables:
    """What is known of the tables and views that queries read, by `schema.name`."""

    def __init__(
        self, tables: Sequence[TablePlan], views: Mapping[str, View], cleaned_up_later: Set[TableName] = frozenset()
    ) -> None:
        self._tables = {plan.table.name.qualified: plan for plan in tables}
        self._views = views
        self._cleaned_up_later = cleaned_up_later
        self._roots = {(plan.anchor.root_table, plan.anchor.root_column) for plan in tables if plan.anchor is not None}
        self._known: dict[str, Spread | NotSpread] = {}

    def spread(self, name: str) -> Spread:
        """Where the rows of a table or view are. Raises NotSpread."""
        if name not in self._known:
            self._known[name] = NotSpread(f"{name} reads itself")
            self._known[name] = self._find(name)
        known = self._known[name]
        if isinstance(known, NotSpread):
            raise known
        return known

    def table(self, name: str) -> TablePlan | None:
        """The table of that name, if it is none of the views."""
        return self._tables.get(name)

    def view(self, name: str) -> View | None:
        """The view of that name."""
        return self._views.get(name)

    def _find(self, name: str) -> Spread | NotSpread:
        plan = self._tables.get(name)
        if plan is not None and plan.name in self._cleaned_up_later:
            return NotSpread(f"it reads {name}, and would show rows that await their clean-up (@enforce eventual)")
        if plan is not None:
            return self._of_table(plan)
        try:
            return self._of_view(name)
        except NotSpread as refusal:
            return refusal

    def _of_view(self, name: str) -> Spread:
        view = self._views.get(name)
        if view is None or view.query is None:
            raise NotSpread(f"it is not known what {name} reads")
        if view.calls:
            raise NotSpread(
                f"{view.calls[0]} is called, which may read rows of other shards; declare it IMMUTABLE if it reads none"
            )
        spread = find_spread(view.query, self)
        columns = {column.name: _column(spread, str(place)) for place, column in enumerate(view.columns, 1)}
        return replace(spread, columns={name: one for name, one in columns.items() if one.places})

    def _of_table(self, plan: TablePlan) -> Spread:
        if plan.placement == "reference":
            return EVERYWHERE
        columns = {
            column.name: Gathering(frozenset(self._places(plan, column.name)), nullable=not column.not_null)
            for column in plan.table.columns
        }
        return Spread("parted", {name: one for name, one in columns.items() if one.places})

    def _places(self, plan: TablePlan, name: str) -> Iterator[Place]:
        column = plan.table.column(name)
        family = None if column is None else FAMILIES.get(column.base_type)
        if family is None:
            return
        if name in plan.locators:
            yield BY_SLOT, family
        table, origin = plan.origin_or_self(name)
        if (table, origin) in self._roots:
            yield table.qualified, origin, family


def find_spread(query: Query, tables: Tables, around: Sequence[_Level] = ()) -> Spread:
    """Where the rows of a query are, inside of others whose levels are `around`. Raises NotSpread."""
    if query.locks:
        raise NotSpread("it locks rows; leave FOR UPDATE and the like out")
    return _Level(query, tables, around).spread()


@dataclass(frozen=True)
class _Unit:
    """Sources that are joined: whether they hold rows that are on one shard each, and which may come as NULLs."""

    parted: bool
    sources: frozenset[int]
    nullable: frozenset[int] = frozenset()


class _Level:
    """A query among those around it."""

    def __init__(self, query: Query, tables: Tables, around: Sequence[_Level]) -> None:
        self._query = query
        self._tables = tables
        self._around = around
        self._spreads: dict[int, Spread] = {}

    def spread(self) -> Spread:
        """Where the rows are. Raises NotSpread."""
        inside = [find_spread(within, self._tables, (*self._around, self)) for within in self._query.within]
        if any(one.kind == "parted" for one in inside):
            raise NotSpread(
                "a query inside of it reads rows that may be on other shards than the row that it is for; let it"
                " compare the columns that place the two"
            )
        found = self._union() if self._query.union else self._select()
        parts = (*inside, *self._spreads.values(), found)
        by_disk = next((one.by_disk for one in parts if one.by_disk), "")
        if by_disk and found.kind == "parted":
            raise NotSpread(
                f"{by_disk} of reference tables follows the order in which a shard has stored their rows; let a key of"
                " each be in the ORDER BY"
            )
        stored = any(one.stored for one in (*inside, *self._spreads.values()))
        return replace(found, stored=stored, by_disk=by_disk if stored else "")

    def colocating(self, var: Var) -> Gathering:
        """What is known of a column, of this level or of one around."""
        if var.up > len(self._around):
            return Gathering()
        if var.up:
            level: _Level = self._around[-var.up]
            return level.colocating(Var(var.source, var.column))
        return self._source(var.source).columns.get(var.column, Gathering())

    def _source(self, number: int) -> Spread:
        if number not in self._spreads:
            self._spreads[number] = self._of_source(self._query.sources[number])
        return self._spreads[number]

    def _of_source(self, source: Source) -> Spread:
        if source.other:
            raise NotSpread(f"it reads {source.other}, of which each shard has its own")
        if source.query is not None:
            return find_spread(source.query, self._tables, (*self._around, self))
        if source.table:
            return self._tables.spread(source.table)
        return EVERYWHERE if source.recursive else NOTHING_STORED

    def _select(self) -> Spread:
        equal = EqualColumns(self._query.equal)
        unit = self._inner(self._query.joined, equal)
        if not unit.parted:
            return Spread("everywhere", by_disk=self._by_disk(unit, equal))
        if any(self._query.sources[number].recursive for number in unit.sources):
            raise NotSpread("WITH RECURSIVE would follow rows on its own shard only; list the table, by relations")
        if any(self._leads_out(var, equal) for var in self._gathering(unit)):
            return Spread("attached")
        outputs = {place: self._output(var, unit, equal) for place, var in enumerate(self._query.targets)}
        self._refuse_sums(outputs)
        return Spread("parted", {str(place + 1): one for place, one in outputs.items() if one.places})

    def _by_disk(self, unit: _Unit, equal: EqualColumns) -> str:
        """What of a query over reference tables alone follows the order in which their rows are stored."""
        query = self._query
        pairs = zip(query.windows, query.windows_ordered, strict=False)  # None, in what an older node has described.
        if not all(self._tells_apart({*windows, *ordered}, unit, equal) for windows, ordered in pairs):
            return "a window"
        ordered = set(query.ordered)
        # Rows that are equal in all that is answered may take each other's place.
        if ordered.issuperset(range(query.width)) or self._tells_apart(ordered, unit, equal):
            return ""
        if query.limited:
            return "LIMIT"
        picks = query.distinct is not None and not set(query.distinct).issuperset(range(query.width))
        return "DISTINCT ON" if picks else ""

    def _tells_apart(self, places: Set[int], unit: _Unit, equal: EqualColumns) -> bool:
        """Whether no two rows, or groups, have equal values at these places."""
        query = self._query
        if query.grouped is not None:
            return not query.grouping_sets and places >= set(query.grouped)
        known = [query.targets[place] for place in places]

        def is_known(number: int, key: Sequence[str]) -> bool:
            return all(
                any(var is not None and equal.are_equal(Var(number, column), var) for var in known) for column in key
            )

        return not query.multiplies and all(
            any(is_known(number, key) for key in self._keys(number)) for number in unit.sources
        )

    def _keys(self, number: int) -> Sequence[tuple[str, ...]]:
        plan = self._tables.table(self._query.sources[number].table)
        return () if plan is None else keys_without_nulls(plan.table)

    def _leads_out(self, var: Var, equal: EqualColumns) -> bool:
        """Whether a column that places rows must equal one that places the row around which the query is."""
        places = self.colocating(var).places
        return any(other.up and not places.isdisjoint(self.colocating(other).places) for other in equal.equal_to(var))

    def _gathering(self, unit: _Unit) -> list[Var]:
        """The columns of a unit that place its rows."""
        return [
            Var(number, column)
            for number in sorted(unit.sources)
            if self._source(number).kind == "parted"
            for column in self._source(number).columns
        ]

    def _inner(self, nodes: Sequence[int | Join], equal: EqualColumns) -> _Unit:
        """Nodes that are joined so that all of `equal` holds, which learns what their own conditions say."""
        flat = list(_flattened(nodes, equal))
        units = [self._unit(node, equal) for node in flat]
        together = [unit for unit in units if unit.parted]
        linked = together[:1]
        waiting = together[1:]
        while waiting:
            found = next((one for one in waiting if any(self._meet(one, other, equal) for other in linked)), None)
            if found is None:
                raise _unlinked()
            linked.append(found)
            waiting.remove(found)
        return _Unit(
            bool(together),
            frozenset().union(*(unit.sources for unit in units)),
            frozenset().union(*(unit.nullable for unit in units)),
        )

    def _unit(self, node: int | Join, equal: EqualColumns) -> _Unit:
        if isinstance(node, int):
            return _Unit(self._source(node).kind == "parted", frozenset({node}))
        return self._outer(node, equal)

    def _outer(self, join: Join, equal: EqualColumns) -> _Unit:
        """A join that answers rows of the left, or of both, without a partner."""
        own = EqualColumns(join.equal)
        left = self._inner([join.left], EqualColumns() if join.kind == "full" else equal)
        right = self._inner([join.right], EqualColumns() if join.kind == "full" else own.copy())
        if left.parted != right.parted and (join.kind == "full" or right.parted):
            raise NotSpread(
                "an outer join would add NULLs to rows of a reference table on every shard; join them the other way"
            )
        if left.parted and right.parted and not self._meet(left, right, own):
            raise _unlinked()
        nullable = left.nullable | right.nullable | right.sources
        if join.kind == "full":
            nullable |= left.sources
        return _Unit(left.parted or right.parted, left.sources | right.sources, nullable)

    def _meet(self, one: _Unit, other: _Unit, equal: EqualColumns) -> bool:
        """Whether rows of two units can only be joined that are on one shard."""
        return any(
            equal.are_equal(left, right) and not self.colocating(left).places.isdisjoint(self.colocating(right).places)
            for left in self._gathering(one)
            for right in self._gathering(other)
        )

    def _output(self, var: Var | None, unit: _Unit, equal: EqualColumns) -> Gathering:
        """What is known of a column that the query answers; it has the places of those that it must equal."""
        if var is None:
            return Gathering()
        alike = equal.equal_to(var)
        own = self.colocating(var)
        # What equals another column is not NULL.
        nullable = len(alike) == 1 and (own.nullable or var.source in unit.nullable)
        return Gathering(frozenset().union(*(self.colocating(one).places for one in alike if not one.up)), nullable)

    def _refuse_sums(self, outputs: Mapping[int, Gathering]) -> None:
        """Refuses what brings together rows of several shards."""
        query = self._query

        def gathers(places: Sequence[int]) -> bool:
            return any(outputs[place].places and not outputs[place].nullable for place in places)

        if query.limited:
            raise NotSpread("each shard would answer its own LIMIT; leave it out, and give List a page_size")
        if query.grouping_sets:
            raise NotSpread("GROUPING SETS add up rows of several shards; use Aggregate")
        if query.grouped is not None and not gathers(query.grouped):
            what = "GROUP BY" if query.grouped else "an aggregate"
            raise NotSpread(f"{what} adds up rows of several shards; group by the column that places them, {_OR_SUM}")
        if query.distinct is not None and not gathers(query.distinct):
            raise NotSpread("DISTINCT compares rows of several shards; let it have the column that places them")
        if not all(map(gathers, query.windows)):
            raise NotSpread("a window has rows of several shards; let it be PARTITION BY the column that places them")

    def _union(self) -> Spread:
        spreads = [self._source(number) for number in self._query.union]
        kinds = {spread.kind for spread in spreads}
        if kinds <= {"everywhere", "attached"}:
            is_picked = self._query.limited and not set(self._query.ordered).issuperset(range(self._query.width))
            by_disk = "LIMIT" if is_picked and kinds == {"everywhere"} else ""
            return Spread("everywhere" if kinds == {"everywhere"} else "attached", by_disk=by_disk)
        if kinds != {"parted"}:
            raise NotSpread("a UNION would answer rows of a reference table once for every shard; list the two apart")
        columns = {
            column: Gathering(
                frozenset.intersection(*(_column(one, column).places for one in spreads)),
                nullable=any(_column(one, column).nullable for one in spreads),
            )
            for column in spreads[0].columns
        }
        columns = {name: one for name, one in columns.items() if one.places}
        if not self._query.union_all and all(one.nullable for one in columns.values()):
            raise NotSpread(
                "UNION, INTERSECT and EXCEPT compare rows of several shards; say UNION ALL, or let all parts have the"
                " column that places them"
            )
        if self._query.limited:
            self._refuse_sums({})
        return Spread("parted", columns)


_OR_SUM: Final = "or use Aggregate"


def _column(spread: Spread, name: str) -> Gathering:
    return spread.columns.get(name, Gathering())


def _flattened(nodes: Sequence[int | Join], equal: EqualColumns) -> Iterator[int | Join]:
    """The nodes, inner joins taken apart; a join to the right is turned round."""
    for node in nodes:
        if isinstance(node, Join) and node.kind == "inner":
            for one in node.equal:
                equal.add(one)
            yield from _flattened([node.left, node.right], equal)
        elif isinstance(node, Join) and node.kind == "right":
            yield Join("left", node.right, node.left, node.equal)
        else:
            yield node


def _unlinked() -> NotSpread:
    return NotSpread(
        "it joins rows that may be on different shards; join them by the columns that place both, or list one of the"
        " tables and include the other"
    )
