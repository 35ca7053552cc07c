"""PostgreSQL's text of values as Python values, by the column's type.

Each value is one that is written back as the very value that was read. What Python's type cannot hold stays text, which
PostgreSQL reads as well: dates before Christ or at infinity, months in an interval, arrays that do not begin at 1.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from crosskey.array_text import read_array
from crosskey.exact_json import JSON_NULL, decode

Reader = Callable[[str], Any]

_INTERVAL: Final = re.compile(r"(?:(-?\d+) days?)? ?(?:\+?(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?)?")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")


def reader_of(base_type: str) -> Reader | None:
    """What reads values of a type, as a ColumnDescription names it in `base_type`; None if they stay text."""
    if base_type in _READERS:
        return _READERS[base_type]
    if base_type.startswith("_"):
        element = _ELEMENTS.get(base_type[1:])
        return None if element is None else _array_reader(element)
    return None


def _array_reader(read_element: Reader) -> Reader:
    def read(text: str) -> Any:
        array = read_array(text, read_element)
        return text if array is None or _is_ambiguous(array, read_element) else array

    return read


def _is_ambiguous(array: list[Any], read_element: Reader) -> bool:
    """Whether a list of these elements would be written as another array: json may be a list, or null."""
    return read_element is _json and any(element is JSON_NULL or isinstance(element, list) for element in array)


def _or_text(read: Reader) -> Reader:
    """The reader, for a type of which some values are beyond Python's."""

    def read_or_text(text: str) -> Any:
        try:
            return read(text)
        except (ValueError, OverflowError):
            return text

    return read_or_text


def _date(text: str) -> date:
    if _DATE.fullmatch(text) is None:
        raise ValueError("not a date of four digits a year")
    return date.fromisoformat(text)


def _timestamp(text: str) -> datetime:
    if _DATE.match(text) is None:
        raise ValueError("not a date of four digits a year")
    return datetime.fromisoformat(text)


def _time(text: str) -> time:
    if text.startswith("24"):
        raise ValueError("midnight at the end of a day, which is not that at its beginning")
    return time.fromisoformat(text)


def _interval(text: str) -> timedelta | str:
    """A timedelta if it is written as the same interval: without months, and with a time of less than a day."""
    found = _INTERVAL.fullmatch(text)
    if found is None or not text:
        return text
    days, hours, minutes, seconds, fraction = found.groups()
    if int(hours or 0) >= 24:
        return text
    return timedelta(
        days=int(days or 0),
        hours=int(hours or 0),
        minutes=int(minutes or 0),
        seconds=int(seconds or 0),
        microseconds=int((fraction or "").ljust(6, "0")),
    )


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("\\x"))


def _json(text: str) -> Any:
    return JSON_NULL if text == "null" else decode(text)


def _boolean(text: str) -> bool:
    return text == "t"


_READERS: dict[str, Reader] = {
    "int2": int,
    "int4": int,
    "int8": int,
    "oid": int,
    "float4": float,
    "float8": float,
    "numeric": Decimal,
    "bool": _boolean,
    "uuid": UUID,
    "bytea": _bytes,
    "date": _or_text(_date),
    "timestamp": _or_text(_timestamp),
    "timestamptz": _or_text(_timestamp),
    "time": _or_text(_time),
    "timetz": _or_text(_time),
    "interval": _or_text(_interval),
    "json": _json,
    "jsonb": _json,
}

_TEXTS = dict.fromkeys(("text", "varchar", "bpchar", "name", "char", "inet", "cidr", "macaddr", "bit", "varbit"), str)

_ELEMENTS: dict[str, Reader] = {**_READERS, **_TEXTS}
"""How elements of arrays are read. A list of any others may not be written as it was read, so it stays text."""
