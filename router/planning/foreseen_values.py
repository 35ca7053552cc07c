"""What an index computes of a row, foreseen without PostgreSQL: pure.

Most partial indexes, and most over expressions, are simple: `lower(email)`, `WHERE deleted_at IS NULL`. What is
foreseen is a guess, as texts in lower case depend on the locale, and triggers may change a row: whoever counts on it
finds out in time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from crosskey.catalog.model import Column, Computed, Table
from crosskey.catalog.slot_types import has_slot
from crosskey.catalog.slots import FAMILIES, canonical_text
from crosskey.router.planning.simple_expressions import (
    UNKNOWN,
    Condition,
    Row,
    SimpleExpression,
    read_conditions,
    read_constant,
    read_expression,
)

Value = dict[str, str]
"""The columns of a value, each in canonical text."""


class Unforeseen(Enum):
    """Why there is no value to be foreseen."""

    NO_VALUE = "the row has none"
    UNKNOWN = "only PostgreSQL can tell"


@dataclass(frozen=True)
class Foresight:
    """What is computed by one index, as far as it is simple: made once for a schema.

    `expressions` and `conditions` are None where they are not simple.
    """

    table: Table
    computed: Computed
    expressions: tuple[SimpleExpression | None, ...]
    conditions: tuple[Condition, ...] | None

    @staticmethod
    def of(table: Table, computed: Computed) -> Foresight:
        """The foresight of an index of the table."""
        expressions = tuple(map(read_expression, computed.expressions))
        return Foresight(table, computed, expressions, read_conditions(computed.predicate))

    def value_selected(self, known: Row) -> Value | Unforeseen:
        """The value that all rows share which have, by `=`, what is known of them."""
        if all(_is_identity(self.table.column(name)) for name in self.computed.reads if known.get(name) is not None):
            return self._value_of(known)
        return Unforeseen.UNKNOWN

    def value_to_insert(self, row: Row) -> Value | Unforeseen:
        """The value of a row as it is to be inserted, in which simple defaults stand for what it lacks."""
        defaults = {name: _default(self.table, name) for name in self.computed.reads if name not in row}
        return self._value_of({**row, **{name: value for name, value in defaults.items() if value is not UNKNOWN}})

    def _value_of(self, row: Row) -> Value | Unforeseen:
        met = [None] if self.conditions is None else [condition(row) for condition in self.conditions]
        if False in met:
            return Unforeseen.NO_VALUE
        if None in met:
            return Unforeseen.UNKNOWN
        value: Value = {}
        for column, expression in zip(self.computed.columns, self.expressions, strict=True):
            text = None if expression is None else self._text(column, expression, row)
            if text is None:
                return Unforeseen.UNKNOWN
            value[column.name] = text
        return value

    def _text(self, column: Column, expression: SimpleExpression, row: Row) -> str | None:
        """The canonical text of one expression's value; None if there is none, or none is known."""
        source = self.table.column(expression.column)
        if source is None or source.name not in row or not has_slot(column):
            return None
        given = row[source.name]
        given, base_type = (
            (expression.instead_of_null, column.base_type) if given is None else (given, source.base_type)
        )
        if given is None:
            return None
        try:
            text = canonical_text(base_type if base_type in FAMILIES else column.base_type, given, source.max_length)
        except ValueError:
            return None
        return {"": text, "lower": text.lower(), "upper": text.upper()}[expression.fold]


def _is_identity(column: Column | None) -> bool:
    """Whether values of the column that are equal are the same."""
    return column is not None and (has_slot(column) or column.base_type == "bool")


def _default(table: Table, name: str) -> Any:
    """What a column is where a row does not give it; UNKNOWN if that is not simply told."""
    column = table.column(name)
    if column is None or column.generated or column.identity or column.draws:
        return UNKNOWN
    return None if column.default is None else read_constant(column.default)
