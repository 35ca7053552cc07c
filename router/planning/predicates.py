"""Predicates and keys of requests, checked as far as that goes without PostgreSQL.

A predicate over a relation is checked once it is resolved: the keys of the rows at the relation's other end, which may
be on any shard, are looked up first (router/reading/relating.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
from google.protobuf.struct_pb2 import Struct

from crosskey import errors
from crosskey.catalog.model import Column, Table
from crosskey.internal.v1 import reads_pb2
from crosskey.router.planning.given_values import Row, given_value, has_value
from crosskey.router.planning.suggestions import suggest_column
from crosskey.router.planning.values import checked_json
from crosskey.rows import struct_to_dict
from crosskey.v1 import rows_pb2

# In one order, so that equal predicates have equal text.
_encoder = msgspec.json.Encoder(order="deterministic", decimal_format="number")

# Of types whose values no JSON list stands for.
_SCALARS = frozenset(
    {
        *("int2", "int4", "int8", "float4", "float8", "numeric", "bool", "text", "varchar", "bpchar", "citext", "uuid"),
        *("date", "time", "timetz", "timestamp", "timestamptz", "interval", "bytea"),
    }
)

_OF_LISTS = frozenset({rows_pb2.Predicate.IN, rows_pb2.Predicate.NOT_IN})
_TAKING_LISTS = _OF_LISTS | {rows_pb2.Predicate.BETWEEN}

MAX_NESTED = 20
"""How deep predicates nest. Protobuf reads messages of 100 levels, of which nodes take two for each."""

_OF_TEXT = frozenset(
    {rows_pb2.Predicate.LIKE, rows_pb2.Predicate.ILIKE, rows_pb2.Predicate.PREFIX, rows_pb2.Predicate.JSON_PATH}
)
"""Operators that take a text, whatever the column's type."""

_OF_COLUMNS = frozenset(
    {
        rows_pb2.Predicate.EQ,
        rows_pb2.Predicate.NE,
        rows_pb2.Predicate.LT,
        rows_pb2.Predicate.LE,
        rows_pb2.Predicate.GT,
        rows_pb2.Predicate.GE,
    }
)
"""Operators that compare two columns."""


@dataclass(frozen=True, slots=True)
class CheckedPredicate:
    """One condition on a column that exists.

    `value` is a JSON value that the operator takes: a list for IN, NOT_IN and BETWEEN, a bool for IS_NULL.
    """

    column: Column
    op: rows_pb2.Predicate.Op.ValueType
    value: Any

    def to_condition(self) -> reads_pb2.Condition:
        """The condition as nodes take it."""
        return reads_pb2.Condition(column=self.column.name, op=self.op, value_json=_encoder.encode(self.value))

    def digest(self) -> bytes:
        """What a page token remembers of it."""
        return self.to_condition().SerializeToString(deterministic=True)


@dataclass(frozen=True, slots=True)
class ColumnComparison:
    """A comparison of two columns of a row."""

    column: Column
    op: rows_pb2.Predicate.Op.ValueType
    other: Column

    def to_condition(self) -> reads_pb2.Condition:
        """As of CheckedPredicate."""
        return reads_pb2.Condition(column=self.column.name, op=self.op, other_column=self.other.name)

    def digest(self) -> bytes:
        """As of CheckedPredicate."""
        return self.to_condition().SerializeToString(deterministic=True)


@dataclass(frozen=True, slots=True)
class JoinedPredicates:
    """Predicates joined by AND or OR, or the opposite.

    With `or_unknown`, the opposite is also true where it is unknown whether they hold.
    """

    parts: tuple[Checked, ...]
    by_or: bool = False
    negated: bool = False
    or_unknown: bool = False

    def to_condition(self) -> reads_pb2.Condition:
        """As of CheckedPredicate."""
        joined = reads_pb2.Joined(
            conditions=to_conditions(self.parts),
            by=reads_pb2.Joined.BY_OR if self.by_or else reads_pb2.Joined.BY_UNSPECIFIED,
            negated=self.negated,
            or_unknown=self.or_unknown,
        )
        return reads_pb2.Condition(joined=joined)

    def digest(self) -> bytes:
        """As of CheckedPredicate."""
        parts = b"".join(len(one).to_bytes(8, "big") + one for one in (part.digest() for part in self.parts))
        return bytes([self.by_or, self.negated, self.or_unknown]) + parts


@dataclass(frozen=True, slots=True)
class RelatedPredicate:
    """A predicate over a relation, as the request has it, that is not resolved yet; any row may meet it."""

    related: rows_pb2.Predicate.Related

    def to_condition(self) -> reads_pb2.Condition:
        """As of CheckedPredicate: true of every row."""
        return reads_pb2.Condition(joined=reads_pb2.Joined())

    def digest(self) -> bytes:
        """As of CheckedPredicate."""
        return self.related.SerializeToString(deterministic=True)


@dataclass(frozen=True, slots=True)
class LinkedPredicate:
    """A predicate over a relation that is resolved: the row has, or has not, one of these keys at an end of a key.

    `columns` are the columns of the row that `keys` give the texts of, as nodes name them: k0, k1 and so on.
    """

    related: rows_pb2.Predicate.Related
    end: reads_pb2.KeyEnd
    columns: tuple[Column, ...]
    keys: tuple[dict[str, str], ...]
    negated: bool

    def to_condition(self) -> reads_pb2.Condition:
        """As of CheckedPredicate."""
        linked = reads_pb2.Linked(end=self.end, keys_json=_encoder.encode(self.keys), negated=self.negated)
        return reads_pb2.Condition(linked=linked)

    def digest(self) -> bytes:
        """As of CheckedPredicate: the keys may be others for each page."""
        return self.related.SerializeToString(deterministic=True)


@dataclass(frozen=True, slots=True)
class OneOfKeys:
    """The row has the values of one of many keys, of which nodes take any number at once."""

    columns: tuple[Column, ...]
    keys: tuple[tuple[Any, ...], ...]

    def to_condition(self) -> reads_pb2.Condition:
        """As of CheckedPredicate."""
        keys = [{f"k{place}": value for place, value in enumerate(key)} for key in self.keys]
        names = [column.name for column in self.columns]
        return reads_pb2.Condition(one_of=reads_pb2.OneOf(columns=names, keys_json=_encoder.encode(keys)))

    def digest(self) -> bytes:
        """As of CheckedPredicate."""
        return self.to_condition().SerializeToString(deterministic=True)


Checked: TypeAlias = (
    CheckedPredicate | ColumnComparison | JoinedPredicates | RelatedPredicate | LinkedPredicate | OneOfKeys
)
"""A predicate of a request."""


def check_predicates(table: Table, predicates: Sequence[rows_pb2.Predicate], depth: int = 0) -> tuple[Checked, ...]:
    """The predicates in order; `depth` is how deep they are inside others.

    Raises UnknownColumn, InvalidRequest and NumberNotExact.
    """
    if depth > MAX_NESTED:
        raise errors.InvalidRequest(f"predicates nest at most {MAX_NESTED} deep", table=str(table.name))
    return tuple(_check(table, predicate, depth) for predicate in predicates)


def simple_predicates(predicates: Sequence[Checked]) -> list[CheckedPredicate]:
    """Those that compare a column with a value, of predicates that must all hold; those inside of others too."""
    found: list[CheckedPredicate] = []
    for one in predicates:
        if isinstance(one, CheckedPredicate):
            found.append(one)
        elif isinstance(one, JoinedPredicates) and not (one.by_or or one.negated):
            found += simple_predicates(one.parts)
    return found


def has_related(predicates: Iterable[rows_pb2.Predicate]) -> bool:
    """Whether any predicate is over a relation, or any inside of it."""
    return any(
        one.HasField("related") or has_related(one.any_of) or has_related(one.all_of) or has_related(one.none_of)
        for one in predicates
    )


def refuse_related(predicates: Sequence[Checked]) -> None:
    """Raises InvalidRequest for a predicate over a relation: what rows must meet that are answered takes none."""
    for one in predicates:
        if isinstance(one, RelatedPredicate):
            raise errors.InvalidRequest(
                f'the predicate on the relation "{one.related.relation}" is for `where` only',
                hint="What is expected of a row, or of a group, is about its own columns.",
            )
        if isinstance(one, JoinedPredicates):
            refuse_related(one.parts)


def check_key(table: Table, key: Struct | Row) -> tuple[CheckedPredicate, ...]:
    """One EQ predicate for each column of a unique key that is not partial.

    Raises UnknownColumn, NumberNotExact and, if the columns are not those of such a key, InvalidRequest.
    """
    values = struct_to_dict(key) if isinstance(key, Struct) else key
    columns = {name: existing_column(table, name) for name in values}
    keys = [unique.columns for unique in table.unique_keys if unique.names_rows]
    if not any(values.keys() == set(unique) for unique in keys):
        raise _not_a_key(table, sorted(values), keys)
    return tuple(
        CheckedPredicate(columns[name], rows_pb2.Predicate.EQ, checked_json(table, columns[name], value))
        for name, value in values.items()
    )


def to_conditions(predicates: Sequence[Checked]) -> list[reads_pb2.Condition]:
    """The conditions as nodes take them."""
    return [predicate.to_condition() for predicate in predicates]


def existing_column(table: Table, name: str) -> Column:
    """The column of that name. Raises UnknownColumn with PostgreSQL's own message."""
    column = table.column(name)
    if column is None:
        message = f'column "{name}" does not exist'
        hint = suggest_column(name, table)
        raise errors.UnknownColumn(message, table=str(table.name), columns=name, sqlstate="42703", hint=hint)
    return column


def _check(table: Table, predicate: rows_pb2.Predicate, depth: int) -> Checked:
    joins = _joins(table, predicate, depth + 1)
    if predicate.HasField("related"):
        joins.append(RelatedPredicate(predicate.related))
    if predicate.HasField("constant"):
        joins.append(JoinedPredicates((), by_or=not predicate.constant))
    if not joins and predicate == rows_pb2.Predicate():
        raise errors.InvalidRequest(
            "a predicate is empty: it has neither a column nor conditions that it joins",
            table=str(table.name),
            hint="An empty list of conditions cannot be told from none at all: say constant, true or false.",
        )
    if not joins:
        return _check_on_column(table, predicate)
    if len(joins) > 1 or predicate.column or has_value(predicate) or predicate.other_column:
        raise errors.InvalidRequest(
            "a predicate has one of column, any_of, all_of, none_of, related and constant", table=str(table.name)
        )
    return joins[0]


def _joins(table: Table, predicate: rows_pb2.Predicate, depth: int) -> list[Checked]:
    """The predicates that are joined."""
    joined: list[Checked] = []
    if predicate.any_of:
        joined.append(JoinedPredicates(check_predicates(table, predicate.any_of, depth), by_or=True))
    if predicate.all_of:
        joined.append(JoinedPredicates(check_predicates(table, predicate.all_of, depth)))
    if predicate.none_of:
        joined.append(JoinedPredicates(check_predicates(table, predicate.none_of, depth), by_or=True, negated=True))
    return joined


def _check_on_column(table: Table, predicate: rows_pb2.Predicate) -> CheckedPredicate | ColumnComparison:
    column = existing_column(table, predicate.column)
    if predicate.op not in rows_pb2.Predicate.Op.values():
        raise _malformed(table, column, f"has no operator {predicate.op}")
    if predicate.other_column:
        return _check_comparison(table, column, predicate)
    if predicate.op == rows_pb2.Predicate.IS_NULL:
        return CheckedPredicate(column, predicate.op, _null_test(table, column, predicate))
    if not has_value(predicate):
        raise _malformed(table, column, "needs a value")
    value = given_value(str(table.name), predicate)
    if predicate.op in _OF_LISTS and not isinstance(value, list):
        raise _malformed(table, column, f"needs a list for {rows_pb2.Predicate.Op.Name(predicate.op)}")
    if predicate.op == rows_pb2.Predicate.BETWEEN and not (isinstance(value, list) and len(value) == 2):
        raise _malformed(table, column, "needs a list of two values for BETWEEN")
    if value is None:
        raise _malformed(table, column, "compares with null, which nothing equals: say IS_NULL")
    if predicate.op in _OF_TEXT and not isinstance(value, str):
        raise _malformed(table, column, f"needs a text for {rows_pb2.Predicate.Op.Name(predicate.op)}")
    if isinstance(value, list) and predicate.op not in _TAKING_LISTS and column.base_type in _SCALARS:
        raise _malformed(table, column, "compares with a list: say IN")
    return CheckedPredicate(column, predicate.op, checked_json(table, column, value))


def _check_comparison(table: Table, column: Column, predicate: rows_pb2.Predicate) -> ColumnComparison:
    other = existing_column(table, predicate.other_column)
    if has_value(predicate):
        raise _malformed(table, column, "has both a value and other_column; it takes one of them")
    if predicate.op not in _OF_COLUMNS:
        raise _malformed(table, column, "compares it with another column by EQ, NE, LT, LE, GT or GE only")
    return ColumnComparison(column, predicate.op, other)


def _null_test(table: Table, column: Column, predicate: rows_pb2.Predicate) -> bool:
    """What IS_NULL asks for: NULL if true."""
    if not has_value(predicate):
        return True
    value = given_value(str(table.name), predicate)
    if not isinstance(value, bool):
        raise _malformed(table, column, "takes true or false for IS_NULL")
    return value


def _malformed(table: Table, column: Column, fault: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(
        f'the predicate on column "{column.name}" {fault}', table=str(table.name), columns=column.name
    )


def _not_a_key(table: Table, given: Sequence[str], keys: Sequence[Sequence[str]]) -> errors.InvalidRequest:
    choices = " or ".join(f"({', '.join(columns)})" for columns in keys)
    return errors.InvalidRequest(
        f'the key of a row of "{table.name}" is {choices or "missing: the table has no unique key"},'
        f" not ({', '.join(given)})",
        table=str(table.name),
        columns=", ".join(given) or None,
    )
