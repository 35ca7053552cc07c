"""What Hypothesis may do with a family: operations on few keys, so that they meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from hypothesis import strategies as st

from tests.oracle.differential.family import PARTS, Column, Family, Table
from tests.oracle.differential.keys import DEFAULT_VALUE, PATTERN_LENGTH, VALUES, Key
from tests.oracle.differential.operations import (
    Delete,
    Group,
    Insert,
    OnConflict,
    Operation,
    Plus,
    SetConstraints,
    SingleWrite,
    Transaction,
    Update,
    Value,
    Where,
)
from tests.oracle.pair import SHARDS

MAX_ROWS = 5
MAX_STATEMENTS = 5
MAX_IN_GROUP = 3
NOTES = (0, 1, 2)

# The first are the most frequent, so that rows find each other.
_VALUES = [1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, *range(7, VALUES + 1), DEFAULT_VALUE]
# Ten keys further there is none of the example's own; one further there often is.
_STEPS = [10, 10, -10, 1, -1]

shard_patterns = st.lists(st.integers(0, SHARDS - 1), min_size=PATTERN_LENGTH, max_size=PATTERN_LENGTH)
"""On which shards the first values' keys are."""


class FamilyStrategies:
    """Strategies for one family and the keys of one example."""

    def __init__(self, family: Family, keys: Sequence[Key]) -> None:
        self._keys = keys
        inserts = [self.insert(table) for table in family.tables]
        upserts = [self._upsert(table) for table in family.tables]
        updates = [self._update(table) for table in family.tables]
        deletes = [self._delete(table) for table in family.tables]
        writes = st.one_of(*inserts, *upserts, *updates, *updates, *deletes)
        self.operations: st.SearchStrategy[Operation] = st.one_of(writes, writes, self._transactions(family, writes))

    @staticmethod
    def _transactions(family: Family, writes: st.SearchStrategy[SingleWrite]) -> st.SearchStrategy[Transaction]:
        names = st.lists(st.sampled_from([key.name for key in family.foreign_keys]), max_size=2, unique=True)
        modes = st.builds(SetConstraints, names, st.booleans())
        group = st.lists(st.one_of(writes, writes, modes), min_size=1, max_size=MAX_IN_GROUP).map(Group)
        statements = st.one_of(writes, writes, writes, modes, group)
        return st.lists(statements, min_size=1, max_size=MAX_STATEMENTS).map(Transaction)

    def insert(self, table: Table) -> st.SearchStrategy[Insert]:
        """Inserts of some rows with different keys."""
        always = {column.name: self._value(column) for column in table.columns if self._is_always_given(table, column)}
        others = {column.name: self._or_null(column) for column in table.columns if column.name not in always}
        row = st.fixed_dictionaries(always, optional=others)
        rows = st.lists(row, min_size=1, max_size=MAX_ROWS, unique_by=lambda row: _key_of(table, row))
        return rows.map(lambda rows: Insert(table.name, rows))

    def _upsert(self, table: Table) -> st.SearchStrategy[Insert]:
        """Inserts of rows that may conflict with others; now and then on what is no key."""
        keys = [*table.unique_keys, *([("note",)] if table.unique_note else [])]
        targets = st.sampled_from([*keys, *keys, (table.columns[-1].name,)])
        names = st.sampled_from([column.name for column in table.columns])
        updates = st.builds(OnConflict, targets, st.lists(names, min_size=1, max_size=2, unique=True))
        nothing = st.builds(OnConflict, st.one_of(st.just(()), targets))
        return st.builds(
            lambda insert, on_conflict: replace(insert, on_conflict=on_conflict),
            self.insert(table),
            st.one_of(updates, updates, nothing),
        )

    @staticmethod
    def _is_always_given(table: Table, column: Column) -> bool:
        """A row without its shard key has no place; other columns without which it is always refused are no use."""
        return column.name == table.shard_key or (column.not_null and column.default is None)

    def _update(self, table: Table) -> st.SearchStrategy[Update]:
        changes = st.lists(st.sampled_from(table.columns), min_size=1, max_size=3, unique=True).flatmap(
            lambda columns: st.fixed_dictionaries({column.name: self._new_value(column) for column in columns})
        )
        by_key = [st.builds(Update, st.just(table.name), changes, key=self._key(table))] if table.primary_key else []
        return st.one_of([*by_key, st.builds(Update, st.just(table.name), changes, where=self._where(table))])

    def _delete(self, table: Table) -> st.SearchStrategy[Delete]:
        by_key = [st.builds(Delete, st.just(table.name), key=self._key(table))] if table.primary_key else []
        return st.one_of([*by_key, st.builds(Delete, st.just(table.name), where=self._where(table))])

    def _key(self, table: Table) -> st.SearchStrategy[dict[str, Value]]:
        return st.fixed_dictionaries({name: self._value(table.column(name)) for name in table.primary_key})

    def _where(self, table: Table) -> st.SearchStrategy[list[Where]]:
        condition = st.sampled_from(table.columns).flatmap(self._condition)
        return st.lists(condition, min_size=1, max_size=2)

    def _condition(self, column: Column) -> st.SearchStrategy[Where]:
        name, value = st.just(column.name), self._value(column)
        return st.one_of(
            st.builds(Where, name, st.just("eq"), value),
            st.builds(Where, name, st.just("in_"), st.lists(value, min_size=1, max_size=3)),
            st.builds(Where, name, st.sampled_from(["ge", "le"]), value),
            st.builds(Where, name, st.just("is_null"), st.just(False) if column.not_null else st.booleans()),
        )

    def _new_value(self, column: Column) -> st.SearchStrategy[Value | Plus]:
        value: st.SearchStrategy[Value | Plus] = self._value(column) if column.not_null else self._or_null(column)
        if not column.counts:
            return value
        return st.one_of(value, value, st.builds(Plus, st.just(column.name), st.sampled_from(_STEPS)))

    def _or_null(self, column: Column) -> st.SearchStrategy[Value]:
        return st.one_of(self._value(column), self._value(column), self._value(column), st.none())

    def _value(self, column: Column) -> st.SearchStrategy[Value]:
        if column.kind == "key":
            return st.sampled_from(_VALUES).map(self._keys.__getitem__)
        return st.sampled_from(PARTS if column.kind == "part" else NOTES)


def _key_of(table: Table, row: Mapping[str, Value]) -> object:
    """What no two rows have in common; of a table without a key, the row itself."""
    return tuple(row[name] for name in table.primary_key) or id(row)
