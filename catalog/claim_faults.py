"""Why a unique key cannot be made global by claims, and what could be unique in its place."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from crosskey.catalog.model import Column, Table, UniqueKey
from crosskey.catalog.slot_types import has_slot, name_of_type, why_unfit
from crosskey.catalog.slots import FAMILIES

_STORED = "GENERATED ALWAYS AS ({}) STORED"


class ClaimFault(msgspec.Struct, frozen=True):
    """Why a key cannot be claimed, as a clause about it, and what to do instead, as an advice."""

    why: str
    advice: str


def claim_fault(table: Table, key: UniqueKey) -> ClaimFault | None:
    """What keeps a key that holds no locator from being claimed; None if nothing does."""
    columns = [column for column in table.columns if column.name in key.columns]
    if key.without_overlaps:
        return ClaimFault("is WITHOUT OVERLAPS, whereas claims compare for equality", "leave that out of it")
    if key.partial:
        what = _STORED.format("CASE WHEN .. THEN .. END")
        advice = f"leave its WHERE out, or make a column {what} UNIQUE instead, which is NULL in rows left out"
        return ClaimFault("is partial, whereas a claim stands for every row that has the value", advice)
    if key.expressions:
        advice = f"make a column {_STORED.format('the expression')} UNIQUE instead"
        return ClaimFault("is over an expression, whereas what is claimed are values of columns", advice)
    if not key.plain and not key.by_equals:
        why = "compares values in another way than their columns do, by an operator class or a collation of its own"
        return ClaimFault(why, "leave that out of it")
    if not any(map(has_slot, columns)):
        told = "integers, uuid, text and varchar"
        why = f"its values tell no slot, as those of {told} do: {' and '.join(map(_why_no_slot, columns))}"
        return ClaimFault(why, _advice_on(columns))
    if not key.plain:
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
        return f"let it hold a column of such a type instead, {_STORED.format('..')} from {named}"
    copy = f"a text column {_STORED.format(f'lower({citext}::text)')}"
    return f"make {citext} a text with CHECK ({citext} = lower({citext})), or let it hold {copy} instead"
