"""Conditions on rows as an SQL expression.

Values become parameters of no declared type, so PostgreSQL types each one by the column that it is compared with, just
as it types a quoted literal: with the column's operators and collation, without its length modifier or domain, and with
PostgreSQL's own message for a value that does not fit. The text of the expression depends only on the shape of the
conditions, so that prepared statements are found again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

import msgspec
from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import Column, Table
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_ends import GIVEN, KeyEnds, given_keys
from crosskey.shard_node.sql_text.sql_names import typed_columns
from crosskey.v1 import rows_pb2

Fragment = tuple[sql.Composable, list[object]]
"""A piece of SQL and its parameters, in order."""

_COMPARISONS: dict[int, sql.SQL] = {
    rows_pb2.Predicate.EQ: sql.SQL("="),
    rows_pb2.Predicate.NE: sql.SQL("<>"),
    rows_pb2.Predicate.LT: sql.SQL("<"),
    rows_pb2.Predicate.LE: sql.SQL("<="),
    rows_pb2.Predicate.GT: sql.SQL(">"),
    rows_pb2.Predicate.GE: sql.SQL(">="),
}
_PATTERNS: dict[int, sql.SQL] = {
    rows_pb2.Predicate.LIKE: sql.SQL("LIKE"),
    rows_pb2.Predicate.ILIKE: sql.SQL("ILIKE"),
    rows_pb2.Predicate.PREFIX: sql.SQL("^@"),
    rows_pb2.Predicate.JSON_PATH: sql.SQL("@?"),
}
"""Operators whose other operand is a text, whatever the column's type."""

_CACHED_SHAPES = 1024

JSON_TYPES = frozenset({"json", "jsonb"})

# PostgreSQL takes 65,535 parameters a statement, but long before that, building and parsing it keeps others waiting.
# A list for IN is one parameter, however long.
MAX_COMPARISONS = 1000


def where_clause(
    table: Table, conditions: Sequence[reads_pb2.Condition], alias: str | None = None, ends: KeyEnds | None = None
) -> Fragment:
    """A boolean expression (without the word WHERE) that joins the conditions by AND, and its parameters.

    Columns are qualified by `alias` if it is given. No conditions give TRUE. `ends` are for conditions over foreign
    keys. Raises UnknownColumn, InvalidRequest (an unknown operator, a value that the operator
    does not take, more than MAX_COMPARISONS) and InvalidValue (text with a NUL).
    """
    if not conditions:
        return sql.SQL("TRUE"), []
    _check_number(_number_of(conditions))
    expressions: list[sql.Composable] = []
    parameters: list[object] = []
    for condition in conditions:
        value_json = condition.value_json
        if condition.op in _COMPARISONS and value_json and value_json[:1] not in (b"[", b"{"):
            expression, column = _comparison(table, condition.column, condition.op, alias)
            expressions.append(expression)
            parameters.append(_text(column, value_json))
            continue
        expression, values = _any_condition(table, condition, alias, ends)
        expressions.append(expression)
        parameters.extend(values)
        _check_number(len(parameters))
    return sql.SQL(" AND ").join(expressions), parameters


def _number_of(conditions: Iterable[reads_pb2.Condition]) -> int:
    """How many conditions there are, those inside others too."""
    return sum(1 + _number_of(one.joined.conditions) if one.HasField("joined") else 1 for one in conditions)


def _any_condition(
    table: Table, condition: reads_pb2.Condition, alias: str | None, ends: KeyEnds | None
) -> tuple[sql.Composable, list[object]]:
    if condition.HasField("joined"):
        return _joined(table, condition.joined, alias, ends)
    if condition.HasField("linked"):
        qualifier = (table.name.schema, table.name.name) if alias is None else (alias,)
        return _linked(condition.linked, qualifier, ends)
    if condition.HasField("one_of"):
        return _one_of(table, condition.one_of, alias)
    return _condition(table, condition, alias)


def _one_of(table: Table, one_of: reads_pb2.OneOf, alias: str | None) -> Fragment:
    """The row has the values of one of many keys: one parameter, whatever their number."""
    qualifier = (table.name.schema, table.name.name) if alias is None else (alias,)
    columns = [known_column(table, name) for name in one_of.columns]
    same = sql.SQL(" AND ").join(
        sql.SQL("{} = {}").format(identifier(*qualifier, column.name), identifier(GIVEN, f"k{place}"))
        for place, column in enumerate(columns)
    )
    exists = sql.SQL("EXISTS (SELECT FROM {} WHERE {})").format(given_keys(columns), same)
    return exists, [one_of.keys_json.decode()]


def _joined(table: Table, joined: reads_pb2.Joined, alias: str | None, ends: KeyEnds | None) -> Fragment:
    """Conditions joined by AND or OR, or the opposite."""
    word, of_none = ("OR", "FALSE") if joined.by == reads_pb2.Joined.BY_OR else ("AND", "TRUE")
    parts = [where_clause(table, [condition], alias, ends) for condition in joined.conditions]
    inner = sql.SQL(f" {word} ").join(sql.SQL("({})").format(part) for part, _ in parts) if parts else sql.SQL(of_none)
    parameters = [parameter for _, values in parts for parameter in values]
    if not joined.negated:
        return sql.SQL("({})").format(inner), parameters
    opposite = "({}) IS NOT TRUE" if joined.or_unknown else "NOT ({})"
    return sql.SQL(opposite).format(inner), parameters


def _linked(linked: reads_pb2.Linked, qualifier: Sequence[str], ends: KeyEnds | None) -> Fragment:
    """The row is, or is not, at one end of a foreign key with one of the given rows at the other."""
    if ends is None:
        raise errors.InvalidRequest("there are no conditions over relations here")
    end = ends.key_end(linked.end)
    exists = sql.SQL("{}EXISTS (SELECT FROM {} WHERE {})").format(
        sql.SQL("NOT " if linked.negated else ""), end.given(), end.match(*qualifier)
    )
    return exists, [linked.keys_json.decode()]


def known_column(table: Table, name: str) -> Column:
    """The column of that name. Raises UnknownColumn with PostgreSQL's own message."""
    column = table.column(name)
    if column is None:
        raise errors.UnknownColumn(f'column "{name}" does not exist', table=str(table.name), columns=name)
    return column


@lru_cache(maxsize=_CACHED_SHAPES)
def _comparison(table: Table, name: str, op: int, alias: str | None) -> tuple[sql.Composable, Column]:
    """The expression that compares a column with one plain value, and the column. Raises UnknownColumn."""
    column = known_column(table, name)
    reference = identifier(column.name) if alias is None else identifier(alias, column.name)
    return sql.SQL("{} {} %s").format(reference, _COMPARISONS[op]), column


def _condition(table: Table, condition: reads_pb2.Condition, alias: str | None) -> Fragment:
    column = known_column(table, condition.column)
    name = identifier(column.name) if alias is None else identifier(alias, column.name)
    if condition.op == rows_pb2.Predicate.IS_NULL:
        return sql.SQL("{} IS {}NULL").format(name, _negation(column, condition.value_json)), []
    if condition.op == rows_pb2.Predicate.IN:
        return _membership(column, name, condition.value_json)
    if condition.op == rows_pb2.Predicate.NOT_IN:
        membership, values = _membership(column, name, condition.value_json)
        return sql.SQL("NOT ({})").format(membership), values
    if condition.op in _PATTERNS:
        return sql.SQL("{} {} %s").format(name, _PATTERNS[condition.op]), [_string(column, condition.value_json)]
    if condition.op == rows_pb2.Predicate.CONTAINS:
        compared, parameters = operand(column, condition.value_json)
        return sql.SQL("{} @> {}").format(name, compared), parameters
    if condition.op == rows_pb2.Predicate.BETWEEN:
        return _between(column, name, condition.value_json)
    comparison = _COMPARISONS.get(condition.op)
    if comparison is not None and condition.other_column:
        other = known_column(table, condition.other_column).name
        beside = identifier(other) if alias is None else identifier(alias, other)
        return sql.SQL("{} {} {}").format(name, comparison, beside), []
    if comparison is None:
        raise errors.InvalidRequest(f'unknown operator {condition.op} on column "{column.name}"', columns=column.name)
    compared, parameters = operand(column, condition.value_json)
    return sql.SQL("{} {} {}").format(name, comparison, compared), parameters


def _negation(column: Column, value_json: bytes) -> sql.SQL:
    """What stands between IS and NULL."""
    if value_json in (b"", b"true"):
        return sql.SQL("")
    if value_json == b"false":
        return sql.SQL("NOT ")
    raise errors.InvalidRequest(f'IS_NULL on column "{column.name}" takes true or false', columns=column.name)


def _string(column: Column, value_json: bytes) -> str | None:
    """A JSON string, or None for null, whatever the column's type."""
    if value_json[:1] != b'"' and value_json != b"null":
        raise errors.InvalidRequest(f'the operator on column "{column.name}" takes a text', columns=column.name)
    return None if value_json == b"null" else _text(msgspec.structs.replace(column, base_type="text"), value_json)


def _between(column: Column, name: sql.Composable, value_json: bytes) -> Fragment:
    elements = _elements(column, value_json, "BETWEEN")
    if len(elements) != 2:
        raise errors.InvalidRequest(f'BETWEEN on column "{column.name}" takes two values', columns=column.name)
    (low, low_values), (high, high_values) = (operand(column, bytes(element)) for element in elements)
    return sql.SQL("{} BETWEEN {} AND {}").format(name, low, high), [*low_values, *high_values]


def _elements(column: Column, value_json: bytes, operator: str) -> list[msgspec.Raw]:
    if not value_json.startswith(b"["):
        raise errors.InvalidRequest(f'{operator} on column "{column.name}" takes a list', columns=column.name)
    return msgspec.json.decode(value_json, type=list[msgspec.Raw])


def _membership(column: Column, name: sql.Composable, value_json: bytes) -> Fragment:
    """`column` is one of a list: one array parameter, whatever the number of values."""
    elements = _elements(column, value_json, "IN")
    if any(_is_nested(column, bytes(element)) for element in elements) or column.base_type.startswith("_"):
        return _membership_one_by_one(column, name, elements)
    literal = ",".join(array_element(column, bytes(element)) for element in elements)
    return sql.SQL("{} = ANY(%s)").format(name), ["{" + literal + "}"]


def _membership_one_by_one(column: Column, name: sql.Composable, elements: Sequence[msgspec.Raw]) -> Fragment:
    """Membership for values of which PostgreSQL makes no array: arrays and composites."""
    if not elements:
        return sql.SQL("FALSE"), []
    _check_number(len(elements))
    operands: list[sql.Composable] = []
    parameters: list[object] = []
    for element in elements:
        compared, values = operand(column, bytes(element))
        operands.append(compared)
        parameters.extend(values)
    return sql.SQL("{} IN ({})").format(name, sql.SQL(", ").join(operands)), parameters


def _check_number(comparisons: int) -> None:
    if comparisons > MAX_COMPARISONS:
        raise errors.InvalidRequest(
            f"a statement takes {MAX_COMPARISONS} comparisons at most",
            hint="Compare a column with many plain values by one IN.",
        )


def operand(column: Column, value_json: bytes) -> Fragment:
    """One value to compare a column with, or to compute with: typed by the column or operator beside it."""
    if not _is_nested(column, value_json):
        return sql.SQL("%s"), [_text(column, value_json)]
    nested = sql.SQL("(SELECT {} FROM json_to_record(%s) AS given({}))").format(
        identifier("given", column.name), typed_columns([column])
    )
    return nested, [msgspec.json.encode({column.name: msgspec.Raw(value_json)}).decode()]


def _is_nested(column: Column, value_json: bytes) -> bool:
    """Whether the value is a list or object that PostgreSQL must turn into an array or composite."""
    return column.base_type not in JSON_TYPES and value_json[:1] in (b"[", b"{")


def _text(column: Column, value_json: bytes) -> str | None:
    """The value as the text that PostgreSQL's input functions take; None for a JSON null."""
    if value_json == b"null":
        return None
    if column.base_type in JSON_TYPES or not value_json.startswith(b'"'):
        return value_json.decode()
    text: str = msgspec.json.decode(value_json, type=str)
    if "\0" in text:
        raise errors.InvalidValue(
            'invalid byte sequence for encoding "UTF8": 0x00', columns=column.name, sqlstate="22021"
        )
    return text


def array_element(column: Column, value_json: bytes) -> str:
    """The value as an element of a PostgreSQL array literal."""
    text = _text(column, value_json)
    if text is None:
        return "NULL"
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
