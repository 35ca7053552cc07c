"""New values that PostgreSQL computes from the row: the right-hand sides of `visits = visits + 1`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crosskey.exact_json import encode_value
from crosskey.v1.rows_pb2 import AnswerValue, Assignment


@dataclass(frozen=True)
class Computed:
    """A column's old value, or one operation on it; a value of `set` in an update."""

    source: str
    op: Assignment.Op.ValueType = Assignment.COPY
    value: Any = None

    def __add__(self, value: Any) -> Computed:
        """The column plus the value."""
        return self._then(Assignment.ADD, value)

    def __sub__(self, value: Any) -> Computed:
        """The column minus the value."""
        return self._then(Assignment.SUBTRACT, value)

    def __mul__(self, value: Any) -> Computed:
        """The column times the value."""
        return self._then(Assignment.MULTIPLY, value)

    def concatenate(self, value: Any) -> Computed:
        """The column followed by the value: texts, arrays, jsonb."""
        return self._then(Assignment.CONCATENATE, value)

    def assign_to(self, column: str) -> Assignment:
        """The assignment of this value to a column."""
        if isinstance(self.value, AnswerValue):
            return Assignment(column=column, source=self.source, op=self.op, taken=self.value)
        value_json = "" if self.op == Assignment.COPY else encode_value(column, self.value)
        return Assignment(column=column, source=self.source, op=self.op, value_json=value_json)

    def _then(self, op: Assignment.Op.ValueType, value: Any) -> Computed:
        if self.op != Assignment.COPY:
            raise TypeError("a value takes one operation on one column")
        return Computed(self.source, op, value)


def column(name: str) -> Computed:
    """The old value of a column, to set another to or to compute with: `column("visits") + 1`."""
    return Computed(name)
