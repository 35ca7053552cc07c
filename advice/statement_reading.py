"""What a normalised statement asks of which tables, as far as that tells on how many shards its rows are.

Only this module knows the SQL parser, which is an optional dependency.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from crosskey.catalog.model import Database, Table, TableName

if TYPE_CHECKING:
    from sqlglot import exp

Verb = Literal["select", "insert", "update", "delete"]

_PARAMETER: Final = re.compile(r"\$(\d+)")
_COMMENT: Final = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_WORD: Final = re.compile(r"\w+")
_SYSTEM_SCHEMAS: Final = ("pg_catalog", "information_schema")


class Place(msgspec.Struct, frozen=True):
    """A column of a table that a statement names; `alias` tells two uses of one table apart."""

    alias: str
    column: str


class StatementShape(msgspec.Struct, frozen=True):
    """A statement's tables by alias, and what it says about their columns.

    `given` are the columns that must equal one value, with a name for it; `equal` are the pairs that must equal each
    other; `changed` the columns that an UPDATE sets. The first alias is what is written.
    """

    verb: Verb
    tables: dict[str, TableName]
    given: tuple[tuple[Place, str], ...] = ()
    equal: tuple[tuple[Place, Place], ...] = ()
    changed: tuple[str, ...] = ()


class NotRead(Exception):
    """A statement that the parser, or these rules, do not see through."""


def can_read_statements() -> bool:
    """Whether the parser is installed."""
    return find_spec("sqlglot") is not None


def read_statement(query: str, database: Database) -> StatementShape | None:
    """What a statement asks; None if it is none on the tables of this schema. Raises NotRead."""
    from sqlglot import exp, parse
    from sqlglot.errors import SqlglotError

    words = set(_WORD.findall(_COMMENT.sub(" ", query.lower())))
    if not any(words >= set(_WORD.findall(table.name.name.lower())) for table in database.tables):
        return None  # Also what cannot be parsed, such as questions to PostgreSQL's own catalogs.
    # It reports on standard error what it takes for a command of no known form.
    logging.getLogger("sqlglot").setLevel(logging.ERROR)
    try:
        # It would take `$1,$2` for the beginning of a dollar-quoted text.
        [tree] = parse(_PARAMETER.sub(r":p\1", query), dialect="postgres")
    except (SqlglotError, ValueError, RecursionError) as error:
        raise NotRead(query) from error
    if not isinstance(tree, exp.Query | exp.Insert | exp.Update | exp.Delete | exp.Merge):
        return None
    tables = _Tables(database)
    if not any(tables.find(named) for named in tree.find_all(exp.Table)):
        return None
    return _Reader(tables, tree).read()


class _Tables:
    """The tables of a schema, by the names that statements call them."""

    def __init__(self, database: Database) -> None:
        self._tables = {table.name: table for table in database.tables}
        self._by_name: dict[str, list[Table]] = {}
        for table in database.tables:
            self._by_name.setdefault(table.name.name, []).append(table)

    def find(self, named: exp.Table) -> Table | None:
        """The table of that name, if the schema has just one."""
        name = _stored_name(named.this)
        if named.db:
            return self._tables.get(TableName(_stored_name(named.args["db"]), name))
        of_that_name = self._by_name.get(name, [])
        in_public = self._tables.get(TableName("public", name))
        return in_public or (of_that_name[0] if len(of_that_name) == 1 else None)


class _Reader:
    """Reads one statement."""

    def __init__(self, tables: _Tables, tree: exp.Expr) -> None:
        self._known = tables
        self._tree = tree
        self._tables: dict[str, Table] = {}
        self._given: list[tuple[Place, str]] = []
        self._equal: list[tuple[Place, Place]] = []

    def read(self) -> StatementShape:
        from sqlglot import exp

        if isinstance(self._tree, exp.Insert):
            return self._insert(self._tree)
        if isinstance(self._tree, exp.SetOperation | exp.Merge) or self._tree.args.get("with_") or self._has_subquery():
            raise NotRead(self._tree.sql())
        self._add_tables()
        for condition in self._conditions():
            self._note(condition)
        if isinstance(self._tree, exp.Update):
            return self._shape("update", tuple(_changed_columns(self._tree)))
        return self._shape("delete" if isinstance(self._tree, exp.Delete) else "select")

    def _insert(self, insert: exp.Insert) -> StatementShape:
        """One row lands on one shard; several, or those of a query, wherever they may."""
        from sqlglot import exp

        target = insert.this.this if isinstance(insert.this, exp.Schema) else insert.this
        table = self._known.find(target)
        rows = insert.expression
        if table is None or not isinstance(rows, exp.Values | None) or insert.args.get("with_"):
            raise NotRead(insert.sql())
        self._tables[table.name.name] = table
        if rows is None or len(rows.expressions) == 1:
            # Also what a default or the router gives is one value.
            self._given = [(Place(table.name.name, column.name), f"row {column.name}") for column in table.columns]
        return self._shape("insert")

    def _has_subquery(self) -> bool:
        from sqlglot import exp

        return any(nested is not self._tree for nested in self._tree.find_all(exp.Query))

    def _add_tables(self) -> None:
        from sqlglot import exp

        for named in self._tree.find_all(exp.Table):
            table = self._known.find(named)
            if table is not None:
                self._tables[_alias(named)] = table
            elif named.db not in _SYSTEM_SCHEMAS:
                # A view, a function, or a table of another schema: nobody knows where its rows are.
                raise NotRead(self._tree.sql())

    def _conditions(self) -> Iterator[exp.Expr]:
        """What must hold of every row that the statement touches. An outer join's says nothing of its outer side."""
        from sqlglot import exp

        where = self._tree.args.get("where")
        if where is not None:
            yield from where.this.flatten() if isinstance(where.this, exp.And) else [where.this]
        for join in self._tree.find_all(exp.Join):
            if join.side in ("RIGHT", "FULL") or join.method == "NATURAL":
                raise NotRead(self._tree.sql())
            yield from self._joins(join)

    def _joins(self, join: exp.Join) -> Iterator[exp.Expr]:
        from sqlglot import exp

        on = join.args.get("on")
        if on is not None:
            yield from (
                condition
                for condition in (on.flatten() if isinstance(on, exp.And) else [on])
                if not join.side or _compares_columns(condition)
            )
        joined = _alias(join.this) if isinstance(join.this, exp.Table) else ""
        for name in join.args.get("using") or ():
            column = _stored_name(name)
            others = [alias for alias, table in self._tables.items() if alias != joined and table.column(column)]
            if joined and len(others) == 1:
                self._equal.append((Place(joined, column), Place(others[0], column)))

    def _note(self, condition: exp.Expr) -> None:
        """Keep an equality between a column and a value, or two columns; any other condition tells no shard."""
        from sqlglot import exp

        condition = condition.unnest()
        if isinstance(condition, exp.And):
            for part in condition.flatten():
                self._note(part)
        elif isinstance(condition, exp.EQ):
            self._note_equality(condition.this, condition.expression)
        elif isinstance(condition, exp.In) and len(condition.expressions) == 1 and not _many(condition):
            self._note_equality(condition.this, condition.expressions[0])

    def _note_equality(self, left: exp.Expr, right: exp.Expr) -> None:
        from sqlglot import exp

        if isinstance(left, exp.Tuple) and isinstance(right, exp.Tuple):
            for one, other in zip(left.expressions, right.expressions, strict=False):
                self._note_equality(one, other)
        places = [self._place(side) for side in (left, right)]
        values = [_value(side) for side in (left, right)]
        if places[0] is not None and places[1] is not None:
            self._equal.append((places[0], places[1]))
        for place, value in zip(places, reversed(values), strict=True):
            if place is not None and value is not None:
                self._given.append((place, value))

    def _place(self, side: exp.Expr) -> Place | None:
        from sqlglot import exp

        if not isinstance(side, exp.Column):
            return None
        column = _stored_name(side.this)
        if side.table:
            alias = _stored_name(side.args["table"])
            return Place(alias, column) if alias in self._tables else None
        having = [alias for alias, table in self._tables.items() if table.column(column)]
        return Place(having[0], column) if len(having) == 1 else None

    def _shape(self, verb: Verb, changed: tuple[str, ...] = ()) -> StatementShape:
        names: Mapping[str, TableName] = {alias: table.name for alias, table in self._tables.items()}
        return StatementShape(verb, dict(names), tuple(self._given), tuple(self._equal), changed)


def _changed_columns(update: exp.Update) -> Iterator[str]:
    from sqlglot import exp

    for assignment in update.expressions:
        if isinstance(assignment, exp.EQ):
            targets: Iterable[exp.Expr] = (
                assignment.this.expressions if isinstance(assignment.this, exp.Tuple) else [assignment.this]
            )
            yield from (_stored_name(target.this) for target in targets if isinstance(target, exp.Column))


def _stored_name(identifier: exp.Expr) -> str:
    """A name as PostgreSQL stores it: in lower case unless it is quoted."""
    return identifier.name if identifier.args.get("quoted") else identifier.name.lower()


def _alias(named: exp.Table) -> str:
    alias = named.args.get("alias")
    return _stored_name(alias.this if alias is not None else named.this)


def _compares_columns(condition: exp.Expr) -> bool:
    from sqlglot import exp

    return isinstance(condition, exp.EQ) and all(
        isinstance(side, exp.Column) for side in (condition.this, condition.expression)
    )


def _many(condition: exp.In) -> bool:
    """Whether the one parameter stands for a list, which newer versions of pg_stat_statements shorten so."""
    return any("..." in comment for item in condition.expressions for comment in item.comments or ())


def _value(side: exp.Expr) -> str | None:
    """A name of one value, the same for the same value; None for what depends on a row, or is a list of values."""
    from sqlglot import exp

    side = side.unnest()
    if isinstance(side, exp.Cast):
        return _value(side.this)
    many = side.find(exp.Column, exp.Query, exp.Any, exp.All, exp.Tuple)
    return side.sql() if many is None else None
