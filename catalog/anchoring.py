"""Which tables are anchored: their rows live with a parent whose shard only a claim tells.

A table is anchored if it says `@shard_with` of a column that references a claimed key. It is anchored too if that
column references the shard key of an anchored table. With `comments.media_id REFERENCES media(id)`, where `media.id` is
claimed, each media is the anchor of its comments. A column that references a locator of the parent needs no anchor: its
own value tells the slot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from crosskey.catalog.claim_rules import claim_id, claimed_key
from crosskey.catalog.key_rules import same_text
from crosskey.catalog.model import Database, ForeignKey, Table, TableName
from crosskey.catalog.placement import sketch_table
from crosskey.catalog.plan import Anchor, TablePlan
from crosskey.catalog.tags import parse_tags

Placed = Anchor | Literal["by slot"]
"""What places the rows of a table."""


def is_with(table: Table) -> bool:
    """Whether the table says `@shard_with`."""
    return any(tag.name == "shard_with" for tag in parse_tags(table.comment))


def find_anchors(database: Database) -> dict[TableName, Anchor]:
    """The anchor of each table that has one.

    Tables that would anchor each other in a circle have none, and neither has one that would anchor itself.
    """
    sketches = {table.name: sketch for table in database.tables if (sketch := sketch_table(table)) is not None}
    found: dict[TableName, Placed] = {name: "by slot" for name, plan in sketches.items() if not is_with(plan.table)}
    keys = {name: _placing_keys(plan, database.foreign_keys, sketches) for name, plan in sketches.items()}
    while placed := _place_next(sketches, keys, found):
        found |= placed
    return {name: place for name, place in found.items() if isinstance(place, Anchor)}


def _placing_keys(
    plan: TablePlan, keys: Iterable[ForeignKey], sketches: Mapping[TableName, TablePlan]
) -> list[ForeignKey]:
    """The keys that lead from the column which places the table's rows to other sharded tables, by name."""
    own = (key for key in keys if key.table == plan.table.name and plan.shard_key in key.columns)
    return sorted((key for key in own if key.parent in sketches and key.parent != key.table), key=lambda key: key.name)


def _place_next(
    sketches: Mapping[TableName, TablePlan],
    keys: Mapping[TableName, list[ForeignKey]],
    found: Mapping[TableName, Placed],
) -> dict[TableName, Placed]:
    """The next table that can be placed, which is better known the more of its parents are; none at the end."""
    open_tables = sorted(name for name in sketches if name not in found)
    ready = [name for name in open_tables if all(key.parent in found for key in keys[name])]
    for name in [*ready, *open_tables]:
        known = [key for key in keys[name] if key.parent in found]
        places = [place for key in known if (place := _place_by(key, sketches, found)) is not None]
        if places:
            return {name: "by slot" if "by slot" in places else places[0]}
    return {}


def _place_by(
    key: ForeignKey, sketches: Mapping[TableName, TablePlan], found: Mapping[TableName, Placed]
) -> Placed | None:
    """How the child's rows find the parent's by a key; None if that does not tell."""
    child, anchor = sketches[key.table], found[key.parent]
    parent = sketches[key.parent]
    if isinstance(anchor, Anchor):
        parent = msgspec.structs.replace(parent, anchor=anchor, slot_column=None)
    named = key.parent_columns[key.columns.index(child.shard_key or "")]
    if not same_text(child.table.column(child.shard_key or ""), parent.table.column(named)):
        return None
    if named in parent.locators:
        return "by slot"
    if len(key.columns) > 1 or key.period:
        return None
    return _anchor_by(key, parent, named)


def _anchor_by(key: ForeignKey, parent: TablePlan, named: str) -> Anchor | None:
    unique = claimed_key(parent, (named,))
    if unique is not None:
        return Anchor(key.name, key.parent, named, key.parent, named, claim_id(parent.table, unique))
    if parent.anchor is not None and named == parent.shard_key:
        return msgspec.structs.replace(parent.anchor, constraint=key.name, table=key.parent, column=named)
    return None
