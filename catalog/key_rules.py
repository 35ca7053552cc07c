"""Which foreign keys are local, which cross shards, and which cannot be kept at all."""

from __future__ import annotations

from collections.abc import Iterator

from crosskey.catalog.claim_rules import claimed_key, placing_columns
from crosskey.catalog.costs import cost_of_crossing, cost_of_local
from crosskey.catalog.eventual import is_eventual, refuse_eventual
from crosskey.catalog.model import Column, ForeignKey, TableName
from crosskey.catalog.plan import KeyPlan, TablePlan
from crosskey.catalog.refusals import Refusal, refuse_key
from crosskey.catalog.slots import FAMILIES

Pair = tuple[str, str]
"""A column of the child and the column of the parent that it names."""


def referenced_key_id(key: ForeignKey) -> str:
    """The ReferencedKey.id of what a cross-shard key references."""
    return f"{key.parent.qualified}({','.join(key.parent_columns)})"


def parent_locator(key: ForeignKey, parent: TablePlan) -> str | None:
    """The first of the referenced columns that tells the parent's slot; None if the parent is found by a claim."""
    return next((column for column in key.parent_columns if column in parent.locators), None)


def plan_key(key: ForeignKey, child: TablePlan, parent: TablePlan) -> KeyPlan | tuple[Refusal, ...]:
    """How the key is enforced, or every reason why it cannot be."""
    refusals = (*_refuse_form(key), *_refuse_draws(key, child), *_refuse_moves(key, child, parent))
    refusals += tuple(refuse_eventual(key, child, parent))
    # Whoever cleans up later needs the shadow, whether or not the rows are on one shard.
    local = None if is_eventual(key) and not refusals else _why_local(key, child, parent)
    if local is None:
        refusals += tuple(_refuse_crossing(key, child, parent))
    if refusals:
        return refusals
    if local is not None:
        return KeyPlan(key, "local", local, cost=cost_of_local(key, child, parent))
    return KeyPlan(
        key,
        "cross-shard",
        _why_crossing(key, child, parent),
        _advice(key, child, parent),
        referenced_key_id(key),
        cost_of_crossing(key, child),
    )


def _why_local(key: ForeignKey, child: TablePlan, parent: TablePlan) -> str | None:
    if parent.placement == "reference":
        return f"{key.parent} is a reference table: every shard has all of it"
    for column, parent_column in _pairs(key):
        both_locate = column in child.locators and parent_column in parent.locators
        if both_locate and same_text(child.table.column(column), parent.table.column(parent_column)):
            both = f"{key.table}.{column} and {key.parent}.{parent_column}"
            return f"{both} both tell their row's slot, so the rows are on one shard"
        leads_both = child.origin(column) is not None and child.origin(column) == parent.origin_or_self(parent_column)
        if leads_both and same_text(child.table.column(column), parent.table.column(parent_column)):
            return f"rows of {key.table} live with the row of {_origin(child)} that {column} names"
    return None


def _origin(child: TablePlan) -> TableName:
    assert child.anchor is not None, f"{child.table.name} is not anchored"
    return child.anchor.root_table


def _why_crossing(key: ForeignKey, child: TablePlan, parent: TablePlan) -> str:
    if _why_local(key, child, parent) is not None:
        return f"rows of {key.table} and {key.parent} share a shard, but are cleaned up later: @enforce eventual"
    locator = parent_locator(key, parent)
    if locator is None:
        named = " and ".join(key.parent_columns)
        return f"rows of {key.parent} are placed by {parent.shard_key}, and found by {named} through the claim on it"
    named_by = next(pair[0] for pair in _pairs(key) if pair[1] == locator)
    placed = f"rows of {key.parent} are placed by {parent.shard_key}"
    if child.placement == "reference":
        return f"{placed}, and {key.table} is a reference table: every shard has all of it"
    if key.table != key.parent:
        placed = f"{placed}, rows of {key.table} by {child.shard_key}"
    return f"{placed}, and {named_by} is not what places them"


def _advice(key: ForeignKey, child: TablePlan, parent: TablePlan) -> str:
    """What would make a crossing key local."""
    if _why_local(key, child, parent) is not None:
        return "leave out @enforce eventual"
    reference = f"make {key.parent} @reference if it is small and seldom written"
    if child.placement == "reference":
        return reference
    locator = parent_locator(key, parent)
    if locator is None:
        alternatives = [
            *(
                [f"let rows of {key.table} live with it (@shard_with {key.columns[0]})"]
                if _can_be_anchored(key)
                else []
            ),
            *([f"reference what places the row ({' or '.join(parent.locators)})"] if parent.locators else []),
            reference,
        ]
        return ", or ".join(alternatives)
    if key.table != key.parent:
        column = next(pair[0] for pair in _pairs(key) if pair[1] == locator)
        return f"shard {key.table} by {column}, or {reference}"
    if locator != parent.shard_key:
        return f"add {parent.shard_key} to both sides of the key if the two rows always share it, or {reference}"
    return reference


def _can_be_anchored(key: ForeignKey) -> bool:
    return len(key.columns) == 1 and key.table != key.parent


def _refuse_form(key: ForeignKey) -> Iterator[Refusal]:
    if key.match == "PARTIAL":
        yield refuse_key(key, "MATCH PARTIAL is not supported")
    if not key.validated:
        yield refuse_key(key, "NOT VALID and NOT ENFORCED keys promise nothing; leave that clause out")


def _refuse_draws(key: ForeignKey, child: TablePlan) -> Iterator[Refusal]:
    """Actions that PostgreSQL carries out with a number of the shard's own: only routers draw for the whole cluster."""
    for name in key.columns:
        column = child.table.column(name)
        if column is None or not column.draws:
            continue
        actions = [
            *(["ON DELETE SET DEFAULT"] if key.on_delete == "SET DEFAULT" and _delete_changes(key, name) else []),
            *(["ON UPDATE SET DEFAULT"] if key.on_update == "SET DEFAULT" else []),
        ]
        if actions:
            why = (
                f'{" and ".join(actions)} would draw "{name}" from a sequence inside a shard, where it does not count'
                " through the whole cluster"
            )
            yield refuse_key(key, f"{why}; use another action, or a default that is not drawn", column=name)


def _refuse_moves(key: ForeignKey, child: TablePlan, parent: TablePlan) -> Iterator[Refusal]:
    """Actions that would move the child's row to another shard, where its id would carry the wrong slot.

    ON UPDATE CASCADE from what places the parent is let through: it is the usual clause, and seldom carried out.
    """
    if child.slot_column is None:
        return
    for column, parent_column in _pairs(key):
        if column not in child.locators:
            continue
        if _delete_changes(key, column):
            yield _refuse_move(key, child, f"ON DELETE {key.on_delete}", column)
        follows = key.on_update == "CASCADE" and parent_column not in parent.locators
        if follows or key.on_update in ("SET NULL", "SET DEFAULT"):
            yield _refuse_move(key, child, f"ON UPDATE {key.on_update}", column)


def _delete_changes(key: ForeignKey, column: str) -> bool:
    return key.on_delete in ("SET NULL", "SET DEFAULT") and column in (key.on_delete_columns or key.columns)


def _refuse_move(key: ForeignKey, child: TablePlan, action: str, column: str) -> Refusal:
    why = (
        f'{action} would change "{column}" and so the shard of the row, but "{child.slot_column}" carries the slot that'
        " the row has now"
    )
    return refuse_key(key, f"{why}; use another action, or say @claim", column=column)


def _refuse_crossing(key: ForeignKey, child: TablePlan, parent: TablePlan) -> Iterator[Refusal]:
    if key.period:
        yield refuse_key(key, "a key with PERIOD cannot cross shards")
        return
    if not key.by_default:
        yield refuse_key(key, _why_incomparable(key))
        return
    if not parent.locators and not set(key.parent_columns).isdisjoint(parent.colocating):
        yield refuse_key(key, _why_unfound(key, child, parent))
        return
    placing = _placing(key, parent)
    for column, parent_column in _pairs(key):
        if parent_column in placing and not same_text(child.table.column(column), parent.table.column(parent_column)):
            named = f"{key.parent}.{parent_column}"
            why = f'"{column}" and {named} are of types whose equal values may hash to different slots'
            yield refuse_key(key, f"{why}; give both the same type", column=column)


def _why_incomparable(key: ForeignKey) -> str:
    named = " and ".join(f'"{column}"' for column in key.parent_columns)
    return (
        f"the unique index of {key.parent} on {named} compares by an operator class that is not the default one, and"
        " what stands for its rows on other shards does not; leave the operator class out"
    )


def _why_unfound(key: ForeignKey, child: TablePlan, parent: TablePlan) -> str:
    colocating = parent.colocating[0]
    return (
        f"equal values of {key.parent}.{colocating} are on one shard, but they do not tell which, so the row that a row"
        f' of {child.table.name} names cannot be found; reference a unique key of {key.parent} without "{colocating}",'
        f" or let rows of {child.table.name} live with it by @shard_with"
    )


def _placing(key: ForeignKey, parent: TablePlan) -> tuple[str, ...]:
    """The referenced columns that tell the shard with the pins: the parent's locator, or what places the claim."""
    locator = parent_locator(key, parent)
    if locator is not None:
        return (locator,)
    unique = claimed_key(parent, key.parent_columns)
    assert unique is not None, f"PostgreSQL lets {key.name} reference a unique key only"
    return placing_columns(parent.table, unique)


def same_text(child: Column | None, parent: Column | None) -> bool:
    """Whether equal values of the two columns always have the same canonical text."""
    if child is None or parent is None or not child.deterministic_collation:
        return False
    family = FAMILIES.get(child.base_type)
    return family is not None and family == FAMILIES.get(parent.base_type)


def _pairs(key: ForeignKey) -> list[Pair]:
    return list(zip(key.columns, key.parent_columns, strict=True))
