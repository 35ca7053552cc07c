"""Which columns' defaults are worked out for the whole cluster, before rows are placed."""

from __future__ import annotations

from crosskey.catalog.model import Column
from crosskey.catalog.plan import TablePlan


def mints_shard_key(plan: TablePlan) -> bool:
    """Whether an absent shard key is a uuid that the router mints, in the place of its default."""
    shard_key = plan.shard_key_column
    is_key = plan.table.primary_key == (shard_key.name,)
    return is_key and shard_key.base_type == "uuid" and shard_key.default is not None and plan.anchor is None


def columns_to_generate(plan: TablePlan) -> tuple[Column, ...]:
    """The columns of a sharded table whose absent values come from one shard for the whole cluster, none of another's.

    They are those that draw from a sequence, which each shard would count by itself, and a shard key with a default,
    which says where the row goes. Ids that the router mints are not among them.
    """
    if plan.shard_key is None:
        return ()
    minted = {plan.slot_column, plan.shard_key if mints_shard_key(plan) else None}
    return tuple(
        column for column in plan.table.columns if column.name not in minted and _is_generated(column, plan.shard_key)
    )


def _is_generated(column: Column, shard_key: str) -> bool:
    return column.draws or (column.name == shard_key and column.default is not None)
