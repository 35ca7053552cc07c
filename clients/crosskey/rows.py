"""Rows between google.protobuf.Struct, Python and JSON.

A Struct's numbers are doubles. Integers that every double holds exactly are numbers, larger ones are strings of their
digits, so nothing is ever rounded on the way.

The loops touch each field of a message once and through its map's keys: `items()` of a protobuf map costs three times
as much.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer
from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

from crosskey.exact_json import Row, decoder, encode, is_same

MAX_EXACT = 2**53 - 1
"""The largest integer that no other integer is rounded to in a double."""

MAX_DEPTH = 24
"""How deep one value nests in a Struct. Protobuf reads 100 levels of messages, and an object takes three."""


def struct_to_dict(struct: Struct) -> dict[str, Any]:
    """The object as a dict, each value as `value_to_python` says."""
    fields = struct.fields
    return {key: value_to_python(fields[key]) for key in fields}


def structs_to_dicts(structs: Iterable[Struct]) -> list[dict[str, Any]]:
    """The rows as dicts, each as `struct_to_dict` says."""
    return [struct_to_dict(struct) for struct in structs]


def value_to_python(value: Value) -> Any:
    """The value as str, int, float, bool, None, list or dict.

    A whole number up to MAX_EXACT is an int; a larger one stays a float, because it may have been rounded by its
    sender. Numbers that JSON does not have become "NaN", "Infinity" and "-Infinity".
    """
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        return _number_to_python(value.number_value)
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return struct_to_dict(value.struct_value)
    if kind == "list_value":
        return [value_to_python(element) for element in value.list_value.values]
    return None


def dict_to_struct(row: Row) -> Struct:
    """The row as a Struct.

    Takes what JSON takes, and: integers beyond MAX_EXACT and Decimal (sent as strings), UUID, datetime, date and time
    (in ISO 8601), bytes (PostgreSQL's hex form), NaN and infinities (as strings).
    Raises TypeError for a value of another type or a key that is no string.
    """
    struct = Struct()
    fill_struct(struct, row)
    return struct


def fill_struct(target: Struct, row: Row) -> None:
    """Adds the row's values to the Struct, converted as `dict_to_struct` says."""
    fields = target.fields
    for key, value in row.items():
        _SETTERS.get(type(value), _set_other)(fields[key], value)


def python_to_value(value: Any) -> Value:
    """The value as a Value, converted as `dict_to_struct` says."""
    target = Value()
    fill_value(target, value)
    return target


def fill_value(target: Value, value: Any) -> None:
    """Sets the Value, converted as `dict_to_struct` says."""
    _SETTERS.get(type(value), _set_other)(target, value)


def add_rows(target: RepeatedCompositeFieldContainer[Struct], rows: Iterable[Row]) -> None:
    """Adds the rows to a repeated field: twice as fast as to make Structs and copy them there."""
    for row in rows:
        fill_struct(target.add(), row)


def add_json_rows(target: RepeatedCompositeFieldContainer[Struct], rows_json: bytes) -> None:
    """Adds a JSON array of objects to a repeated field.

    A number that a double does not hold becomes a string of its digits, and a value that nests deeper than MAX_DEPTH a
    string of its JSON text. Raises ValueError if it is no JSON.
    """
    add_rows(target, _objects(rows_json))


def rows_to_structs(rows: Iterable[Row]) -> list[Struct]:
    """The rows as Structs, each as `dict_to_struct` says."""
    return [dict_to_struct(row) for row in rows]


def json_rows_to_structs(rows_json: bytes) -> list[Struct]:
    """A JSON array of objects as Structs, as `add_json_rows` says."""
    return rows_to_structs(_objects(rows_json))


def _number_to_python(number: float) -> int | float | str:
    if -MAX_EXACT <= number <= MAX_EXACT:
        return int(number) if number.is_integer() else number
    return number if math.isfinite(number) else _non_finite(number)


def _non_finite(number: float) -> str:
    """NaN and infinities as PostgreSQL spells them."""
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


_SURELY_EXACT_LENGTH = 15
"""A double holds every number of that many digits, unless an exponent takes it out of its range."""


def _json_number(digits: str) -> float | str:
    """A JSON number with a fraction or an exponent; as text if a double is another number."""
    number = float(digits)
    if repr(number) == digits or (len(digits) <= _SURELY_EXACT_LENGTH and digits.lower().find("e") < 0):
        return number
    try:
        return number if is_same(number, Decimal(digits)) else digits
    except InvalidOperation:
        return digits


_decode = decoder(_json_number)


def _objects(rows_json: bytes) -> list[dict[str, Any]]:
    try:
        rows = _decode(rows_json)
    except RecursionError:
        rows = _decode(_with_deep_values_as_text(rows_json))
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("rows are an array of objects")
    for row in rows:
        for name, value in row.items():
            if type(value) in _NESTED and _is_deeper_than(MAX_DEPTH, value):
                row[name] = encode(value).decode()
    return rows


_MARK = re.compile(rb'"(?:[^"\\]+|\\.)*"|[\[\]{}]')
_LEVEL_OF_VALUES = 3
"""Where a nested value of a column begins: in a row, in the array of rows."""


def _with_deep_values_as_text(rows_json: bytes) -> bytes:
    """The rows with each value that nests deeper than MAX_DEPTH as a string of its JSON text.

    It takes the depth from the brackets alone: no recursion bounds it, as it does what reads the values.
    """
    parts, taken, level, deepest, begin = [], 0, 0, 0, 0
    for mark in _MARK.finditer(rows_json):
        if mark[0] in b"[{":
            level += 1
            if level == _LEVEL_OF_VALUES:
                begin, deepest = mark.start(), 0
            deepest = max(deepest, level)
        elif mark[0] in b"]}":
            if level == _LEVEL_OF_VALUES and deepest - _LEVEL_OF_VALUES >= MAX_DEPTH:
                parts += [rows_json[taken:begin], encode(rows_json[begin : mark.end()].decode())]
                taken = mark.end()
            level -= 1
    return b"".join([*parts, rows_json[taken:]])


_NESTED = frozenset({list, dict})


def _is_deeper_than(levels: int, value: Any) -> bool:
    if type(value) not in _NESTED:
        return False
    elements = value.values() if type(value) is dict else value
    return levels == 0 or any(_is_deeper_than(levels - 1, element) for element in elements)


def _set_text(target: Value, value: str) -> None:
    target.string_value = value


def _set_null(target: Value, _: None) -> None:
    target.null_value = NULL_VALUE


def _set_bool(target: Value, value: bool) -> None:
    target.bool_value = value


def _set_int(target: Value, value: int) -> None:
    if -MAX_EXACT <= value <= MAX_EXACT:
        target.number_value = value
    else:
        target.string_value = str(value)


def _set_float(target: Value, value: float) -> None:
    if math.isfinite(value):
        target.number_value = value
    else:
        target.string_value = _non_finite(value)


def _set_str_of(target: Value, value: UUID | Decimal) -> None:
    target.string_value = str(value)


def _set_iso(target: Value, value: date | time) -> None:
    target.string_value = value.isoformat()


def _set_bytes(target: Value, value: bytes) -> None:
    target.string_value = "\\x" + value.hex()


def _set_list(target: Value, value: Iterable[Any]) -> None:
    elements = target.list_value.values
    target.list_value.SetInParent()
    for element in value:
        fill_value(elements.add(), element)


def _set_dict(target: Value, value: Row) -> None:
    target.struct_value.SetInParent()
    fill_struct(target.struct_value, value)


_SETTERS: dict[type, Callable[[Value, Any], None]] = {
    str: _set_text,
    type(None): _set_null,
    int: _set_int,
    float: _set_float,
    bool: _set_bool,
    list: _set_list,
    tuple: _set_list,
    dict: _set_dict,
    UUID: _set_str_of,
    Decimal: _set_str_of,
    datetime: _set_iso,
    date: _set_iso,
    time: _set_iso,
    bytes: _set_bytes,
}


def _set_other(target: Value, value: Any) -> None:
    """For subclasses, such as str enums: the setter of the nearest type that has one."""
    for parent in type(value).__mro__:
        if parent in _SETTERS:
            _SETTERS[parent](target, value)
            return
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent: {value!r}")
