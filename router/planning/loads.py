"""Placing rows to load: lines of COPY's text format, of which only the shard key is read.

Pure. It runs once a row, over very many rows, so it does no more than it must: what else may be wrong with a row,
PostgreSQL says.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from crosskey import errors
from crosskey.catalog.generated_keys import mints_shard_key
from crosskey.catalog.model import Table
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.slots import SLOTS, mint_uuid, quick_slot, shard_of_slot, slot_of_value
from crosskey.copy_text import field_of, join_lines, read_fields, split_lines, text_of
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.planning.anchors import NO_ANCHORS, AnchorShards, anchor_of, key_of
from crosskey.router.planning.claimed_values import ClaimedValue
from crosskey.router.planning.generated_values import Need, Row
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.suggestions import suggest_column
from crosskey.router.planning.writes import FIRST_SHARD, Part, WritePlan
from crosskey.v1 import router_pb2


@dataclass(frozen=True, slots=True)
class LoadPart:
    """Lines for one shard, and the place of each in the message, from 0."""

    shard: int
    statement: proto.Statement
    places: Sequence[int]


def check_load(view: SchemaView, request: router_pb2.LoadRequest) -> tuple[TablePlan, list[bytes]]:
    """The table and the lines. Raises UnknownTable, UnknownColumn and InvalidRequest."""
    table = view.table(request.table)
    names = {column.name for column in table.table.columns}
    for place, name in enumerate(request.columns):
        if name not in names:
            message = f'column "{name}" of relation "{table.table.name.name}" does not exist'
            hint = suggest_column(name, table.table)
            raise errors.UnknownColumn(message, table=request.table, columns=name, sqlstate="42703", hint=hint)
        if name in request.columns[:place]:
            message = f'column "{name}" specified more than once'
            raise errors.InvalidRequest(message, table=request.table, columns=name, sqlstate="42701")
    if not request.columns:
        raise errors.InvalidRequest(f'a load of "{request.table}" names no columns', table=request.table)
    try:
        return table, split_lines(request.lines)
    except ValueError as error:
        raise errors.InvalidRequest(str(error), table=request.table) from None


def need_of_load(view: SchemaView, table: TablePlan, columns: Collection[str], rows: int) -> Need | None:
    """What is to be generated for columns that the lines do not have; None if nothing."""
    missing = [column.name for column in view.columns_to_generate(table) if column.name not in columns]
    return Need(table, dict.fromkeys(missing, rows)) if missing else None


def plan_load(
    view: SchemaView,
    table: TablePlan,
    columns: Sequence[str],
    lines: Sequence[bytes],
    generated: Sequence[Row],
    anchor_shards: AnchorShards = NO_ANCHORS,
) -> list[LoadPart]:
    """One part for each shard with rows of a sharded table.

    `generated` has what was made for each row, if anything was; `anchor_shards` are those of anchors_of_lines. Raises
    ShardKeyMissing and InvalidValue, which name the row, from 1.
    """
    shards, made = _Placement(view, table, columns).place(lines, generated)
    if anchor_shards:
        parents = _parents(view, table, columns, lines, generated)
        shards = [
            shard if parent is None else anchor_shards.get(key_of(parent), shard)
            for parent, shard in zip(parents, shards, strict=True)
        ]
    names = [*columns, *(made[0] if made else ())]
    if made:
        lines = [_with_values(line, values) for line, values in zip(lines, made, strict=True)]
    places: dict[int, list[int]] = defaultdict(list)
    for place, shard in enumerate(shards):
        places[shard].append(place)
    return [
        LoadPart(shard, _statement(table.table, names, [lines[place] for place in chosen]), chosen)
        for shard, chosen in sorted(places.items())
    ]


def anchors_of_lines(
    view: SchemaView, table: TablePlan, columns: Sequence[str], lines: Sequence[bytes], generated: Sequence[Row]
) -> list[ClaimedValue]:
    """The parents that rows to load live with, where only claims find these."""
    if table.anchor is None:
        return []
    return [parent for parent in _parents(view, table, columns, lines, generated) if parent is not None]


def _parents(
    view: SchemaView, table: TablePlan, columns: Sequence[str], lines: Sequence[bytes], generated: Sequence[Row]
) -> list[ClaimedValue | None]:
    """The parent of each row; None where there can be none. Of equal values it is told once."""
    name = table.shard_key_column.name
    if name in columns:
        fields = read_fields(lines, columns.index(name))
    else:
        fields = [None if row.get(name) is None else str(row[name]).encode() for row in generated]
    told = {field: _parent(view, table, field) for field in dict.fromkeys(fields)}
    return [told[field] for field in fields]


def _parent(view: SchemaView, table: TablePlan, field: bytes | None) -> ClaimedValue | None:
    return None if field is None else anchor_of(view, table, field.decode(errors="replace"))


def plan_reference_load(table: TablePlan, columns: Sequence[str], lines: Sequence[bytes]) -> WritePlan:
    """The rows of a reference table as an insert: all shards answer what they stored, and must agree.

    Raises InvalidValue if a line has another number of values than there are columns, in PostgreSQL's words.
    """
    rows = [_verbatim_row(table.table, columns, line, number) for number, line in enumerate(lines, start=1)]
    insert = proto.InsertRows(
        columns=columns, rows_json=msgspec.json.encode(rows), overriding_system_value=True, verbatim=True
    )
    statement = proto.Statement(table=table.table.name.qualified, lock_table=True, insert=insert)
    return WritePlan(table, "insert", (Part(FIRST_SHARD, statement, rows, range(len(rows))),))


def _verbatim_row(table: Table, columns: Sequence[str], line: bytes, number: int) -> dict[str, str | None]:
    fields = line.split(b"\t")
    if len(fields) != len(columns):
        few = len(fields) < len(columns)
        message = (
            f'missing data for column "{columns[len(fields)]}"' if few else "extra data after last expected column"
        )
        raise errors.InvalidValue(message, table=str(table.name), row=number, sqlstate="22P04")
    try:
        return {name: text_of(field) for name, field in zip(columns, fields, strict=True)}
    except UnicodeDecodeError:
        message = 'invalid byte sequence for encoding "UTF8"'
        raise errors.InvalidValue(message, table=str(table.name), row=number, sqlstate="22021") from None


class _Placement:
    """Places the rows of one message."""

    def __init__(self, view: SchemaView, table: TablePlan, columns: Sequence[str]) -> None:
        self._shards = view.shards
        self._table = table
        self._key = table.shard_key_column
        self._columns = columns
        self._quick_slot = quick_slot(self._key.base_type, self._key.max_length)

    def place(self, lines: Sequence[bytes], generated: Sequence[Row]) -> tuple[list[int], list[Row]]:
        """The shard of each line, and the values that were made for it."""
        slots = self._slots_of(lines, generated)
        made = self._made(slots, generated)
        shards = self._shards
        return [shard_of_slot(slot, shards) for slot in slots], made

    def _slots_of(self, lines: Sequence[bytes], generated: Sequence[Row]) -> list[int]:
        name = self._key.name
        if name in self._columns:
            return self._slots_of_fields(read_fields(lines, self._columns.index(name)))
        if generated and name in generated[0]:
            return [self._slot_of_value(row[name], number) for number, row in enumerate(generated, start=1)]
        if not mints_shard_key(self._table):
            raise self._missing(1)
        return [secrets.randbelow(SLOTS) for _ in lines]

    def _made(self, slots: Sequence[int], generated: Sequence[Row]) -> list[Row]:
        """What is added to each line: what was generated, and ids that are minted for its slot."""
        minted = [
            name
            for name in self._table.locators
            if name not in self._columns and not (generated and name in generated[0])
        ]
        if not minted:
            return [*generated]
        rows = generated or [{}] * len(slots)
        return [
            {**row, **{name: str(mint_uuid(slot)) for name in minted}} for row, slot in zip(rows, slots, strict=True)
        ]

    def _slots_of_fields(self, fields: Sequence[bytes | None]) -> list[int]:
        quick_slot = self._quick_slot
        slots = [None if field is None else quick_slot(field) for field in fields]
        return [
            self._other_slot(fields[number - 1], number) if slot is None else slot
            for number, slot in enumerate(slots, start=1)
        ]

    def _other_slot(self, field: bytes | None, number: int) -> int:
        if field is None:
            raise self._missing(number)
        # What is no UTF-8, PostgreSQL refuses wherever it goes.
        return self._slot_of_value(field.decode(errors="replace"), number)

    def _slot_of_value(self, value: Any, number: int) -> int:
        try:
            return slot_of_value(self._key.base_type, value, self._key.max_length)
        except ValueError as error:
            raise errors.InvalidValue(
                str(error), table=str(self._table.table.name), columns=self._key.name, row=number
            ) from None

    def _missing(self, number: int) -> errors.ShardKeyMissing:
        table = str(self._table.table.name)
        return errors.ShardKeyMissing(
            f'row {number} for table "{table}" has no value for "{self._key.name}", which says where the row lives',
            table=table,
            columns=self._key.name,
            row=number,
        )


def _with_values(line: bytes, values: Mapping[str, Any]) -> bytes:
    return b"\t".join([line, *map(field_of, values.values())])


def _statement(table: Table, columns: Sequence[str], lines: list[bytes]) -> proto.Statement:
    return proto.Statement(table=table.name.qualified, load=proto.LoadRows(columns=columns, lines=join_lines(lines)))
