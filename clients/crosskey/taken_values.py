"""Values that a statement of a transaction takes of the answers of earlier ones, as requests give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from crosskey.v1.rows_pb2 import AnswerValue, TakenValue


def value_of(statement: int | str, column: str, row: int = 0) -> AnswerValue:
    """Stands for a value of an earlier answer of the same `transact`, in the place of a value.

    An insert of `{"author_id": value_of(0, "id")}` takes the id of the row that the first statement answered.
    `statement` is the place of that statement, from 0, or inside a group such as "2.1"; `row` is which of the rows that
    it answers, from 0. Rows, new values, keys and conditions take it.
    """
    return AnswerValue(statement=str(statement), column=column, row=row)


def taken(rows: Iterable[Mapping[str, Any]]) -> list[TakenValue]:
    """What columns of rows take of earlier answers."""
    return [
        TakenValue(column=name, value=value, row=place)
        for place, row in enumerate(rows)
        for name, value in row.items()
        if isinstance(value, AnswerValue)
    ]


def without_taken(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row whose values it gives itself."""
    return {name: value for name, value in row.items() if not isinstance(value, AnswerValue)}
