"""The numbers of serial, identity and `nextval` columns: PostgreSQL is made to draw the very ones that Crosskey drew.

Gaps are left open, so the two would soon differ for no fault. As it is, rows of both sides are the same, and later
operations may name them by what was drawn.
"""

from __future__ import annotations

import json
from typing import Any

import psycopg

from crosskey import WrittenRows
from crosskey.v1.router_pb2 import InsertRequest
from tests.oracle.differential.family import INCREMENT, sequence_of
from tests.oracle.pair import DisagreementError

_IDS = """
SELECT c.relname, a.attidentity <> ''
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'id'
WHERE c.relkind = 'r'
"""
_SEQUENCES = "SELECT relname FROM pg_class WHERE relkind = 'S'"


class Numbers:
    """What sequences gave to the `id` of rows that left it out."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """Takes the plain side's connection, which has the schema."""
        self._connection = connection
        sequences = {name for (name,) in connection.execute(_SEQUENCES)}
        self._is_identity: dict[str, bool] = {
            table: is_identity for table, is_identity in connection.execute(_IDS) if sequence_of(table) in sequences
        }
        self._ever: dict[tuple[str, int], WrittenRows] = {}
        self._of_example: list[int] = []

    def begin_example(self) -> None:
        """Forgets what `drawn` knows."""
        self._of_example.clear()

    def drawn(self, ago: int) -> int:
        """The number of the example that was drawn so many draws before the last; if there is none, one below zero."""
        return self._of_example[-1 - ago] if ago < len(self._of_example) else -1 - ago

    def draw_alike(self, insert: InsertRequest, answer: WrittenRows) -> None:
        """Moves PostgreSQL's sequence to where Crosskey's was, as far as the answer shows it.

        PostgreSQL may run the insert of an answer more than once. Raises DisagreementError if the number of one answer
        was drawn for another.
        """
        if insert.table not in self._is_identity:
            return
        shown = self._shown(insert, answer)
        for number in shown.values():
            drawn_for = self._ever.get((insert.table, number))
            if drawn_for is None:
                self._ever[insert.table, number] = answer
                self._of_example.append(number)
            elif drawn_for is not answer:
                raise DisagreementError(f"{number} was drawn twice for {insert.table}")
        if shown:
            place, number = next(iter(shown.items()))
            first = number - place * INCREMENT
            self._connection.execute("SELECT setval(%s, %s, false)", (sequence_of(insert.table), first))

    def _shown(self, insert: InsertRequest, answer: WrittenRows) -> dict[int, int]:
        """Of the numbers drawn, counted from 0, those of new rows."""
        is_ignored = self._is_identity[insert.table] and insert.overriding == InsertRequest.OVERRIDING_USER_VALUE
        rows = json.loads(insert.rows_json)
        outcomes = answer.outcomes or ["INSERTED"] * len(rows)
        stored = iter(answer)
        shown, draws = {}, 0
        for given, outcome in zip(rows, outcomes, strict=True):
            row = next(stored) if outcome != "SKIPPED" else {}
            if is_ignored or "id" not in given:
                if outcome == "INSERTED":
                    shown[draws] = int(row["id"])
                draws += 1
        return shown
