"""Values on their way to PostgreSQL: nothing that may have been rounded is passed on."""

from __future__ import annotations

from typing import Any

from catalog.model import Column, Table
from crosskey import errors
from crosskey.rows import MAX_EXACT

_FLOATING_TYPES = frozenset({"float4", "float8", "_float4", "_float8"})
"""Types that are doubles themselves, or less."""


def checked_json(table: Table, column: Column, value: Any) -> Any:
    """The value itself, as crosskey.rows.value_to_python gave it.

    Raises NumberNotExact if it is, or has somewhere inside, a number that its sender may have rounded, and the column
    is none of floats.
    """
    if column.base_type not in _FLOATING_TYPES:
        _check_exact(table, column, value)
    return value


def _check_exact(table: Table, column: Column, value: Any) -> None:
    kind = type(value)
    if kind is float:
        if not -MAX_EXACT <= value <= MAX_EXACT:
            raise errors.NumberNotExact(
                f'the number {value!r} for column "{column.name}" is beyond 2^53 and may have been rounded',
                table=str(table.name),
                columns=column.name,
                hint="Send it as a string.",
            )
    elif kind is list:
        for element in value:
            _check_exact(table, column, element)
    elif kind is dict:
        for element in value.values():
            _check_exact(table, column, element)
