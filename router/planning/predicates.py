"""Predicates and keys of requests, checked as far as that goes without PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class CheckedPredicate:
    """One condition on a column that exists.

    `value` is a JSON value that the operator takes: a list for IN, a bool for IS_NULL.
    """

    column: Column
    op: rows_pb2.Predicate.Op.ValueType
    value: Any

    def to_condition(self) -> reads_pb2.Condition:
        """The condition as nodes take it."""
        return reads_pb2.Condition(column=self.column.name, op=self.op, value_json=_encoder.encode(self.value))


def check_predicates(table: Table, predicates: Sequence[rows_pb2.Predicate]) -> tuple[CheckedPredicate, ...]:
    """The predicates in order. Raises UnknownColumn, InvalidRequest and NumberNotExact."""
    return tuple(_check_predicate(table, predicate) for predicate in predicates)


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


def to_conditions(predicates: Sequence[CheckedPredicate]) -> list[reads_pb2.Condition]:
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


def _check_predicate(table: Table, predicate: rows_pb2.Predicate) -> CheckedPredicate:
    column = existing_column(table, predicate.column)
    if predicate.op not in rows_pb2.Predicate.Op.values():
        raise _malformed(table, column, f"has no operator {predicate.op}")
    if predicate.op == rows_pb2.Predicate.IS_NULL:
        return CheckedPredicate(column, predicate.op, _null_test(table, column, predicate))
    if not has_value(predicate):
        raise _malformed(table, column, "needs a value")
    value = given_value(str(table.name), predicate)
    if predicate.op == rows_pb2.Predicate.IN and not isinstance(value, list):
        raise _malformed(table, column, "needs a list for IN")
    if value is None:
        raise _malformed(table, column, "compares with null, which nothing equals: say IS_NULL")
    if isinstance(value, list) and predicate.op != rows_pb2.Predicate.IN and column.base_type in _SCALARS:
        raise _malformed(table, column, "compares with a list: say IN")
    return CheckedPredicate(column, predicate.op, checked_json(table, column, value))


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
