"""From a described schema to a plan: pure, and the same on every router and node."""

from __future__ import annotations

from collections.abc import Iterator

from crosskey.catalog.anchoring import find_anchors
from crosskey.catalog.claim_rules import claim_id, claimed_key, plan_claims
from crosskey.catalog.colocation import refuse_uncolocated
from crosskey.catalog.copies import plan_copies
from crosskey.catalog.eventual import (
    cleaned_up_later,
    is_eventual,
    refuse_hard_to_clear,
    refuse_kept_copies,
    refuse_mixed,
)
from crosskey.catalog.key_rules import parent_locator, plan_key, referenced_key_id
from crosskey.catalog.key_values import value_columns, verbatim_columns
from crosskey.catalog.model import Database, ForeignKey, TableName
from crosskey.catalog.naming import name_tables
from crosskey.catalog.placement import place_table
from crosskey.catalog.plan import Claim, Copy, KeyPlan, Plan, ReferencedKey, TablePlan
from crosskey.catalog.refusals import Refusal, SchemaRefused, refuse_key
from crosskey.catalog.relations import refuse_names
from crosskey.catalog.tag_rules import refuse_tags
from crosskey.catalog.trigger_rules import refuse_trigger_writes
from crosskey.catalog.views import plan_views

__all__ = ["Refusal", "SchemaRefused", "plan_schema"]


def plan_schema(database: Database) -> Plan:
    """Places every table and classes every foreign key. Raises SchemaRefused with every reason why it cannot."""
    refusals = [*refuse_tags(database), *refuse_names(database)]
    anchors = find_anchors(database)
    tables: dict[TableName, TablePlan] = {}
    for table in database.tables:
        placed = place_table(table, anchors.get(table.name))
        if isinstance(placed, TablePlan):
            tables[table.name] = placed
        else:
            refusals += placed
    keys, key_refusals = _plan_keys(database, tables)
    refusals += key_refusals
    planned = {key.foreign_key for key in keys}
    refusals += refuse_uncolocated(tables.values(), keys, [key for key in database.foreign_keys if key not in planned])
    refusals += refuse_trigger_writes(tables)
    copies, copy_refusals = plan_copies(database, tables, keys)
    refusals += copy_refusals
    refusals += refuse_kept_copies(copies, keys, tables)
    refusals += refuse_hard_to_clear(keys, tables)
    if refusals:
        raise SchemaRefused(tuple(refusals))
    placed_tables = tuple(sorted(tables.values(), key=_table_name))
    claims = plan_claims(placed_tables)
    referenced = _referenced_keys(keys, tables, claims, copies)
    views = plan_views(database, placed_tables, cleaned_up_later(keys))
    return Plan(placed_tables, keys, referenced, database.catches_errors, claims, views, copies)


def _plan_keys(database: Database, tables: dict[TableName, TablePlan]) -> tuple[tuple[KeyPlan, ...], list[Refusal]]:
    plans: list[KeyPlan] = []
    refusals = list(_refuse_ambiguous_names(database.foreign_keys))
    for key in sorted(database.foreign_keys, key=_key_name):
        child, parent = tables.get(key.table), tables.get(key.parent)
        if child is None or parent is None:
            continue  # A table that was refused itself says nothing about its keys.
        planned = plan_key(key, child, parent)
        if isinstance(planned, KeyPlan):
            plans.append(planned)
        else:
            refusals += planned
    refusals += refuse_mixed(plans)
    return tuple(plans), refusals


def _refuse_ambiguous_names(keys: tuple[ForeignKey, ...]) -> Iterator[Refusal]:
    """SET CONSTRAINTS takes a schema and a name, so keys of one name are deferred together or not at all."""
    first: dict[tuple[str, str], ForeignKey] = {}
    for key in sorted(keys, key=_key_name):
        other = first.setdefault((key.table.schema, key.name), key)
        if (other.deferrable, other.initially_deferred) != (key.deferrable, key.initially_deferred):
            clause = "DEFERRABLE" if other.deferrable != key.deferrable else "INITIALLY DEFERRED"
            why = f'a key of "{other.table}" has the same name, and one of them is {clause}'
            yield refuse_key(key, f"{why}; rename one of them")


def _referenced_keys(
    keys: tuple[KeyPlan, ...],
    tables: dict[TableName, TablePlan],
    claims: tuple[Claim, ...],
    copies: tuple[Copy, ...],
) -> tuple[ReferencedKey, ...]:
    crossing = {key.referenced_key: key.foreign_key for key in keys if key.referenced_key is not None}
    ordered = [crossing[identifier] for identifier in sorted(crossing)]
    copied = {
        identifier: tuple(sorted({copy.parent_column for copy in copies if copy.referenced_key == identifier}))
        for identifier in crossing
    }
    names = name_tables((key.parent, key.parent_columns) for key in ordered)
    return tuple(
        ReferencedKey(
            referenced_key_id(key),
            key.parent,
            key.parent_columns,
            parent_locator(key, tables[key.parent]),
            *names[key.parent, key.parent_columns],
            _standing_for_parent(key, tables[key.parent], claims),
            verbatim_columns(
                value_columns(tables[key.parent].table, (*key.parent_columns, *copied[referenced_key_id(key)]))
            ),
            key.parent_equalities,
            copied[referenced_key_id(key)],
            is_eventual(key),
        )
        for key in ordered
    )


def _standing_for_parent(key: ForeignKey, parent: TablePlan, claims: tuple[Claim, ...]) -> Claim | None:
    """The claim on the referenced key, if that does not place the parent."""
    unique = claimed_key(parent, key.parent_columns)
    if unique is None:
        return None
    return next(claim for claim in claims if claim.id == claim_id(parent.table, unique))


def _table_name(plan: TablePlan) -> TableName:
    return plan.table.name


def _key_name(key: ForeignKey) -> tuple[TableName, str]:
    return key.table, key.name
