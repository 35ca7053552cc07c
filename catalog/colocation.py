"""Tables whose rows live with the row that a foreign key names: `@shard_with`."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from crosskey.catalog.anchoring import is_with
from crosskey.catalog.model import ForeignKey, TableName
from crosskey.catalog.plan import KeyPlan, TablePlan
from crosskey.catalog.refusals import Refusal, refuse_table


def refuse_uncolocated(
    tables: Iterable[TablePlan], keys: Iterable[KeyPlan], refused: Collection[ForeignKey]
) -> Iterator[Refusal]:
    """Tables with `@shard_with` of whose column no local key leads to a sharded parent. Keys in `refused` say why."""
    placed = {plan.table.name: plan for plan in tables}
    together = colocatable_columns(placed.values(), keys)
    excused = {(key.table, column) for key in refused for column in key.columns}
    for plan in placed.values():
        place = (plan.table.name, plan.shard_key or "")
        if is_with(plan.table) and place not in together | excused:
            yield refuse_table(plan.table, _why(plan), column=plan.shard_key or "")


def colocatable_columns(tables: Iterable[TablePlan], keys: Iterable[KeyPlan]) -> frozenset[tuple[TableName, str]]:
    """Which tables could say `@shard_with` of which column: a local key leads from it to a sharded parent."""
    placed = {plan.table.name: plan for plan in tables}
    return frozenset(_colocating_column(key.foreign_key, placed) for key in keys if key.kind == "local")


def _colocating_column(key: ForeignKey, placed: dict[TableName, TablePlan]) -> tuple[TableName, str]:
    """The child, and its column that names what places the parent; an empty name if the key has none."""
    child, parent = placed[key.table], placed[key.parent]
    pairs = zip(key.columns, key.parent_columns, strict=True)
    leads = (
        column
        for column, named in pairs
        if column == child.shard_key
        and (named in parent.locators or child.origin(column) == parent.origin_or_self(named))
    )
    return key.table, next(leads, "")


def _why(plan: TablePlan) -> str:
    return (
        f'@shard_with {plan.shard_key}: no foreign key leads from "{plan.shard_key}" to what places or finds the row'
        " that it names; let it alone reference a PRIMARY KEY or UNIQUE column of another sharded table, not in a"
        " circle"
    )
