"""From a request to write to one statement for each shard and set of columns: pure, without a look at any row stored.

A row of an insert is converted once, placed once and encoded once; everything else is done a request, not a row.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import msgspec

from crosskey import errors
from crosskey.catalog.model import Column, Table
from crosskey.catalog.plan import Claim, TablePlan
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.planning.anchors import NO_ANCHORS, AnchorShards
from crosskey.router.planning.conflict_targets import arbiters, check_on_conflict
from crosskey.router.planning.expectations import Expected, conditions_of
from crosskey.router.planning.generated_values import NOTHING, GeneratedValues, Row, override
from crosskey.router.planning.given_values import (
    given_key,
    given_rows,
    given_set,
    given_value,
    has_key,
    has_value,
    is_text_form,
)
from crosskey.router.planning.predicates import (
    Checked,
    check_key,
    check_predicates,
    to_conditions,
)
from crosskey.router.planning.row_placement import RowPlacement
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.suggestions import suggest_column
from crosskey.router.planning.values import BYTES_TYPES, JSON_TYPES, checked_json
from crosskey.v1 import router_pb2, rows_pb2

FIRST_SHARD = 0
"""Where rows for a reference table are inserted first; from there they are copied to the other shards as stored."""

_MAY_BE_INEXACT = frozenset({float, list, dict})
"""Types of values that are or hold numbers which may have been rounded; of other types, none is."""

_encoder = msgspec.json.Encoder(decimal_format="number")


@dataclass(frozen=True, slots=True)
class RowForms:
    """How the rows of a write are given and answered.

    With `count_only`, only their number is answered; of a reference table, shards answer the rows all the same. With
    `as_text`, values are answered as PostgreSQL's own text. In `json_text_columns`, JSON is given as its text. No
    `columns` to answer are all columns.
    """

    count_only: bool = False
    as_text: bool = False
    json_text_columns: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """What one statement of a write does on one shard.

    Of an insert, `rows` are its rows and `positions` their places in the request, from 0. Of an update, `rows` is the
    one row of new values. A delete has neither.
    """

    shard: int
    statement: proto.Statement
    rows: Sequence[Row] = ()
    positions: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class WritePlan:
    """A write to one table, as statements for shards; those for one shard are in the order of the request."""

    table: TablePlan
    kind: Literal["insert", "update", "delete"]
    parts: tuple[Part, ...]
    predicates: tuple[Checked, ...] = ()
    """What selects the rows of an update or delete."""
    on_conflict: rows_pb2.OnConflict | None = None
    """What an insert does with rows that conflict with others. It then has one part a shard."""
    arbiters: tuple[Claim, ...] = ()
    """The keys on which they may conflict with rows of other shards."""
    forms: RowForms = field(default_factory=RowForms)
    """How its rows are given and answered."""
    expected: Expected | None = None
    """What must come of it."""

    def expecting(self, expected: Expected | None) -> WritePlan:
        """The write of which something is expected. Raises what conditions_of raises."""
        if expected is None:
            return self
        conditions = conditions_of(self.table.table, expected)
        for part in self.parts:
            del part.statement.expected[:]
            part.statement.expected.extend(conditions)
        return replace(self, expected=expected)

    @property
    def reference(self) -> bool:
        """Whether the table is a reference table.

        Its updates and deletes have a part for each shard; its inserts have parts for FIRST_SHARD only, and the rows
        that these answer must be inserted into all other shards.
        """
        return self.table.placement == "reference"

    def on(self, shards: Collection[int]) -> WritePlan:
        """The parts on some of the shards."""
        return replace(self, parts=tuple(part for part in self.parts if part.shard in shards))

    @property
    def shards(self) -> list[int]:
        """The shards of the parts, in order, each once."""
        return sorted({part.shard for part in self.parts})

    @property
    def changed_columns(self) -> frozenset[str] | None:
        """The columns that rows which are there already get new values in; None if those rows are deleted."""
        if self.kind == "delete":
            return None
        if self.kind == "insert":
            return frozenset(self.on_conflict.update.columns if self.on_conflict is not None else ())
        update = self.parts[0].statement.update
        return frozenset((*update.columns, *(computed.column for computed in update.computed)))


def plan_insert(
    view: SchemaView,
    request: router_pb2.InsertRequest,
    generated: GeneratedValues = NOTHING,
    anchor_shards: AnchorShards = NO_ANCHORS,
    drawn_by: str = "",
) -> WritePlan:
    """Places each row, with the values generated for it and its parent's shard, and mints the ids that it lacks.

    What draws the slots of minted shard keys is `drawn_by`, or the id of the request.

    Raises UnknownTable, InvalidRequest (no rows, no such OVERRIDING clause), UnknownColumn, NumberNotExact,
    ShardKeyMissing, InvalidValue, SlotMismatch, the error of the generated values, and what check_on_conflict raises.
    """
    table = view.table(request.table)
    rows = given_rows(request)
    if not rows:
        raise errors.InvalidRequest(f'an insert into "{request.table}" has no rows', table=request.table)
    forms = forms_of(table.table, request)
    check_rows(table.table, rows, forms)
    override(table.table, rows, request.overriding)
    if request.HasField("on_conflict"):
        check_on_conflict(view, table, request.on_conflict)
    generated.fill(rows)
    on_conflict = request.on_conflict if request.HasField("on_conflict") else None
    return plan_rows(view, table, rows, forms, anchor_shards, on_conflict, drawn_by or request.request_id)


def plan_rows(
    view: SchemaView,
    table: TablePlan,
    rows: Sequence[Row],
    forms: RowForms,
    anchor_shards: AnchorShards = NO_ANCHORS,
    on_conflict: rows_pb2.OnConflict | None = None,
    drawn_by: str = "",
) -> WritePlan:
    """The insert of rows that are checked and have what is generated. Raises as plan_insert."""
    shards = _place(view, table, rows, anchor_shards, drawn_by)
    if on_conflict is not None:
        keys = arbiters(view, table, on_conflict)
        _check_arbiters(table.table, keys, forms)
        parts = tuple(upsert_parts(table, rows, shards, on_conflict, forms))
        return WritePlan(table, "insert", parts, (), on_conflict, keys, forms)
    parts = tuple(
        _insert_part(table, shard, rows, places, forms) for shard, places in _groups(table.table, rows, shards)
    )
    return WritePlan(table, "insert", parts, forms=forms)


def upsert_parts(
    table: TablePlan,
    rows: Sequence[Row],
    shards: Sequence[int],
    on_conflict: rows_pb2.OnConflict,
    forms: RowForms,
) -> Iterable[Part]:
    """One part for each shard, with its rows in order: they may conflict with each other."""
    places_by_shard: dict[int, list[int]] = {}
    for place, shard in enumerate(shards):
        places_by_shard.setdefault(shard, []).append(place)
    for shard, places in places_by_shard.items():
        part = _insert_part(table, shard, rows, places, forms)
        insert = part.statement.insert
        if not insert.columns:
            _name_a_column(table.table, insert)
        insert.on_conflict.CopyFrom(on_conflict)
        insert.sometimes_absent[:] = [name for name in insert.columns if not all(name in row for row in part.rows)]
        yield part


def plan_update(
    view: SchemaView, request: router_pb2.UpdateRequest, resolved: Sequence[Checked] | None = None
) -> WritePlan:
    """One part for each shard that may hold rows to change.

    `resolved` are the request's predicates once those over relations are resolved. Raises UnknownTable, InvalidRequest
    (not exactly one of key and where, no unique key, nothing to set), UnknownColumn, and NumberNotExact.
    """
    table = view.table(request.table)
    predicates = _selection(table.table, request, resolved)
    values = given_set(request)
    if not values and not request.assignments:
        raise errors.InvalidRequest(f'an update of "{request.table}" sets no column', table=request.table)
    forms = forms_of(table.table, request)
    check_rows(table.table, [values], forms)
    return plan_change(view, table, predicates, values, forms, request.assignments)


def plan_change(
    view: SchemaView,
    table: TablePlan,
    predicates: tuple[Checked, ...],
    values: Row,
    forms: RowForms,
    assignments: Iterable[rows_pb2.Assignment] = (),
) -> WritePlan:
    """The update, by values that are checked, of the rows that meet predicates. Raises as plan_update."""
    columns = _in_table_order(table.table, values.keys())
    update = proto.UpdateRows(
        where=to_conditions(predicates),
        columns=columns,
        set_json=_encoder.encode(values),
        computed=[_computed(table.table, assignment) for assignment in assignments],
        json_text_columns=forms.json_text_columns,
    )
    statement = _statement(table, update=update, forms=forms)
    parts = tuple(Part(shard, statement, rows=(values,)) for shard in _shards_to_write(view, table, predicates))
    return WritePlan(table, "update", parts, predicates, forms=forms)


def plan_delete(
    view: SchemaView, request: router_pb2.DeleteRequest, resolved: Sequence[Checked] | None = None
) -> WritePlan:
    """One part for each shard that may hold rows to delete.

    `resolved` as for plan_update. Raises UnknownTable, InvalidRequest (not exactly one of key and where, no unique
    key), UnknownColumn and NumberNotExact.
    """
    table = view.table(request.table)
    return plan_removal(view, table, _selection(table.table, request, resolved))


def plan_removal(view: SchemaView, table: TablePlan, predicates: tuple[Checked, ...]) -> WritePlan:
    """The deletion of the rows that meet predicates."""
    statement = _statement(table, delete=proto.DeleteRows(where=to_conditions(predicates)))
    parts = tuple(Part(shard, statement) for shard in _shards_to_write(view, table, predicates))
    return WritePlan(table, "delete", parts, predicates)


def forms_of(table: Table, request: router_pb2.InsertRequest | router_pb2.UpdateRequest) -> RowForms:
    """How a request gives rows and wants them.

    Raises InvalidRequest (a column that is not of type json or jsonb, an unknown form) and UnknownColumn.
    """
    as_text = is_text_form(request.row_form)
    for name in request.json_text_columns:
        column = table.column(name)
        if column is None:
            raise unknown_column(table, name)
        if column.base_type not in JSON_TYPES:
            message = f'column "{name}" is not of type json or jsonb, so no row gives the text of its JSON'
            raise errors.InvalidRequest(message, table=str(table.name), columns=name)
    for name in request.columns:
        if table.column(name) is None:
            raise unknown_column(table, name)
    shown = tuple(dict.fromkeys(request.columns))
    return RowForms(request.count_only, as_text, tuple(request.json_text_columns), shown)


def _check_arbiters(table: Table, keys: Iterable[Claim], forms: RowForms) -> None:
    """Raises InvalidRequest if rows may conflict on a column that gives the text of its JSON."""
    for name in forms.json_text_columns:
        if any(key.computed is None and name in key.columns for key in keys):
            message = f'rows may conflict on column "{name}": give its JSON itself, not its text'
            raise errors.InvalidRequest(message, table=str(table.name), columns=name)


def check_rows(table: Table, rows: Sequence[Row], forms: RowForms) -> None:
    """Raises UnknownColumn, NumberNotExact, InvalidValue (bytes not in hex) and InvalidRequest (no text of JSON)."""
    for name in forms.json_text_columns:
        if not all(isinstance(row.get(name), str | None) for row in rows):
            message = f'column "{name}" takes the text of its JSON, as a string'
            raise errors.InvalidRequest(message, table=str(table.name), columns=name)
    columns = {column.name: column for column in table.columns}
    unknown = set().union(*rows) - columns.keys()
    if unknown:
        raise unknown_column(table, min(unknown))
    for row in rows:
        if not _MAY_BE_INEXACT.isdisjoint(map(type, row.values())):
            for name, value in row.items():
                row[name] = checked_json(table, columns[name], value)
    for column in table.columns:
        if column.base_type in BYTES_TYPES:
            for row in rows:
                checked_json(table, column, row.get(column.name))


def _computed(table: Table, assignment: rows_pb2.Assignment) -> proto.ComputedColumn:
    """Raises InvalidRequest (an unknown operator, a value for COPY), UnknownColumn, NumberNotExact and InvalidValue."""
    if assignment.op not in rows_pb2.Assignment.Op.values():
        raise errors.InvalidRequest(f"there is no assignment operator {assignment.op}", table=str(table.name))
    if assignment.op == rows_pb2.Assignment.COPY and has_value(assignment):
        message = f'the assignment to column "{assignment.column}" copies a column and takes no value'
        raise errors.InvalidRequest(message, table=str(table.name), columns=assignment.column)
    source = assignment.source or assignment.column
    columns = {column.name: column for column in table.columns}
    for name in (assignment.column, source):
        if name not in columns:
            raise unknown_column(table, name)
    value = given_value(str(table.name), assignment)
    return proto.ComputedColumn(
        column=assignment.column,
        source=source,
        op=assignment.op,
        value_json=_encoder.encode(checked_json(table, columns[source], value)),
    )


def unknown_column(table: Table, name: str) -> errors.UnknownColumn:
    """The error of a row with such a column, in PostgreSQL's words."""
    message = f'column "{name}" of relation "{table.name.name}" does not exist'
    hint = suggest_column(name, table)
    return errors.UnknownColumn(message, table=str(table.name), columns=name, sqlstate="42703", hint=hint)


def _place(
    view: SchemaView, table: TablePlan, rows: Sequence[Row], anchor_shards: AnchorShards, drawn_by: str
) -> list[int]:
    """The shard of each row, to which minted ids are added."""
    if table.placement == "reference":
        return [FIRST_SHARD] * len(rows)
    place = RowPlacement(table, view.shards, anchor_shards, drawn_by).place
    return [place(row, number) for number, row in enumerate(rows, start=1)]


def _groups(table: Table, rows: Sequence[Row], shards: Sequence[int]) -> Iterable[tuple[int, list[int]]]:
    """Shards and the places of rows that one statement inserts there: those that leave the same defaults to PostgreSQL.

    In other columns they need not agree: what is absent and has no default is NULL. Rows of one shard thus mostly stay
    together, as in PostgreSQL, where rows of one statement may reference each other in any order.
    """
    telling = _columns_that_divide(table, rows)
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, (shard, row) in enumerate(zip(shards, rows, strict=True)):
        groups.setdefault((shard, *map(row.__contains__, telling)), []).append(place)
    return ((group[0], places) for group, places in groups.items())


def _columns_that_divide(table: Table, rows: Sequence[Row]) -> list[str]:
    """The columns with a value of their own that some rows give and others leave to PostgreSQL."""
    given = set().union(*rows)
    candidates = [column.name for column in table.columns if column.name in given and _fills_itself(column)]
    return [name for name in candidates if not all(name in row for row in rows)]


def _fills_itself(column: Column) -> bool:
    return column.default is not None or column.identity != "" or column.generated


def _insert_part(table: TablePlan, shard: int, rows: Sequence[Row], places: Sequence[int], forms: RowForms) -> Part:
    chosen = [rows[place] for place in places]
    columns = _in_table_order(table.table, set().union(*chosen))
    insert = proto.InsertRows(
        columns=columns,
        rows_json=_encoder.encode(chosen),
        overriding_system_value=_overrides(table.table, columns),
        json_text_columns=[name for name in columns if name in forms.json_text_columns],
    )
    return Part(shard, _statement(table, insert=insert, forms=forms), chosen, places)


def _overrides(table: Table, columns: Collection[str]) -> bool:
    """Whether values are given that only PostgreSQL may draw: what is among the columns by now was drawn, or may be."""
    return any(column.identity == "ALWAYS" and column.name in columns for column in table.columns)


def _name_a_column(table: Table, insert: proto.InsertRows) -> None:
    """An INSERT names a column at least: of rows without any, the first that a row can give, with its default."""
    named = next((column.name for column in table.columns if not column.generated), table.columns[0].name)
    insert.columns[:] = [named]
    insert.overriding_system_value = _overrides(table, [named])


def _in_table_order(table: Table, names: Collection[str]) -> list[str]:
    return [column.name for column in table.columns if column.name in names]


def _selection(
    table: Table,
    request: router_pb2.UpdateRequest | router_pb2.DeleteRequest,
    resolved: Sequence[Checked] | None,
) -> tuple[Checked, ...]:
    """The rows to write: never all of them by oversight."""
    by_key = has_key(request)
    if by_key == bool(request.where):
        given = "both key and where" if by_key else "neither key nor where"
        raise errors.InvalidRequest(
            f'the request on "{request.table}" has {given}; it takes one of them', table=request.table
        )
    if by_key:
        return check_key(table, given_key(request))
    return check_predicates(table, request.where) if resolved is None else tuple(resolved)


def _shards_to_write(view: SchemaView, table: TablePlan, predicates: Sequence[Checked]) -> tuple[int, ...]:
    if table.placement == "reference":
        return view.all_shards
    return view.shards_for_where(table, predicates)


def _statement(
    table: TablePlan,
    *,
    insert: proto.InsertRows | None = None,
    update: proto.UpdateRows | None = None,
    delete: proto.DeleteRows | None = None,
    forms: RowForms | None = None,
) -> proto.Statement:
    return proto.Statement(
        table=table.table.name.qualified,
        lock_table=table.placement == "reference",
        insert=insert,
        update=update,
        delete=delete,
        # The rows of a reference table are copied and compared.
        count_only=forms is not None and forms.count_only and table.placement != "reference",
        as_text=forms is not None and forms.as_text,
        columns=() if forms is None else forms.columns,
    )
