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
# Rows that are referenced are worth most: most references name one of those that an example begins with.
_FIRST_VALUES = (1, 2, 3)
_REFERENCED_VALUES = [1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, VALUES, DEFAULT_VALUE]
_REFERENCED_PARTS = [1, 1, 1, 1, 2, 3]
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

    def first_rows(self, table: Table) -> st.SearchStrategy[Insert]:
        """The rows that an example begins with: few, and nearly all reference one of those inserted before."""
        rows = st.tuples(*(self._first_row(table, value) for value in _FIRST_VALUES))
        return rows.map(lambda rows: Insert(table.name, list(rows)))

    def _first_row(self, table: Table, value: int) -> st.SearchStrategy[dict[str, Value]]:
        references = _references(table)
        row: dict[str, st.SearchStrategy[Value]] = {}
        for column in table.columns:
            if column.name == "id":
                row["id"] = st.just(self._keys[value])
            elif column.name in references and column.kind == "key":
                first = st.sampled_from(_FIRST_VALUES).map(self._keys.__getitem__)
                row[column.name] = first if self._is_always_given(table, column) else st.one_of(first, first, st.none())
            elif column.kind == "part":
                row[column.name] = st.just(1)
        return st.fixed_dictionaries(row)

    def insert(self, table: Table) -> st.SearchStrategy[Insert]:
        """Inserts of some rows with different keys."""
        always = {one.name: self._value(table, one) for one in table.columns if self._is_always_given(table, one)}
        others = {one.name: self._or_null(table, one) for one in table.columns if one.name not in always}
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
            lambda columns: st.fixed_dictionaries({column.name: self._new_value(table, column) for column in columns})
        )
        by_key = [st.builds(Update, st.just(table.name), changes, key=self._key(table))] if table.primary_key else []
        return st.one_of([*by_key, st.builds(Update, st.just(table.name), changes, where=self._where(table))])

    def _delete(self, table: Table) -> st.SearchStrategy[Delete]:
        by_key = [st.builds(Delete, st.just(table.name), key=self._key(table))] if table.primary_key else []
        return st.one_of([*by_key, st.builds(Delete, st.just(table.name), where=self._where(table))])

    def _key(self, table: Table) -> st.SearchStrategy[dict[str, Value]]:
        return st.fixed_dictionaries({name: self._value(table, table.column(name)) for name in table.primary_key})

    def _where(self, table: Table) -> st.SearchStrategy[list[Where]]:
        condition = st.sampled_from(table.columns).flatmap(lambda column: self._condition(table, column))
        return st.lists(condition, min_size=1, max_size=2)

    def _condition(self, table: Table, column: Column) -> st.SearchStrategy[Where]:
        name, value = st.just(column.name), self._value(table, column)
        return st.one_of(
            st.builds(Where, name, st.just("eq"), value),
            st.builds(Where, name, st.just("in_"), st.lists(value, min_size=1, max_size=3)),
            st.builds(Where, name, st.sampled_from(["ge", "le"]), value),
            st.builds(Where, name, st.just("is_null"), st.just(False) if column.not_null else st.booleans()),
        )

    def _new_value(self, table: Table, column: Column) -> st.SearchStrategy[Value | Plus]:
        value: st.SearchStrategy[Value | Plus] = self._or_null(table, column)
        if column.not_null:
            value = self._value(table, column)
        if not column.counts:
            return value
        return st.one_of(value, value, st.builds(Plus, st.just(column.name), st.sampled_from(_STEPS)))

    def _or_null(self, table: Table, column: Column) -> st.SearchStrategy[Value]:
        value = self._value(table, column)
        return st.one_of(value, value, value, st.none())

    def _value(self, table: Table, column: Column) -> st.SearchStrategy[Value]:
        is_reference = column.name in _references(table)
        if column.kind == "key":
            values = _REFERENCED_VALUES if is_reference else _VALUES
            return st.sampled_from(values).map(self._keys.__getitem__)
        if column.kind == "part":
            return st.sampled_from(_REFERENCED_PARTS if is_reference else PARTS)
        return st.sampled_from(NOTES)


def _references(table: Table) -> set[str]:
    """The columns of the table's foreign keys."""
    return {name for key in table.foreign_keys for name in key.columns}


def _key_of(table: Table, row: Mapping[str, Value]) -> object:
    """What no two rows have in common; of a table without a key, the row itself."""
    return tuple(row[name] for name in table.primary_key) or id(row)
