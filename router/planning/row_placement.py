"""Where a row to insert belongs, and the ids that are minted for it.

Pure. It runs once a row, so it does no more than it must.
"""

from __future__ import annotations

import secrets
from typing import Any

from crosskey import errors
from crosskey.catalog.generated_keys import mints_shard_key
from crosskey.catalog.model import Column
from crosskey.catalog.plan import TablePlan
from crosskey.catalog.slots import SLOTS, canonical_text, mint_uuid, shard_of_slot, slot_of_text, slot_of_value
from crosskey.router.planning.anchors import NO_ANCHORS, AnchorShards

_REMEMBERED_TYPES = frozenset({str, int})
"""Of these types, values that Python calls equal are one value; it also calls 1, 1.0 and True equal."""

_SQLSTATES = {
    "invalid input syntax": "22P02",
    'value "': "22003",
    "value too long": "22001",
    "unsupported Unicode": "22P05",
}
"""PostgreSQL's codes for its messages that crosskey.catalog.slots gives, by how these begin."""


class RowPlacement:
    """Places the rows of one request for one sharded table."""

    def __init__(
        self, plan: TablePlan, shards: int, anchor_shards: AnchorShards = NO_ANCHORS, drawn_by: str = ""
    ) -> None:
        """`shards` is how many shards there are; `anchor_shards` are of the parents that rows live with.

        If `drawn_by` says something, the same slots are drawn whenever it says the same; else any.
        Raises ValueError if the table is not sharded.
        """
        if plan.shard_key is None:
            raise ValueError(f"{plan.table.name} is not sharded")
        columns = {column.name: column for column in plan.table.columns}
        self._table = str(plan.table.name)
        self._shards = shards
        self._shard_key = columns[plan.shard_key]
        self._slot_column = None if plan.slot_column is None else columns[plan.slot_column]
        self._mints_shard_key = mints_shard_key(plan)
        self._slots: dict[str | int, int] = {}
        self._anchor = plan.anchor
        self._anchor_shards = anchor_shards
        self._drawn_by = drawn_by

    def place(self, row: dict[str, Any], number: int) -> int:
        """The shard of a row, to which the ids that it lacks are added.

        `number` is the row's place in the request, from 1. Raises ShardKeyMissing, InvalidValue (a value that cannot
        be a shard key or an id) and SlotMismatch (an id that carries another slot than the row's). A row whose parent
        nobody is seen to have goes to the shard where that would be claimed.
        """
        value = row.get(self._shard_key.name)
        slot = self._mint_shard_key(row, number) if value is None else self._shard_key_slot(value)
        if self._slot_column is not None:
            self._carry_slot(row, self._slot_column, slot)
        shard = shard_of_slot(slot, self._shards)
        if self._anchor is None or not self._anchor_shards:
            return shard
        text = canonical_text(self._shard_key.base_type, value, self._shard_key.max_length)
        return self._anchor_shards.get((self._anchor.claim, text), shard)

    def _shard_key_slot(self, value: Any) -> int:
        if type(value) not in _REMEMBERED_TYPES:
            return self._slot(self._shard_key, value)
        slot = self._slots.get(value)
        if slot is None:
            slot = self._slots[value] = self._slot(self._shard_key, value)
        return slot

    def _mint_shard_key(self, row: dict[str, Any], number: int) -> int:
        """Stands in for the default of a uuid primary key: a new id that carries any slot."""
        name = self._shard_key.name
        if not self._mints_shard_key or name in row:
            raise errors.ShardKeyMissing(
                f'row {number} for table "{self._table}" has no value for "{name}", which says where the row lives',
                table=self._table,
                columns=name,
            )
        slot = slot_of_text(f"{self._drawn_by} {number}") if self._drawn_by else secrets.randbelow(SLOTS)
        row[name] = str(mint_uuid(slot))
        return slot

    def _carry_slot(self, row: dict[str, Any], column: Column, slot: int) -> None:
        """Mints the id that carries the row's slot, or checks the given one."""
        if column.name not in row:
            row[column.name] = str(mint_uuid(slot))
            return
        given = row[column.name]
        # PostgreSQL itself refuses a NULL in a primary key.
        if given is not None and (carried := self._slot(column, given)) != slot:
            raise self._mismatch(column.name, given, carried, slot)

    def _slot(self, column: Column, value: Any) -> int:
        try:
            return slot_of_value(column.base_type, value, column.max_length)
        except ValueError as error:
            message = str(error)
            raise errors.InvalidValue(
                message, table=self._table, columns=column.name, sqlstate=_sqlstate(message)
            ) from None

    def _mismatch(self, column: str, given: Any, carried: int, wanted: int) -> errors.SlotMismatch:
        return errors.SlotMismatch(
            f'"{column}" {given} of table "{self._table}" carries slot {carried},'
            f' but its row\'s "{self._shard_key.name}" is of slot {wanted}',
            table=self._table,
            columns=column,
            key=str(given),
            hint=f'Leave "{column}" out and it is made for you. Or make a uuid whose last two bytes, XOR the first two'
            f" of the SHA-256 of the fourteen before them, are {wanted} modulo {SLOTS}.",
        )


def _sqlstate(message: str) -> str | None:
    return next((code for beginning, code in _SQLSTATES.items() if message.startswith(beginning)), None)
