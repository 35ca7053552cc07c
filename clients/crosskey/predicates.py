"""Conditions and orders: the small words of `where` and `order_by`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias

from crosskey.exact_json import encode_value
from crosskey.v1.rows_pb2 import AnswerValue, OrderBy, Predicate

Where: TypeAlias = Mapping[str, Any] | Predicate | Iterable[Predicate]
"""Conditions joined by AND: predicates, or a mapping of columns to the values that they equal (None: are NULL)."""

Order: TypeAlias = str | OrderBy | Iterable[str | OrderBy]
"""Columns to sort by: a name, smallest first, or `desc(name)`."""


_OPERATORS: dict[str, Predicate.Op.ValueType] = {
    "=": Predicate.EQ,
    "<>": Predicate.NE,
    "<": Predicate.LT,
    "<=": Predicate.LE,
    ">": Predicate.GT,
    ">=": Predicate.GE,
}


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


def not_in(column: str, values: Iterable[Any]) -> Predicate:
    """The column is not NULL and equals none of the values."""
    return _compare(column, Predicate.NOT_IN, list(values))


def between(column: str, low: Any, high: Any) -> Predicate:
    """The column lies between the two values, both included."""
    return _compare(column, Predicate.BETWEEN, [low, high])


def like(column: str, pattern: str) -> Predicate:
    """The column matches the pattern of SQL's LIKE: `%` stands for any text, `_` for any character."""
    return _compare(column, Predicate.LIKE, pattern)


def ilike(column: str, pattern: str) -> Predicate:
    """As `like`, in any case."""
    return _compare(column, Predicate.ILIKE, pattern)


def starts_with(column: str, prefix: str) -> Predicate:
    """The column begins with the text; no character of it means anything else."""
    return _compare(column, Predicate.PREFIX, prefix)


def contains(column: str, value: Any) -> Predicate:
    """The array, jsonb or range contains the value, as PostgreSQL's `@>` says it."""
    return _compare(column, Predicate.CONTAINS, value)


def has_path(column: str, path: str) -> Predicate:
    """The jsonb has an item at the SQL/JSON path, such as `$.tags[*] ? (@ == "red")`."""
    return _compare(column, Predicate.JSON_PATH, path)


def columns_compare(column: str, op: Literal["=", "<>", "<", "<=", ">", ">="], other: str) -> Predicate:
    """Compares two columns of a row. Raises KeyError for another operator."""
    return Predicate(column=column, op=_OPERATORS[op], other_column=other)


def any_of(*conditions: Where) -> Predicate:
    """At least one of the conditions holds: of none, that is never so."""
    return Predicate(any_of=map(_one, conditions)) if conditions else Predicate(constant=False)


def all_of(*conditions: Where) -> Predicate:
    """All of the conditions hold: of none, that is always so."""
    return Predicate(all_of=map(_one, conditions)) if conditions else Predicate(constant=True)


def none_of(*conditions: Where) -> Predicate:
    """None of the conditions holds; as SQL's NOT, it is not true of what is unknown. Of none, that is always so."""
    return Predicate(none_of=map(_one, conditions)) if conditions else Predicate(constant=True)


def some(relation: str, where: Where | None = None) -> Predicate:
    """The relation leads to a row that meets the conditions: messages whose sender's name is .., users with posts."""
    return _related(relation, Predicate.Related.QUANTIFIER_UNSPECIFIED, where)


def none(relation: str, where: Where | None = None) -> Predicate:
    """The relation leads to no row that meets the conditions."""
    return _related(relation, Predicate.Related.QUANTIFIER_NONE, where)


def every(relation: str, where: Where) -> Predicate:
    """The relation leads only to rows that meet the conditions, or to none."""
    return _related(relation, Predicate.Related.QUANTIFIER_EVERY, where)


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


def _one(where: Where) -> Predicate:
    """Conditions as one."""
    predicates = to_predicates(where)
    return predicates[0] if len(predicates) == 1 else Predicate(all_of=predicates)


def _related(relation: str, quantifier: Predicate.Related.Quantifier.ValueType, where: Where | None) -> Predicate:
    related = Predicate.Related(relation=relation, quantifier=quantifier, where=to_predicates(where))
    return Predicate(related=related)


def _compare(column: str, op: Predicate.Op.ValueType, value: Any) -> Predicate:
    if isinstance(value, AnswerValue):
        return Predicate(column=column, op=op, taken=value)
    return Predicate(column=column, op=op, value_json=encode_value(column, value))
