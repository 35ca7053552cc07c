"""Which parents a write references over shards, and which of them this router has not seen shadowed yet.

Hints only: a parent that is left out here (its key comes from a default, or is of a type whose equal values have
several texts) is found by the shard's node when the statement runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crosskey.catalog.model import Column, Table
from crosskey.catalog.plan import KeyPlan, ReferencedKey
from crosskey.catalog.slots import FAMILIES, canonical_text
from crosskey.router.planning.generated_values import Row
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.shadow_hints import ParentKey, ShadowHints
from crosskey.router.planning.writes import FIRST_SHARD, WritePlan

_SPELLED_TYPES = frozenset({str, int})
"""Types of JSON values whose text is a key's; no key of a row that has a NULL in it references anything."""


@dataclass(frozen=True, slots=True)
class References:
    """Parents that rows on one shard reference by one cross-shard key, each once, as the request spells them."""

    key: KeyPlan
    shard: int
    parents: Sequence[ParentKey]


@dataclass(frozen=True, slots=True)
class UnknownParents:
    """Parents on `parent_shard` that are not known to have shadows on `child_shard`, each once, in canonical text."""

    referenced_key: ReferencedKey
    parent_shard: int
    child_shard: int
    parents: Sequence[ParentKey]


def references(view: SchemaView, plan: WritePlan) -> list[References]:
    """What an insert references, or an update that sets all columns of a key; nothing for a delete."""
    rows_by_shard = _rows_by_shard(view, plan)
    return [
        References(key, shard, parents)
        for key in view.plan.keys
        if key.referenced_key is not None and key.foreign_key.table == plan.table.table.name
        for shard, rows in rows_by_shard.items()
        if (parents := _parents_as_sent(key.foreign_key.columns, rows))
    ]


def unknown_parents(view: SchemaView, hints: ShadowHints, plans: Iterable[WritePlan]) -> list[UnknownParents]:
    """The parents to pin before the plans run, by referenced key, parent's shard and child's shard.

    Not those of rows that may conflict with others: they may not be inserted at all.
    """
    return _unknown_parents(view, hints, (plan for plan in plans if plan.on_conflict is None))


def _unknown_parents(
    view: SchemaView, hints: ShadowHints, plans: Iterable[WritePlan], by: Collection[str] | None = None
) -> list[UnknownParents]:
    """The same of all rows; by the foreign keys called so, if any are named."""
    found: dict[tuple[str, int, int], dict[ParentKey, None]] = {}
    for plan in plans:
        for one in references(view, plan):
            if by is not None and one.key.foreign_key.name not in by:
                continue
            for parent_shard, parent in _unknown(view, hints, plan.table.table, one):
                found.setdefault((one.key.referenced_key or "", parent_shard, one.shard), {})[parent] = None
    return [
        UnknownParents(view.plan.referenced_key(identifier), parent_shard, child_shard, list(parents))
        for (identifier, parent_shard, child_shard), parents in found.items()
    ]


def copied_parents(view: SchemaView, hints: ShadowHints, plan: WritePlan) -> list[UnknownParents]:
    """The parents to pin before the plan runs so that the values which its rows copy are there; by the same groups."""
    copying = view.keys_with_copies(plan.table.table.name)
    return [] if not copying else _unknown_parents(view, hints, [plan], copying)


def remember_parents(view: SchemaView, hints: ShadowHints, plans: Iterable[WritePlan]) -> None:
    """Remembers the parents of plans that were committed: by PostgreSQL's foreign keys, each has a shadow now.

    Of rows that may have conflicted with others nobody knows.
    """
    for plan in (plan for plan in plans if plan.on_conflict is None):
        for one in references(view, plan):
            hints.remember(one.key.referenced_key or "", one.shard, one.parents)


def _rows_by_shard(view: SchemaView, plan: WritePlan) -> Mapping[int, Sequence[Row]]:
    rows: dict[int, list[Row]] = {}
    for part in plan.parts:
        rows.setdefault(part.shard, []).extend(part.rows)
    if plan.reference:
        return dict.fromkeys(view.all_shards, rows[FIRST_SHARD])
    return rows


def _parents_as_sent(columns: Sequence[str], rows: Sequence[Row]) -> list[ParentKey]:
    parents: dict[ParentKey, None] = {}
    for row in rows:
        values = [row.get(column) for column in columns]
        if _SPELLED_TYPES.issuperset(map(type, values)):
            parents[tuple(map(str, values))] = None
    return list(parents)


def _unknown(view: SchemaView, hints: ShadowHints, child: Table, one: References) -> Iterable[tuple[int, ParentKey]]:
    """The unknown parents with their shards. Only these are made canonical: most requests have none."""
    identifier = one.key.referenced_key or ""
    unknown = hints.unknown(identifier, one.shard, one.parents)
    if not unknown:
        return []
    referenced = view.plan.referenced_key(identifier)
    parent_columns = _columns(view.table(referenced.parent.qualified).table, referenced.columns)
    canonical = _canonical_parents(_columns(child, one.key.foreign_key.columns), parent_columns, unknown)
    return [(_pinning_shard(view, referenced, parent_columns, parent), parent) for parent in canonical]


def _pinning_shard(
    view: SchemaView, referenced: ReferencedKey, columns: Sequence[Column], parent: Sequence[str]
) -> int:
    """The shard where a parent is to be pinned: its own, or that of the claim on its key."""
    texts = {column.name: (column.base_type, text, None) for column, text in zip(columns, parent, strict=True)}
    # All columns of a canonical key have slots, so all of them place the claim.
    placing = [referenced.locator] if referenced.claim is None else referenced.claim.columns
    return view.shard_of_values([texts[name or ""] for name in placing])


def _canonical_parents(
    child_columns: Sequence[Column], parent_columns: Sequence[Column], parents: Iterable[ParentKey]
) -> list[ParentKey]:
    """The keys as the child's columns would store them, but for those that no parent's columns could hold."""
    pairs = zip(child_columns, parent_columns, strict=True)
    if any(FAMILIES.get(child.base_type) != FAMILIES.get(parent.base_type) for child, parent in pairs):
        return []
    stored = (_canonical(child_columns, parent) for parent in parents)
    return [key for key in stored if key is not None and _canonical(parent_columns, key) == key]


def _canonical(columns: Sequence[Column], values: Sequence[Any]) -> ParentKey | None:
    """The canonical text of each value; None if one has none."""
    if not all(column.base_type in FAMILIES and column.deterministic_collation for column in columns):
        return None
    try:
        return tuple(
            canonical_text(column.base_type, value, column.max_length)
            for column, value in zip(columns, values, strict=True)
        )
    except ValueError:
        return None


def _columns(table: Table, names: Sequence[str]) -> list[Column]:
    columns = {column.name: column for column in table.columns}
    return [columns[name] for name in names]
