"""Values that stand in the place of defaults which no shard can work out for itself: pure.

The numbers of a sequence are unique over the cluster only if one shard draws them, and the default of a shard key must
be known before the row has a shard. So the router has them made, and puts them into the rows before it places these.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crosskey import errors
from crosskey.catalog.model import Column, Table, TableName
from crosskey.catalog.plan import TablePlan
from crosskey.router.planning.conflict_targets import target_columns_to_generate
from crosskey.router.planning.given_values import given_rows
from crosskey.router.planning.schema_view import SchemaView
from crosskey.v1 import router_pb2

Row = dict[str, Any]
"""A row as sent: column names and JSON values."""

Overriding = router_pb2.InsertRequest.Overriding


@dataclass(frozen=True, slots=True)
class Need:
    """Of an insert, how many values it needs for each column whose value is to be generated."""

    table: TablePlan
    counts: Mapping[str, int]

    @property
    def columns(self) -> list[tuple[Column, int]]:
        """The columns and how many values each needs."""
        return [(column, self.counts[column.name]) for column in self.table.table.columns if column.name in self.counts]

    @property
    def counted(self) -> list[tuple[str, TableName, int]]:
        """The columns that need the next numbers of a sequence, with the sequence, and how many they need."""
        return [
            (column.name, column.sequence, count)
            for column, count in self.columns
            if column.counts and column.sequence is not None
        ]

    @property
    def computed(self) -> list[tuple[str, int]]:
        """The columns whose default must be worked out, and for how many rows."""
        return [(column.name, count) for column, count in self.columns if not column.counts]


@dataclass(frozen=True, slots=True)
class GeneratedValues:
    """What an insert needs: values by column, in the order of the rows that lack one; or why it cannot be had."""

    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    error: errors.CrosskeyError | None = None

    def fill(self, rows: Iterable[Row]) -> None:
        """Adds to each row the values that it lacks. Raises the error, if there is one."""
        if self.error is not None:
            raise self.error
        remaining = {name: iter(values) for name, values in self.values.items()}
        if not remaining:
            return
        for row in rows:
            for name, values in remaining.items():
                if name not in row:
                    row[name] = next(values)


NOTHING = GeneratedValues()

AllGenerated = Mapping[str, GeneratedValues]
"""The generated values of a transaction, by the place of the insert; those that need nothing are not there."""

NONE_GENERATED: AllGenerated = {}


def need_of(view: SchemaView, request: router_pb2.InsertRequest) -> Need | None:
    """What the insert needs; None if nothing, or if there is no such table."""
    try:
        table = view.table(request.table)
    except errors.UnknownTable:
        return None
    columns = [*view.columns_to_generate(table), *target_columns_to_generate(view, table, request)]
    if not columns:
        return None
    rows: Sequence[Collection[str]] = given_rows(request) if request.rows_json else [row.fields for row in request.rows]
    counts = {column.name: _absent(column, request, rows) for column in columns}
    needed = {name: count for name, count in counts.items() if count}
    return Need(table, needed) if needed else None


def needs_of(view: SchemaView, statements: Iterable[router_pb2.Statement], within: str = "") -> dict[str, Need]:
    """What the inserts of a transaction need, by their place: such as "0", in a group "2.1"."""
    needs: dict[str, Need] = {}
    for number, statement in enumerate(statements):
        match statement.WhichOneof("statement"):
            case "insert" if not statement.insert.taken:
                need = need_of(view, statement.insert)
                needs |= {} if need is None else {f"{within}{number}": need}
            case "group":
                needs |= needs_of(view, statement.group.statements, f"{within}{number}.")
    return needs


def stand_ins(column: Column, count: int) -> list[Any]:
    """Values such as may come, for those who only want to know what would be done."""
    if column.base_type == "uuid":
        return [str(uuid.uuid4()) for _ in range(count)]
    return [*range(1, count + 1)]


def override(table: Table, rows: Iterable[Row], overriding: Overriding.ValueType) -> None:
    """Does with the values of identity columns as SQL's OVERRIDING clause says: those not wanted are taken out.

    Raises InvalidRequest (there is no such clause), and InvalidValue for a value that only OVERRIDING SYSTEM VALUE lets
    in, in PostgreSQL's words.
    """
    if overriding not in Overriding.values():
        raise errors.InvalidRequest(f"there is no OVERRIDING clause {overriding}", table=str(table.name))
    for column in (column for column in table.columns if column.identity):
        if overriding == router_pb2.InsertRequest.OVERRIDING_USER_VALUE:
            for row in rows:
                row.pop(column.name, None)
        elif overriding == router_pb2.InsertRequest.OVERRIDING_UNSPECIFIED:
            _check_not_given(table, column, rows)


def _absent(column: Column, request: router_pb2.InsertRequest, rows: Sequence[Collection[str]]) -> int:
    """How many rows have no value for the column, or none that counts."""
    if column.identity and request.overriding == router_pb2.InsertRequest.OVERRIDING_USER_VALUE:
        return len(rows)
    return sum(column.name not in row for row in rows)


def _check_not_given(table: Table, column: Column, rows: Iterable[Row]) -> None:
    if column.identity == "ALWAYS" and any(column.name in row for row in rows):
        raise errors.InvalidValue(
            f'cannot insert a non-DEFAULT value into column "{column.name}"',
            table=str(table.name),
            sqlstate="428C9",
            detail=f'Column "{column.name}" is an identity column defined as GENERATED ALWAYS.',
            hint="Use OVERRIDING SYSTEM VALUE to override.",
        )
