"""Conditions and orders: the small words of `where` and `order_by`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from crosskey.exact_json import encode_value
from crosskey.v1.rows_pb2 import OrderBy, Predicate

Where: TypeAlias = Mapping[str, Any] | Predicate | Iterable[Predicate]
"""Conditions joined by AND: predicates, or a mapping of columns to the values that they equal (None: are NULL)."""

Order: TypeAlias = str | OrderBy | Iterable[str | OrderBy]
"""Columns to sort by: a name, smallest first, or `desc(name)`."""


def eq(column: str, value: Any) -> Predicate:
    """The column equals the value. Nothing equals None: that is `is_null`."""
    return _compare(column, Predicate.EQ, value)


def ne(column: str, value: Any) -> Predicate:
    """The column is not NULL and does not equal the value."""
    return _compare(column, Predicate.NE, value)


def lt(column: str, value: Any) -> Predicate:
    """The column is less than the value."""
    return _compare(column, Predicate.LT, value)


def le(column: str, value: Any) -> Predicate:
    """The column is less than or equal to the value."""
    return _compare(column, Predicate.LE, value)


def gt(column: str, value: Any) -> Predicate:
    """The column is greater than the value."""
    return _compare(column, Predicate.GT, value)


def ge(column: str, value: Any) -> Predicate:
    """The column is greater than or equal to the value."""
    return _compare(column, Predicate.GE, value)


def in_(column: str, values: Iterable[Any]) -> Predicate:
    """The column equals one of the values. Raises TypeError if they are no list."""
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f"in_ takes a list of values, such as [{values!r}], not {values!r}")
    return _compare(column, Predicate.IN, list(values))


def is_null(column: str, null: bool = True) -> Predicate:
    """The column is NULL; with `null=False`, it is not."""
    return _compare(column, Predicate.IS_NULL, null)


def desc(column: str) -> OrderBy:
    """Sorts by the column, largest first."""
    return OrderBy(column=column, descending=True)


def to_predicates(where: Where | None) -> list[Predicate]:
    """The conditions as predicates; none for None. Raises TypeError for what is no condition."""
    if where is None:
        return []
    if isinstance(where, str):
        raise TypeError(f'{where!r} is no condition: say {{"name": "Ada"}}, or predicates such as ge("age", 18)')
    if isinstance(where, Predicate):
        return [where]
    if isinstance(where, Mapping):
        return [is_null(column) if value is None else eq(column, value) for column, value in where.items()]
    return list(where)


def to_orders(order_by: Order | None) -> list[OrderBy]:
    """The columns as orders; none for None."""
    if order_by is None:
        return []
    columns = [order_by] if isinstance(order_by, str | OrderBy) else order_by
    return [OrderBy(column=column) if isinstance(column, str) else column for column in columns]


def _compare(column: str, op: Predicate.Op.ValueType, value: Any) -> Predicate:
    return Predicate(column=column, op=op, value_json=encode_value(column, value))
