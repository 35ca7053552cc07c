"""Which unique keys are made global by claims, and which cannot be."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from crosskey.catalog.claim_faults import claim_fault
from crosskey.catalog.key_values import value_columns, verbatim_columns
from crosskey.catalog.model import Column, Table, UniqueKey
from crosskey.catalog.naming import name_claims
from crosskey.catalog.plan import Claim, TablePlan
from crosskey.catalog.refusals import Refusal, refuse_table
from crosskey.catalog.slot_types import has_slot


def claimed_keys(plan: TablePlan) -> Iterator[UniqueKey]:
    """The unique keys that hold no colocating column as it is: equal rows would not meet on one shard."""
    if plan.placement == "sharded":
        yield from (key for key in plan.table.unique_keys if set(key.columns).isdisjoint(plan.colocating))


def claimed_key(plan: TablePlan, columns: Iterable[str]) -> UniqueKey | None:
    """The claimed key of these columns, in whatever order, that a foreign key may reference."""
    wanted = set(columns)
    return next((key for key in claimed_keys(plan) if _can_be_referenced(key) and set(key.columns) == wanted), None)


def _can_be_referenced(key: UniqueKey) -> bool:
    return not key.deferrable and key.computed is None


def refuse_claims(plan: TablePlan) -> Iterator[Refusal]:
    """Why keys cannot be claimed."""
    for key in claimed_keys(plan):
        fault = claim_fault(plan.table, key)
        if fault is not None:
            kind = "PRIMARY KEY" if key.primary else "UNIQUE constraint" if key.constraint else "unique index"
            colocating = " or ".join(f'"{column}"' for column in plan.colocating)
            why = f'{kind} "{key.name}" holds no column that places a row ({colocating}), and {fault.why}'
            shard_key = f'add "{plan.shard_key}" to it, so that it compares rows of one "{plan.shard_key}" only'
            advice = (fault.advice, shard_key, "drop it", "make the table @reference")
            yield refuse_table(plan.table, f"{why}; {'; or '.join(advice)}", constraint=key.name)


def plan_claims(plans: Iterable[TablePlan]) -> tuple[Claim, ...]:
    """The claims of all tables, which refuse_claims must have let through, by id."""
    keys = sorted(((plan.table, key) for plan in plans for key in claimed_keys(plan)), key=lambda one: claim_id(*one))
    names = name_claims((table.name, key.name) for table, key in keys)
    return tuple(
        Claim(
            id=claim_id(table, key),
            table=table.name,
            constraint=key.name,
            columns=tuple(column.name for column in _value_columns(table, key)),
            placing=placing_columns(table, key),
            claims=names[table.name, key.name],
            nulls_not_distinct=key.nulls_not_distinct,
            initially_deferred=key.initially_deferred,
            verbatim=verbatim_columns(_value_columns(table, key)),
            computed=key.computed,
        )
        for table, key in keys
    )


def claim_id(table: Table, key: UniqueKey) -> str:
    """The Claim.id of a claimed key."""
    # The names of unique keys are those of their indexes, which a schema has only once.
    return f"{table.name.schema}.{key.name}"


def placing_columns(table: Table, key: UniqueKey) -> tuple[str, ...]:
    """The columns of a key that tell the slot of its value."""
    return tuple(column.name for column in _value_columns(table, key) if has_slot(column))


def _value_columns(table: Table, key: UniqueKey) -> list[Column]:
    return value_columns(table, key.columns, key.computed)
