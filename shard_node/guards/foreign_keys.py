"""Shadows, pins and effects: the SQL that makes a foreign key cross shards.

On the child's shard each child's foreign key points to a *shadow*, on the parent's shard each referencing shard holds a
*pin*. Triggers note in `crosskey.effect` what a statement means for other shards; they do so only in a coordinated
transaction (`crosskey.coordinated = 'on'`). In any other one, the same foreign keys and checks simply refuse.

Statements are to be executed with parameters, if only an empty sequence of them (see sql_text/identifiers.py).
"""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from crosskey.catalog.plan import Plan, TablePlan
from crosskey.shard_node.guards import (
    anchored_rows,
    child_triggers,
    dead_shadows,
    error_guards,
    parent_triggers,
    reference_guards,
    rekeying,
    sweep_guards,
)
from crosskey.shard_node.guards.claims import claim_statements
from crosskey.shard_node.guards.copies import copy_statements
from crosskey.shard_node.guards.event_triggers import event_triggers
from crosskey.shard_node.guards.partition_guards import guard_partition_key
from crosskey.shard_node.guards.placement_checks import note_displaced, placement_checks
from crosskey.shard_node.guards.references import translation_functions
from crosskey.shard_node.guards.shadow_tables import deferrable, repointed, shadow_and_pin
from crosskey.shard_node.guards.triggers import statement_trigger
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.slot_expressions import shard_of

_ARRIVALS = {"INSERT": "NEW TABLE AS new_rows", "UPDATE": "NEW TABLE AS new_rows OLD TABLE AS old_rows"}
"""How rows come, or come to reference others, and what a trigger sees of it."""


def guard_statements(plan: Plan, shard: int, shards: int) -> Iterable[sql.Composed]:
    """All the DDL that turns the user's tables, just created, into those of a shard."""
    # First, as pins may hold claims.
    yield from claim_statements(plan, shard, shards)
    for schema in sorted({key.shadow.schema for key in plan.referenced_keys}):
        yield sql.SQL("CREATE SCHEMA {}").format(identifier(schema))
    for referenced in plan.referenced_keys:
        yield from shadow_and_pin(plan, referenced)
        yield from dead_shadows.eventual_tables(referenced)
    for key in plan.keys:
        yield from deferrable(key) if key.kind == "local" else repointed(plan, key)
        if key.kind == "cross-shard":
            yield from translation_functions(plan, key)
    for referenced in plan.referenced_keys:
        yield rekeying.create_function(referenced)
        yield from child_triggers.shadow_triggers(plan, referenced, shards)
    for table in plan.tables:
        yield from placement_checks(table, shard, shards)
        yield from _triggers(plan, table, shard, shards)
        yield from sweep_guards.guard_children(plan, table.table.name)
        yield from dead_shadows.eventual_triggers(plan, table.table)
        yield from guard_partition_key(plan, table.table)
        yield from event_triggers(table, shard)
        if plan.catches_errors:
            yield from _error_guards(plan, table, shard, shards)
    yield from copy_statements(plan, shard)


def _triggers(plan: Plan, table: TablePlan, shard: int, shards: int) -> Iterable[sql.Composed]:
    name = table.table.name
    outgoing = child_triggers.outgoing_keys(plan, name)
    anchored = anchored_rows.anchored_table(plan, name)
    for event, transition in _ARRIVALS.items():
        notes = child_triggers.notes_on_parents(plan, outgoing, event, shards)
        if anchored is not None:
            notes.append(anchored_rows.note_displaced_from_anchor(plan, anchored, event, shards))
        elif table.shard_key is not None:
            notes.append(note_displaced(table, shard, shards))
        if notes:
            yield from statement_trigger("arrived", name, event, transition, notes)
    yield from anchored_rows.departure_triggers(plan, name, shards)
    yield from anchored_rows.lock_before_leaving(plan, table, shard, shards)
    yield from parent_triggers.departure_triggers(plan, name, shards)
    if table.placement == "reference" and shards > 1:
        yield from reference_guards.guard_copy(table.table)
    yield from parent_triggers.new_key_triggers(plan, name)
    yield from parent_triggers.triggers_of_claimed(plan, table, shard, shards)


def _error_guards(plan: Plan, table: TablePlan, shard: int, shards: int) -> Iterable[sql.Composed]:
    name = table.table.name
    outgoing, incoming = child_triggers.outgoing_keys(plan, name), parent_triggers.incoming_keys(plan, name)
    anchored = anchored_rows.anchored_table(plan, name)
    unmet = [
        *(child_triggers.unshadowed(plan, key) for key in outgoing),
        *([] if anchored is None else [anchored_rows.has_no_anchor_here(anchored)]),
    ]
    if unmet:
        yield from error_guards.guard_children(name, unmet)
    if incoming:
        yield from error_guards.guard_parents(name, [parent_triggers.pinned(key) for key in incoming])
    if anchored is None and table.shard_key is not None:
        shard_key = table.shard_key_column
        belongs = shard_of(shard_key, identifier("new", shard_key.name), shards)
        yield from error_guards.guard_place(name, sql.SQL("{} <> {}").format(belongs, literal(shard)))
