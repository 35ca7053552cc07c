"""JSON text that says exactly what was meant: every digit of a number, and what JSON has no values for.

Numbers are read as int, as float where a float prints the same number again, else as Decimal. They are written as they
are, so what was read is written again unchanged.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, Final, TypeAlias, final
from uuid import UUID

import msgspec

from crosskey.deep_values import too_deep_to_send

Row: TypeAlias = Mapping[str, Any]

MAX_INT_DIGITS = 4300
"""What Python turns into an int at most, unless told otherwise."""


@final
class JsonNull:
    """The type of JSON_NULL."""

    def __repr__(self) -> str:
        """Its name."""
        return "crosskey.JSON_NULL"

    def __bool__(self) -> bool:
        """It is as false as None."""
        return False

    def __reduce__(self) -> str:
        """There is one only, also after a copy."""
        return "JSON_NULL"


JSON_NULL: Final = JsonNull()
"""The JSON value `null` of a json or jsonb column, where None is SQL's NULL."""


def exact_number(digits: str) -> float | Decimal:
    """A JSON number with a fraction or an exponent. Raises ValueError if its exponent is beyond all bounds."""
    number = float(digits)
    if repr(number) == digits:
        return number
    exact = _decimal(digits)
    return number if is_same(number, exact) and _has_as_many_places(number, exact) else exact


def is_same(number: float, exact: Decimal) -> bool:
    """Whether a float, as it is printed, is exactly that number."""
    return math.isfinite(number) and Decimal(repr(number)) == exact


def _has_as_many_places(number: float, exact: Decimal) -> bool:
    """Whether a float is printed with the places behind the point that the number has: numeric and jsonb keep them."""
    places = exact.as_tuple().exponent
    return isinstance(places, int) and (places >= 0 or places == Decimal(repr(number)).as_tuple().exponent)


def decoder(float_hook: Callable[[str], Any]) -> Callable[[bytes | str], Any]:
    """A function that reads JSON text, numbers with a fraction or an exponent by the hook.

    It raises ValueError for what is no JSON, and RecursionError for what is nested too deep.
    """
    quick = msgspec.json.Decoder(float_hook=float_hook)

    def decode(text: bytes | str) -> Any:
        try:
            return quick.decode(text)
        except msgspec.ValidationError:
            # It takes no integers of very many digits.
            return json.loads(text, parse_int=_whole_number, parse_float=float_hook)
        except msgspec.DecodeError as error:
            raise ValueError(str(error)) from None

    return decode


decode = decoder(exact_number)
"""Reads JSON text. Raises as `decoder` says."""

_encoder = msgspec.json.Encoder(decimal_format="number")


def encode(value: Any) -> bytes:
    """The JSON text of a value that `jsonable` made, or `decode`."""
    return _encoder.encode(value)


def encode_rows(rows: Sequence[Row]) -> tuple[str, list[str]]:
    """Rows as JSON text, and the columns of which they give the text of a JSON value: those where one is JSON_NULL.

    Takes what JSON takes, and: Decimal, UUID, datetime, date, time, timedelta, bytes, NaN and infinities. Raises
    TypeError for a value of another type, or a key that is no string, and ValueError for a value that nests too deep.
    """
    as_text = {name for row in rows for name, value in row.items() if value is JSON_NULL}
    try:
        given = [
            {_name(name): _json_text(value) if name in as_text else jsonable(value) for name, value in row.items()}
            for row in rows
        ]
        return encode(given).decode(), sorted(as_text)
    except RecursionError:
        raise too_deep_to_send(rows, _written) from None


def encode_key(key: Row) -> str:
    """The columns of a key as JSON text, each as `encode_rows` writes it. Raises as that."""
    try:
        return _written(key)
    except RecursionError:
        raise too_deep_to_send([key], _written) from None


def encode_value(column: str, value: Any) -> str:
    """One value, which is compared or computed with a column, as JSON text, as `encode_rows` writes it. Raises so too.

    JSON_NULL is null.
    """
    try:
        return _written(value)
    except RecursionError:
        raise too_deep_to_send([{column: value}], _written) from None


def _written(value: Any) -> str:
    return encode(jsonable(value)).decode()


def jsonable(value: Any) -> Any:
    """The value in terms of JSON: what it has no values for becomes PostgreSQL's text of it."""
    convert = _CONVERSIONS.get(type(value))
    if convert is not None:
        return convert(value)
    return value if type(value) in _PLAIN else _of_nearest_type(value)


def interval_text(value: timedelta) -> str:
    """A timedelta as PostgreSQL reads it: days, and the time that is less than a day."""
    return f"{value.days} days {value.seconds}.{value.microseconds:06} seconds"


def _decimal(digits: str) -> Decimal:
    try:
        return Decimal(digits)
    except InvalidOperation:
        raise ValueError(f"the number {digits} is out of range") from None


def _whole_number(digits: str) -> int | Decimal:
    return int(digits) if len(digits) < MAX_INT_DIGITS else Decimal(digits)


def _json_text(value: Any) -> str | None:
    """The text of a JSON value; None for NULL."""
    if value is None:
        return None
    return "null" if value is JSON_NULL else _written(value)


def _name(name: object) -> str:
    if isinstance(name, str):
        return name
    raise TypeError(f"a name is a string, not {name!r}")


def _of_float(value: float) -> float | str:
    return value if math.isfinite(value) else non_finite(value)


def non_finite(number: float) -> str:
    """NaN and infinities as PostgreSQL spells them."""
    if math.isnan(number):
        return "NaN"
    return "Infinity" if number > 0 else "-Infinity"


def _of_decimal(value: Decimal) -> Decimal | str:
    return value if value.is_finite() else non_finite(float(value))


def _of_int(value: int) -> int | Decimal:
    # An integer with more digits than Python prints is none that Decimal does not print.
    return value if -(10**18) < value < 10**18 else Decimal(value)


def _of_bytes(value: bytes | bytearray | memoryview) -> str:
    return "\\x" + value.hex()


def _of_list(value: Sequence[Any]) -> list[Any]:
    return [jsonable(element) for element in value]


def _of_dict(value: Row) -> dict[str, Any]:
    return {_name(name): jsonable(one) for name, one in value.items()}


def _of_iso(value: date | time) -> str:
    return value.isoformat()


_PLAIN: Final = frozenset({str, bool, type(None)})

_CONVERSIONS: dict[type, Callable[[Any], Any]] = {
    int: _of_int,
    float: _of_float,
    Decimal: _of_decimal,
    UUID: str,
    datetime: _of_iso,
    date: _of_iso,
    time: _of_iso,
    timedelta: interval_text,
    bytes: _of_bytes,
    bytearray: _of_bytes,
    memoryview: _of_bytes,
    list: _of_list,
    tuple: _of_list,
    dict: _of_dict,
    JsonNull: lambda _: None,
}


def _of_nearest_type(value: Any) -> Any:
    """For subclasses, such as str enums: as the nearest type that is known."""
    for parent in type(value).__mro__:
        if parent in _CONVERSIONS:
            return _CONVERSIONS[parent](value)
        if parent is str:
            return str.__str__(value)
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent: {value!r}")
