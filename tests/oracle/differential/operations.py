"""What an example does: requests as values whose `repr` is Python, so that a failure can be written down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import crosskey
from crosskey import requests
from crosskey.requests import Association
from crosskey.v1 import rows_pb2
from crosskey.v1.rows_pb2 import Predicate
from tests.oracle.differential.judge import Judge
from tests.oracle.differential.plain_associations import associate, insert_nested


@dataclass(frozen=True)
class Drawn:
    """The number that PostgreSQL drew so many draws ago for a row that left its key out."""

    ago: int


Value: TypeAlias = int | str | Drawn | None


@dataclass(frozen=True)
class Plus:
    """A new value: that of a column and a number more."""

    column: str
    number: int


@dataclass(frozen=True)
class Where:
    """A condition; `op` is the name of a function of crosskey that makes it."""

    column: str
    op: str
    value: Any

    def predicate(self, judge: Judge) -> Predicate:
        """The condition as requests take it."""
        predicate: Predicate = getattr(crosskey, self.op)(self.column, _sent(self.value, judge))
        return predicate


@dataclass(frozen=True)
class Related:
    """A condition over a relation; `quantifier` is the name of a function of crosskey that makes it."""

    relation: str
    quantifier: str
    where: Sequence[Condition]

    def predicate(self, judge: Judge) -> Predicate:
        """The condition as requests take it."""
        inner = [one.predicate(judge) for one in self.where]
        predicate: Predicate = getattr(crosskey, self.quantifier)(self.relation, inner)
        return predicate


@dataclass(frozen=True)
class Joined:
    """Conditions joined; `word` is the name of a function of crosskey that joins them."""

    word: str
    parts: Sequence[Condition]

    def predicate(self, judge: Judge) -> Predicate:
        """The condition as requests take it."""
        predicate: Predicate = getattr(crosskey, self.word)(*(one.predicate(judge) for one in self.parts))
        return predicate


Condition: TypeAlias = Where | Related | Joined


@dataclass(frozen=True)
class Include:
    """Rows of a relation, and rows of relations of these; of relations to many, `limit` of them, and their number."""

    relation: str
    where: Sequence[Condition] = ()
    within: Sequence[Include] = ()
    limit: int = 0
    count: bool = False

    def request(self, judge: Judge) -> dict[str, Any]:
        """As a client takes it, by the relation's name."""
        include: dict[str, Any] = {"where": [one.predicate(judge) for one in self.where]}
        for one in self.within:
            include.setdefault("include", {}).update(one.request(judge))
        include |= {"limit": self.limit} if self.limit else {}
        include |= {"count": True} if self.count else {}
        return {self.relation: include}


@dataclass(frozen=True)
class Read:
    """Lists rows with rows of relations."""

    table: str
    where: Sequence[Condition] = ()
    include: Sequence[Include] = ()
    page_size: int = 100

    def run(self, judge: Judge) -> None:
        """Does it on both sides."""
        where = [one.predicate(judge) for one in self.where]
        include: dict[str, Any] = {}
        for one in self.include:
            include |= one.request(judge)
        judge.read(self.table, where, include, self.page_size)


@dataclass(frozen=True)
class Aggregate:
    """Aggregates rows by groups: each of `functions` is a name and a column."""

    table: str
    functions: Sequence[tuple[str, str]]
    group_by: Sequence[str] = ()
    where: Sequence[Condition] = ()

    def run(self, judge: Judge) -> None:
        """Does it on both sides."""
        judge.aggregate(self.table, self.functions, self.group_by, [one.predicate(judge) for one in self.where])


@dataclass(frozen=True)
class OnConflict:
    """What to do with rows that conflict on the key of these columns, any if none: set columns, or nothing if none.

    `on` is the name of an index if it is a text.
    """

    on: Sequence[str]
    set: Sequence[str] = ()

    def request(self) -> rows_pb2.OnConflict:
        """As a client sends it."""
        index, on = (self.on, ()) if isinstance(self.on, str) else ("", self.on)
        return crosskey.do_update(*self.set, on=on, index=index) if self.set else crosskey.do_nothing(on, index=index)


@dataclass(frozen=True)
class Insert:
    """Inserts rows."""

    table: str
    rows: Sequence[Mapping[str, Value]]
    on_conflict: OnConflict | None = None
    overriding: requests.Overriding | None = None

    def request(self, judge: Judge) -> requests.Write:
        """As a client sends it."""
        rows = [_sent_row(row, judge) for row in self.rows]
        return requests.insert(self.table, rows, overriding=self.overriding, on_conflict=self._on_conflict())

    def run(self, judge: Judge) -> None:
        """Does it on both sides. Raises CrosskeyError if both refuse it."""
        rows = [_sent_row(row, judge) for row in self.rows]
        judge.insert(self.table, *rows, overriding=self.overriding, on_conflict=self._on_conflict())

    def _on_conflict(self) -> rows_pb2.OnConflict | None:
        return None if self.on_conflict is None else self.on_conflict.request()


@dataclass(frozen=True)
class Update:
    """Updates the row of a key, or the rows that meet conditions."""

    table: str
    set: Mapping[str, Value | Plus]
    key: Mapping[str, Value] | None = None
    where: Sequence[Condition] | None = None

    def request(self, judge: Judge) -> requests.Write:
        """As a client sends it."""
        return requests.update(self.table, _sent_row(self.set, judge), **_selection(self, judge))

    def run(self, judge: Judge) -> None:
        """Does it on both sides. Raises CrosskeyError if both refuse it."""
        judge.update(self.table, _sent_row(self.set, judge), **_selection(self, judge))


@dataclass(frozen=True)
class Delete:
    """Deletes the row of a key, or the rows that meet conditions."""

    table: str
    key: Mapping[str, Value] | None = None
    where: Sequence[Condition] | None = None

    def request(self, judge: Judge) -> requests.Write:
        """As a client sends it."""
        return requests.delete(self.table, **_selection(self, judge))

    def run(self, judge: Judge) -> None:
        """Does it on both sides. Raises CrosskeyError if both refuse it."""
        judge.delete(self.table, **_selection(self, judge))


@dataclass(frozen=True)
class NestedInsert:
    """Inserts a row with children."""

    table: str
    row: Mapping[str, Value]
    relation: str
    children: Sequence[Mapping[str, Value]]

    def run(self, judge: Judge) -> None:
        """Does it on both sides. Raises CrosskeyError if both refuse it."""
        row, children = _sent_row(self.row, judge), [_sent_row(child, judge) for child in self.children]
        nested = {**row, self.relation: {"create": children}}
        judge.run_alike(
            lambda: int(judge.client.insert(self.table, nested, count_only=True).affected),
            lambda: insert_nested(judge.plain, self.table, row, self.relation, children),
        )


@dataclass(frozen=True)
class Associate:
    """Says which children a row has."""

    table: str
    key: Mapping[str, Value]
    relation: str
    operation: Association
    rows: Sequence[Mapping[str, Value]] = ()
    delete: bool = False

    def run(self, judge: Judge) -> None:
        """Does it on both sides. Raises CrosskeyError if both refuse it."""
        key, rows = _sent_row(self.key, judge), [_sent_row(row, judge) for row in self.rows]

        def on_crosskey() -> tuple[int, int, int]:
            done = judge.client.associate(
                self.table, key, self.relation, self.operation, rows, delete_detached=self.delete
            )
            return done.added, done.removed, done.kept

        judge.run_alike(
            on_crosskey,
            lambda: associate(judge.plain, self.table, key, self.relation, self.operation, rows, delete=self.delete),
        )


@dataclass(frozen=True)
class SetConstraints:
    """Changes when constraints are checked."""

    names: Sequence[str]
    deferred: bool

    def request(self, judge: Judge) -> requests.Statement:
        """As a client sends it."""
        del judge
        return requests.set_constraints(*self.names, deferred=self.deferred)


@dataclass(frozen=True)
class Group:
    """Runs statements that may fail alone."""

    statements: Sequence[Statement]

    def request(self, judge: Judge) -> requests.Statement:
        """As a client sends it."""
        return requests.group(statement.request(judge) for statement in self.statements)


@dataclass(frozen=True)
class Transaction:
    """Runs statements in order, all or none."""

    statements: Sequence[Statement]

    def run(self, judge: Judge) -> None:
        """Does it on both sides. Raises CrosskeyError if both refuse it."""
        judge.run_transaction([statement.request(judge) for statement in self.statements])


@dataclass(frozen=True)
class Sweep:
    """Drops unused shadows, of which no client can see anything."""

    def run(self, judge: Judge) -> None:
        """Does it in Crosskey; one PostgreSQL has none."""
        judge.client.drop_unused_shadows()
        judge.counts["sweeps"] += 1


SingleWrite: TypeAlias = Insert | Update | Delete
Statement: TypeAlias = SingleWrite | SetConstraints | Group
Operation: TypeAlias = SingleWrite | Transaction | Sweep | Read | Aggregate | NestedInsert | Associate


def _selection(statement: Update | Delete, judge: Judge) -> dict[str, Any]:
    if statement.where is None:
        return {"key": _sent_row(statement.key or {}, judge)}
    return {"where": [condition.predicate(judge) for condition in statement.where]}


def _sent_row(row: Mapping[str, Value | Plus], judge: Judge) -> dict[str, Any]:
    return {name: _sent(value, judge) for name, value in row.items()}


def _sent(value: Any, judge: Judge) -> Any:
    match value:
        case Plus():
            return crosskey.column(value.column) + value.number
        case Drawn():
            return judge.numbers.drawn(value.ago)
        case list():
            return [_sent(each, judge) for each in value]
    return value
