"""Reading the simple ones among the expressions and predicates of indexes, in PostgreSQL's own spelling: pure.

What is not simple is not read: `md5(x)`, `a OR b`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

Row = Mapping[str, Any]
"""What is known of a row: JSON values by column. Of an absent column nothing is known."""

UNKNOWN: Final = object()
"""The value of a column of which none is known."""

Condition = Callable[[Row], bool | None]
"""Whether a row meets a part of a predicate; None if that cannot be told."""

_NAME: Final = r'(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)'
_CAST_COLUMN: Final = rf"(?:(?P<column>{_NAME})|\((?P<cast>{_NAME})\)::[a-z ]+)"
_COLUMN: Final = re.compile(_CAST_COLUMN)
_FOLDED: Final = re.compile(rf"(?P<fold>lower|upper)\({_CAST_COLUMN}\)")
_COALESCE: Final = re.compile(rf"COALESCE\({_CAST_COLUMN}, (?P<constant>.+)\)")

_TEST: Final = re.compile(rf"{_CAST_COLUMN} IS (?P<negated>NOT )?(?P<wanted>NULL|TRUE|FALSE)")
_FLAG: Final = re.compile(rf"(?P<negated>NOT )?(?P<column>{_NAME})")
_COMPARED: Final = re.compile(rf"{_CAST_COLUMN} (?P<operator>=|<>) (?P<constant>.+)")
_LISTED: Final = re.compile(rf"{_CAST_COLUMN} = ANY \(\(?ARRAY\[(?P<constants>.+?)\]\)?(?:::[a-z ]+\[\])?\)")

_CAST: Final = re.compile(r"\((.*)\)::[a-z ]+", re.DOTALL)
_QUOTED: Final = re.compile(r"'((?:[^']|'')*)'::(?:[a-z_ ]+|\"[^\"]+\")(?:\.(?:[a-z_]+|\"[^\"]+\"))?", re.DOTALL)
_NUMBER: Final = re.compile(r"(?:(\d+)|'(-?\d+)'::integer)")


@dataclass(frozen=True, slots=True)
class SimpleExpression:
    """A column as it is, in lower or upper case, or with a constant in the place of NULL."""

    column: str
    fold: Literal["", "lower", "upper"] = ""
    instead_of_null: Any = None


def read_expression(text: str) -> SimpleExpression | None:
    """The expression, if it is simple."""
    if found := _COLUMN.fullmatch(text):
        return SimpleExpression(_column(found))
    if found := _FOLDED.fullmatch(text):
        return SimpleExpression(_column(found), "lower" if found["fold"] == "lower" else "upper")
    found = _COALESCE.fullmatch(text)
    constant = read_constant(found["constant"]) if found else None
    return SimpleExpression(_column(found), "", constant) if found and constant not in (None, UNKNOWN) else None


def read_conditions(predicate: str) -> tuple[Condition, ...] | None:
    """The conditions that a predicate joins by AND, if all of them are simple."""
    conditions = [_read_condition(part) for part in _conjuncts(predicate)]
    simple = tuple(condition for condition in conditions if condition is not None)
    return simple if len(simple) == len(conditions) else None


def read_constant(text: str) -> Any:
    """A constant as a JSON value; UNKNOWN if it is none, or no simple one."""
    while found := _CAST.fullmatch(text):
        text = found[1]
    if text in ("true", "false"):
        return text == "true"
    if found := _NUMBER.fullmatch(text):
        return int(found[1] or found[2])
    found = _QUOTED.fullmatch(text)
    return UNKNOWN if found is None else found[1].replace("''", "'")


def _read_condition(part: str) -> Condition | None:
    if found := _TEST.fullmatch(part):
        wanted = {"NULL": None, "TRUE": True, "FALSE": False}[found["wanted"]]
        return _is(_column(found), wanted, negated=found["negated"] is not None)
    if found := _FLAG.fullmatch(part):
        return _equals_one_of(_unquoted(found["column"]), [found["negated"] is None], negated=False)
    if found := _LISTED.fullmatch(part):
        constants, negated = [read_constant(one) for one in _split(found["constants"], ", ")], False
    elif found := _COMPARED.fullmatch(part):
        constants, negated = [read_constant(found["constant"])], found["operator"] == "<>"
    if found is None or UNKNOWN in constants:
        return None
    return _equals_one_of(_column(found), constants, negated=negated)


def _is(name: str, wanted: bool | None, *, negated: bool) -> Condition:
    """`IS [NOT] NULL`, `IS [NOT] TRUE`."""

    def condition(row: Row) -> bool | None:
        return (row[name] is wanted) is not negated if name in row else None

    return condition


def _equals_one_of(name: str, constants: list[Any], *, negated: bool) -> Condition:
    def condition(row: Row) -> bool | None:
        value = row.get(name, UNKNOWN)
        if value is None:
            return False
        # JSON has other spellings of many values, such as "t" for true.
        if value is UNKNOWN or any(_kind(value) is not _kind(one) for one in constants):
            return None
        return (value in constants) is not negated

    return condition


def _kind(value: Any) -> type:
    return float if isinstance(value, int | Decimal) and not isinstance(value, bool) else type(value)


def _column(found: re.Match[str]) -> str:
    return _unquoted(found["column"] or found["cast"])


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _conjuncts(predicate: str) -> Iterator[str]:
    """The parts that a predicate joins by AND, each without the parentheses around it."""
    inner = _without_parentheses(predicate)
    if not inner:
        return
    parts = list(_split(inner, " AND "))
    if len(parts) == 1:
        yield inner
    else:
        for part in parts:
            yield from _conjuncts(part)


def _without_parentheses(text: str) -> str:
    """The text without the parentheses around all of it."""
    while text.startswith("(") and _end_of_parentheses(text) == len(text) - 1:
        text = text[1:-1]
    return text


def _end_of_parentheses(text: str) -> int:
    """Where the first parenthesis is closed."""
    return next((place for place, depth in _depths(text) if depth == 0), -1)


def _split(text: str, separator: str) -> Iterator[str]:
    """The text split where the separator stands in no parentheses and no quotes."""
    start = 0
    for place, depth in _depths(text):
        if depth == 0 and text.startswith(separator, place):
            yield text[start:place]
            start = place + len(separator)
    yield text[start:]


def _depths(text: str) -> Iterator[tuple[int, int]]:
    """Each place outside of quotes, and how many parentheses are open behind it."""
    depth = 0
    quote = ""
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        else:
            depth += (character == "(") - (character == ")")
            yield place, depth
