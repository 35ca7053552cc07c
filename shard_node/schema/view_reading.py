"""What views read: from PostgreSQL's own trees of their queries to what the catalog judges."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from crosskey.catalog.model import Column, TableName, View
from crosskey.catalog.view_queries import Equal, Join, JoinKind, Query, Source, Var
from crosskey.shard_node.sql_text.node_trees import Tree, read_tree

_EQUALS: Final = frozenset({"15", "94", "96", "98", "410", "416", "532", "533", "1862", "1868", "2972"})
"""`=` between integers of any width, of texts, and of uuids: equal values have one slot. PostgreSQL's own numbers."""
_TEXTS: Final = frozenset({"25", "1043"})
_JOIN_KINDS: Final[tuple[JoinKind, ...]] = ("inner", "left", "full", "right")

_RELATION, _SUBQUERY, _JOIN, _CTE, _GROUP = "0", "1", "2", "6", "9"
"""The kinds of entries of a range table that are looked into."""

_CATALOG: Final = "a table of PostgreSQL's own"
_MOST_QUERIES: Final = 200
"""A query that WITH names counts each time that it is read: else one could be read without an end."""
_MOST_LEVELS: Final = 50


class Relation(msgspec.Struct, frozen=True):
    """What a view may read: a table or view, for a partition the table that is partitioned, or `other`."""

    name: TableName | None
    columns: Mapping[str, str]
    """The columns by their numbers."""
    other: str = ""


class ViewText(msgspec.Struct, frozen=True):
    """A view as the description of a schema has it: `query` is PostgreSQL's tree, `relations` what it reads, by oid."""

    name: TableName
    columns: tuple[Column, ...]
    query: str
    calls: tuple[str, ...]
    relations: Mapping[str, Relation]


def read_view(text: ViewText) -> View:
    """The view; without a query if that is too large, or not written as the known versions of PostgreSQL write it."""
    try:
        [tree] = read_tree(text.query)
        query = _Reader(text.relations).query(tree)
    except (AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError):
        query = None
    return View(text.name, text.columns, query, text.calls)


class _Reader:
    """Reads a query and those inside of it; `_ranges` are the range tables around, the innermost last."""

    def __init__(self, relations: Mapping[str, Relation]) -> None:
        self._relations = relations
        self._ranges: list[Sequence[Tree]] = []
        self._with: list[Mapping[str, Tree]] = []
        self._queries = 0

    def query(self, tree: Tree) -> Query:
        """The query of that tree."""
        self._queries += 1
        if self._queries > _MOST_QUERIES or len(self._ranges) > _MOST_LEVELS:
            raise ValueError("the view has too many queries within")
        self._ranges.append(tree["rtable"] or [])
        self._with.append({one["ctename"]: one["ctequery"] for one in tree["cteList"] or []})
        try:
            return self._query(tree)
        finally:
            self._ranges.pop()
            self._with.pop()

    def _query(self, tree: Tree) -> Query:
        targets = tree["targetList"] or []
        distinct = tree["distinctClause"]
        union = list(_leaves(tree["setOperations"])) if tree["setOperations"] else []
        return Query(
            sources=tuple(map(self._source, self._ranges[-1])),
            joined=tuple(self._joined(one) for one in tree["jointree"]["fromlist"] or []),
            equal=tuple(self._equal(tree["jointree"]["quals"])),
            within=tuple(self.query(one) for one in _queries_within(tree)),
            targets=tuple(self._var(one["expr"]) for one in targets),
            width=sum(one["resjunk"] == "false" for one in targets),
            grouped=self._grouped(tree),
            grouping_sets=tree["groupingSets"] is not None,
            distinct=None if distinct is None else _places(distinct, targets),
            windows=tuple(_places(one["partitionClause"] or [], targets) for one in tree["windowClause"] or []),
            windows_ordered=tuple(_places(one["orderClause"] or [], targets) for one in tree["windowClause"] or []),
            ordered=_places(tree["sortClause"] or [], targets),
            limited=any(map(_bounds, (tree["limitCount"], tree["limitOffset"]))),
            locks=tree["rowMarks"] is not None,
            multiplies=tree["hasTargetSRFs"] == "true",
            union=tuple(leaf for leaf, _ in union),
            union_all=all(is_all for _, is_all in union),
        )

    def _grouped(self, tree: Tree) -> tuple[int, ...] | None:
        if tree["groupClause"] is not None:
            return _places(tree["groupClause"], tree["targetList"])
        aggregates = tree["hasAggs"] == "true" or tree["havingQual"] is not None
        return () if aggregates or tree["groupingSets"] is not None else None

    def _source(self, entry: Tree) -> Source:
        if entry["rtekind"] == _RELATION:
            relation = self._relations.get(entry["relid"])
            # PostgreSQL notes no dependency on its own tables.
            return Source(other=_CATALOG) if relation is None else _of(relation)
        if entry["rtekind"] == _SUBQUERY:
            return Source(query=self.query(entry["subquery"]))
        if entry["rtekind"] == _CTE:
            return self._named_query(entry)
        return Source()

    def _named_query(self, entry: Tree) -> Source:
        """What WITH has called so, as if it stood in its place; there, what it has of queries around means others."""
        if entry["self_reference"] == "true":
            return Source(recursive=True)
        level = len(self._with) - int(entry["ctelevelsup"])
        tree = self._with[level - 1][entry["ctename"]]
        around = self._ranges, self._with
        self._ranges, self._with = [], self._with[:level]
        try:
            return Source(query=self.query(tree))
        finally:
            self._ranges, self._with = around

    def _joined(self, tree: Tree) -> int | Join:
        if tree[""] == "RANGETBLREF":
            return int(tree["rtindex"]) - 1
        kind = _JOIN_KINDS[int(tree["jointype"])]
        return Join(kind, self._joined(tree["larg"]), self._joined(tree["rarg"]), tuple(self._equal(tree["quals"])))

    def _equal(self, condition: Tree) -> Iterator[Equal]:
        """What must be equal where the condition is true."""
        if condition is None:
            return
        if condition[""] == "BOOLEXPR" and condition["boolop"] == "and":
            for part in condition["args"]:
                yield from self._equal(part)
        elif condition[""] == "OPEXPR" and condition["opno"] in _EQUALS:
            left, right = map(self._var, condition["args"])
            if left is not None and right is not None:
                yield left, right

    def _var(self, tree: Tree, around: int = 0) -> Var | None:
        """The column that an expression is, and nothing but that; it stands in the query that many levels around."""
        while tree[""] == "RELABELTYPE" and tree["resulttype"] in _TEXTS:
            tree = tree["arg"]
        if tree[""] != "VAR" or int(tree["varattno"]) <= 0:
            return None
        up, number, place = around + int(tree["varlevelsup"]), int(tree["varno"]) - 1, int(tree["varattno"])
        if up >= len(self._ranges):
            return None
        entry = self._ranges[-1 - up][number]
        if entry["rtekind"] in (_JOIN, _GROUP):
            return self._var(entry["joinaliasvars" if entry["rtekind"] == _JOIN else "groupexprs"][place - 1], up)
        relation = self._relations.get(entry["relid"]) if entry["rtekind"] == _RELATION else None
        return Var(number, str(place) if relation is None else relation.columns[str(place)], up)


def _of(relation: Relation) -> Source:
    return Source(other=relation.other) if relation.name is None else Source(relation.name.qualified)


def _leaves(tree: Tree, is_all: bool = True) -> Iterator[tuple[int, bool]]:
    """The sources of a UNION and the like, and whether all rows of each are kept."""
    if tree[""] == "RANGETBLREF":
        yield int(tree["rtindex"]) - 1, is_all
        return
    union_all = is_all and tree["op"] == "1" and tree["all"] == "true"
    yield from _leaves(tree["larg"], union_all)
    yield from _leaves(tree["rarg"], union_all)


def _bounds(limit: Tree) -> bool:
    """Whether there is a LIMIT; LIMIT ALL is a NULL."""
    return limit is not None and limit.get("constisnull") != "true"


def _places(clauses: Sequence[Tree], targets: Sequence[Tree]) -> tuple[int, ...]:
    """The places of the targets that GROUP BY and the like name."""
    by_number = {one["ressortgroupref"]: place for place, one in enumerate(targets)}
    return tuple(by_number[one["tleSortGroupRef"]] for one in clauses)


def _queries_within(tree: Tree) -> Iterator[Tree]:
    """The queries inside of expressions of a query, not those inside of these, nor those that it reads from."""
    waiting: list[Any] = [value for field, value in tree.items() if field != "cteList"]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict) and part[""] == "QUERY":
            yield part
        elif isinstance(part, dict):
            waiting += [value for field, value in part.items() if field != "subquery"]
