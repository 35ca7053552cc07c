"""What nested writes answer: rows as stored, with the rows that were created along with them in the same places."""

from __future__ import annotations

from dataclasses import dataclass

from crosskey.router.planning.nesting.actions import Outcome, Write
from crosskey.router.planning.nesting.tasks import NestedRow
from crosskey.router.reading.found_rows import JOIN, json_array, member, with_members
from crosskey.router.writing.write_results import WriteResult, split_rows


@dataclass(frozen=True, slots=True)
class NestedResult:
    """What a nested write answers as one without nested rows does, and of an association what became of rows."""

    written: WriteResult
    outcome: Outcome


def take_stored(write: Write, result: WriteResult) -> None:
    """Has the rows of a write know how they are stored. Where a trigger has dropped some, nobody can tell which."""
    rows = split_rows(result.rows_json) if result.rows_json else []
    if write.joins and len(rows) == len(write.joins):
        for task, stored in zip(write.joins, rows, strict=True):
            task.joined = bytes(stored)
    elif not write.joins and len(rows) == len(write.rows_of):
        for row, stored in zip(write.rows_of, rows, strict=True):
            row.stored = bytes(stored)


def to_result(outcome: Outcome) -> NestedResult:
    """The answer of a script."""
    shown = [json_of(row) for row in outcome.rows]
    rows_json = json_array(row for row in shown if row is not None)
    return NestedResult(WriteResult(outcome.count, rows_json), outcome)


def json_of(row: NestedRow) -> bytes | None:
    """A row as JSON, with those inside that were created or changed along with it; None if it is not stored."""
    if row.stored is None:
        return None
    inside: dict[str, list[bytes]] = {}
    many: dict[str, bool] = {}
    for task in row.tasks:
        for one in (task.row, task.change):
            shown = None if one is None else json_of(one)
            if shown is not None:
                joined = [member(JOIN, task.joined)] if task.joined is not None else []
                inside.setdefault(task.relation.name, []).append(with_members(shown, joined))
                many[task.relation.name] = task.relation.many
    members = [member(name, json_array(rows) if many[name] else rows[0]) for name, rows in inside.items()]
    return with_members(row.stored, members)
