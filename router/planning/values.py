"""Values on their way to PostgreSQL: nothing that its sender may have changed on the way is passed on."""

from __future__ import annotations

from typing import Any

from crosskey import errors
from crosskey.catalog.model import Column, Table
from crosskey.rows import MAX_EXACT

_FLOATING_TYPES = frozenset({"float4", "float8", "_float4", "_float8"})
"""Types that are doubles themselves, or less."""

JSON_TYPES = frozenset({"json", "jsonb"})

BYTES_TYPES = frozenset({"bytea", "_bytea"})
"""Types whose values are bytes, which JSON does not have."""

_HEX = "\\x"
_BRACES = ("{", "[")
"""How PostgreSQL's text of an array begins. No base64 does."""


def checked_json(table: Table, column: Column, value: Any) -> Any:
    """The value, as given_values gave it; of numbers that equal integers, these, where they are the same value.

    Raises NumberNotExact if it is, or has somewhere inside, a number that its sender may have rounded, and the column
    is none of floats. Raises InvalidValue if the column has bytes and the value is not in PostgreSQL's hex form.
    """
    if column.base_type not in _FLOATING_TYPES:
        _check_exact(table, column, value)
    if column.base_type in BYTES_TYPES:
        _check_bytes(table, column, value)
    return value if column.base_type in _FLOATING_TYPES or _may_be_json(column) else _whole(value)


def _whole(value: Any) -> Any:
    """A float 5.0 as 5: integer columns take no other spelling, and a Struct knows no difference."""
    if type(value) is float and value.is_integer():
        return int(value)
    return [_whole(element) for element in value] if type(value) is list else value


def _may_be_json(column: Column) -> bool:
    """Whether the column, or a field of it if it is composite, may be json, which keeps a number as it is spelt."""
    return "." in column.base_type or column.base_type.removeprefix("_") in JSON_TYPES


def _check_exact(table: Table, column: Column, value: Any) -> None:
    kind = type(value)
    if kind is float:
        if not -MAX_EXACT <= value <= MAX_EXACT:
            raise errors.NumberNotExact(
                f'the number {value!r} for column "{column.name}" is beyond 2^53 and may have been rounded',
                table=str(table.name),
                columns=column.name,
                hint=_how_to_send_exactly(column),
            )
    elif kind is list:
        for element in value:
            _check_exact(table, column, element)
    elif kind is dict:
        for element in value.values():
            _check_exact(table, column, element)


def _how_to_send_exactly(column: Column) -> str:
    """A string is another value inside json, so that is never advised where json may be."""
    if _may_be_json(column):
        return "Send it as JSON text, which keeps every number: rows_json, set_json, key_json, value_json."
    return "Send it as a string."


def _check_bytes(table: Table, column: Column, value: Any) -> None:
    """PostgreSQL would store base64, which some clients make of bytes, as the bytes of that very text."""
    if isinstance(value, list):
        for element in value:
            _check_bytes(table, column, element)
    elif not (value is None or (isinstance(value, str) and _is_text_of_bytes(column, value))):
        raise errors.InvalidValue(
            f'invalid value for column "{column.name}": bytes are "\\x" and hexadecimal digits',
            table=str(table.name),
            columns=column.name,
            sqlstate="22P02",
            hint="Base64 is not taken, nor PostgreSQL's escape format: it cannot be told from base64.",
        )


def _is_text_of_bytes(column: Column, text: str) -> bool:
    if not text or text.startswith(_HEX):
        return True
    return column.base_type == "_bytea" and text.startswith(_BRACES)
