"""Where the rows of each table live: the shard key and the slot column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from crosskey.catalog.claim_rules import refuse_claims
from crosskey.catalog.events import refuse_events, tells_events
from crosskey.catalog.key_values import keys_without_nulls
from crosskey.catalog.model import Column, Table
from crosskey.catalog.plan import Anchor, TablePlan
from crosskey.catalog.refusals import Refusal, refuse_table
from crosskey.catalog.slot_types import why_unfit
from crosskey.catalog.slots import FAMILIES
from crosskey.catalog.tags import Tag, parse_tags

_FIT: Final = "a shard key is smallint, integer, bigint, uuid, text or varchar"
_PLACEMENT_TAGS: Final = ("shard_by", "shard_with", "reference")


def sketch_table(table: Table) -> TablePlan | None:
    """Where rows live if they have no anchor and nothing is wrong; None if no column is said to place them."""
    tags = _placement_tags(table)
    column = None if len(tags) != 1 or tags[0].name == "reference" else table.column(tags[0].argument)
    return None if column is None else TablePlan(table, "sharded", column.name, _slot_column(table, column))


def place_table(table: Table, anchor: Anchor | None = None) -> TablePlan | tuple[Refusal, ...]:
    """Where the table's rows live, or every reason why that cannot be said; `anchor` as find_anchors found it."""
    refusals = tuple(_refuse_kind(table))
    tags = _placement_tags(table)
    if refusals and not tags:
        # No tag would help.
        return refusals
    refusals += tuple(refuse_events(table))
    if len(tags) != 1:
        return (*refusals, _refuse_tag_count(table, tags))
    if tags[0].name == "reference":
        return _place_reference(table, tags[0], refusals)
    return _place_sharded(table, tags[0], anchor, refusals)


def _placement_tags(table: Table) -> list[Tag]:
    return [tag for tag in parse_tags(table.comment) if tag.name in _PLACEMENT_TAGS]


def _refuse_kind(table: Table) -> Iterator[Refusal]:
    yield from _refuse_names(table)
    if table.partitioned:
        yield from _refuse_partitions(table)
    elif table.kind != "r":
        yield refuse_table(table, "only ordinary tables and partitioned ones can be sharded")
    if table.inherits:
        yield refuse_table(table, "table inheritance is not supported: keys do not hold over it")
    if table.unlogged:
        why = "an UNLOGGED table is emptied by a crash, and the keys that name its rows are not; leave out SET UNLOGGED"
        yield refuse_table(table, why)


def _refuse_partitions(table: Table) -> Iterator[Refusal]:
    for name in table.keys_of_partitions:
        why = f"{name} is a key of a single partition, which holds on each shard alone; make it one of the whole table"
        yield refuse_table(table, f"{why}, or drop it")
    if not keys_without_nulls(table):
        why = (
            "a partitioned table needs a PRIMARY KEY, or a unique key of NOT NULL columns: else nothing tells its rows"
        )
        yield refuse_table(table, f"{why} apart that lie in several partitions")


def _refuse_names(table: Table) -> Iterator[Refusal]:
    if table.name.schema.startswith("crosskey"):
        yield refuse_table(table, "schemas named crosskey... are Crosskey's own")
    # Shadows, pins and claims have columns of ours beside those of keys.
    for column in table.columns:
        if column.name.startswith("crosskey_"):
            why = f'columns named crosskey_... are Crosskey\'s own; rename "{column.name}"'
            yield refuse_table(table, why, column=column.name)


def _refuse_tag_count(table: Table, tags: list[Tag]) -> Refusal:
    if tags:
        return refuse_table(table, f"two placements, {' and '.join('@' + tag.name for tag in tags)}; keep one")
    advice = f"say COMMENT ON TABLE {table.name} IS '@shard_by column', '@shard_with fk_column' or '@reference'"
    return refuse_table(table, f"no placement; {advice}")


def _place_reference(table: Table, tag: Tag, refusals: tuple[Refusal, ...]) -> TablePlan | tuple[Refusal, ...]:
    if tag.argument:
        refusals = (*refusals, refuse_table(table, f"@reference takes nothing after it, not {tag.argument!r}"))
    return (*refusals, *_refuse_claim_tag(table, None)) or TablePlan(table, "reference", events=tells_events(table))


def _place_sharded(
    table: Table, tag: Tag, anchor: Anchor | None, refusals: tuple[Refusal, ...]
) -> TablePlan | tuple[Refusal, ...]:
    if not tag.argument:
        return (*refusals, refuse_table(table, f"@{tag.name} names no column; write @{tag.name} column"))
    column = table.column(tag.argument)
    if column is None:
        why = f'@{tag.name} takes one column of the table, and there is no column "{tag.argument}"'
        return (*refusals, refuse_table(table, why, column=tag.argument))
    slot_column = None if anchor is not None else _slot_column(table, column)
    plan = TablePlan(table, "sharded", column.name, slot_column, anchor, tells_events(table))
    refusals += tuple(_refuse_shard_key(table, column)) + tuple(refuse_claims(plan)) + tuple(_refuse_exclusions(plan))
    return (*refusals, *_refuse_claim_tag(table, plan)) or plan


def _refuse_claim_tag(table: Table, plan: TablePlan | None) -> Iterator[Refusal]:
    """@claim says what becomes of an id that would carry the slot, so it must have one to speak of."""
    tag = _claim_tag(table)
    if tag is None:
        return
    if tag.argument:
        yield refuse_table(table, f"@claim takes nothing after it, not {tag.argument!r}")
    if plan is None or _uuid_of_its_own(table, plan.shard_key_column) is None:
        yield refuse_table(
            table, "@claim is for a uuid PRIMARY KEY beside the shard key, and there is none; leave it out"
        )


def _claim_tag(table: Table) -> Tag | None:
    return next((tag for tag in parse_tags(table.comment) if tag.name == "claim"), None)


def _slot_column(table: Table, shard_key: Column) -> str | None:
    # Ids of foreign make carry no slot; they are claimed instead.
    return None if _claim_tag(table) else _uuid_of_its_own(table, shard_key)


def _uuid_of_its_own(table: Table, shard_key: Column) -> str | None:
    if len(table.primary_key) != 1 or table.primary_key[0] == shard_key.name:
        return None
    column = table.column(table.primary_key[0])
    # A computed id cannot be minted for a slot.
    return column.name if column and column.base_type == "uuid" and not column.generated else None


def _refuse_shard_key(table: Table, column: Column) -> Iterator[Refusal]:
    for why in _shard_key_faults(column):
        yield refuse_table(table, f'column "{column.name}" cannot be the shard key: {why}', column=column.name)


def _shard_key_faults(column: Column) -> Iterator[str]:
    if column.base_type not in FAMILIES:
        known = why_unfit(column)
        yield f"it is {column.type}" + (f", where {known}" if known else "") + f"; {_FIT}"
    elif not column.deterministic_collation:
        yield "its collation is not deterministic, so texts that differ are equal; give it a deterministic one"
    if not column.not_null:
        yield "it can be NULL, and such a row has no place; add NOT NULL"
    if column.generated:
        yield "it is GENERATED, so its value is not known before the row is written"


def _refuse_exclusions(plan: TablePlan) -> Iterator[Refusal]:
    table = plan.table
    for exclusion in table.exclusions:
        if not set(exclusion.equal_columns) & set(plan.colocating):
            name = f'EXCLUDE constraint "{exclusion.name}"'
            advice = f"compare {plan.shard_key} with = in it"
            why = f"{name} could not see rows on other shards; {advice}, or make the table @reference"
            yield refuse_table(table, why, constraint=exclusion.name)
