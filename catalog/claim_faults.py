"""Why a unique key cannot be made global by claims, and what could be unique in its place."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crosskey.catalog.key_values import value_columns
from crosskey.catalog.model import Column, Table, UniqueKey
from crosskey.catalog.slot_types import has_slot, name_of_type, why_unfit
from crosskey.catalog.slots import FAMILIES


class ClaimFault(msgspec.Struct, frozen=True):
    """Why a key cannot be claimed, as a clause about it, and what to do instead, as an advice."""

    why: str
    advice: str


def claim_fault(table: Table, key: UniqueKey) -> ClaimFault | None:
    """What keeps a key that holds no locator from being claimed; None if nothing does."""
    if key.without_overlaps:
        return ClaimFault("is WITHOUT OVERLAPS, whereas claims compare for equality", "leave that out of it")
    if key.computed is not None and key.computed.of_whole_rows:
        return ClaimFault("reads whole rows, whereas claims are computed from columns", "let it name the columns")
    if not (key.plain or key.by_equals or (key.computed and key.computed.alike)):
        why = "compares values in another way than their columns do, by an operator class or a collation of its own"
        return ClaimFault(why, "leave that out of it")
    columns = value_columns(table, key.columns, key.computed)
    if not any(map(has_slot, columns)):
        told = "integers, uuid, text and varchar"
        why = f"its values tell no slot, as those of {told} do: {' and '.join(map(_why_no_slot, columns))}"
        return ClaimFault(why, _advice_on(columns))
    if key.by_equals:
        others = [column for column in columns if not has_slot(column)]
        named = ", ".join(f'"{column.name}" ({column.type})' for column in others)
        return ClaimFault(
            f"claims do not compare values of an extension's type as it does: {named}", _advice_on(others)
        )
    return None


def _why_no_slot(column: Column) -> str:
    if column.base_type in FAMILIES:
        return f'"{column.name}" has a collation that calls texts equal that differ'
    known = why_unfit(column)
    return f'"{column.name}" is {column.type}' + (f", where {known}" if known else "")


def _advice_on(columns: Sequence[Column]) -> str:
    """What to do about columns that tell no slot."""
    citext = next((f'"{column.name}"' for column in columns if name_of_type(column) == "citext"), None)
    if citext is None:
        named = " and ".join(f'"{column.name}"' for column in columns)
        return f"make it a unique index over an expression of such a type that {named} give"
    folded = f"lower({citext}::text)"
    return f"make it a unique index over {folded}, or make {citext} a text with CHECK ({citext} = lower({citext}))"
