"""What children do about their parents on other shards, as SQL of triggers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from crosskey.catalog.model import ForeignKey, TableName
from crosskey.catalog.plan import KeyPlan, Plan, ReferencedKey
from crosskey.internal.v1.effects_pb2 import Effect
from crosskey.shard_node.guards.bodies import body
from crosskey.shard_node.guards.pin_places import pinning_shard
from crosskey.shard_node.guards.references import distinct_references, reference
from crosskey.shard_node.guards.triggers import statement_trigger
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.key_columns import column_pairs, is_child, same_key
from crosskey.shard_node.sql_text.sql_names import column_list, table_identifier
from crosskey.shard_node.sql_text.travelling_keys import travelling_key


def outgoing_keys(plan: Plan, table: TableName) -> list[KeyPlan]:
    """The cross-shard keys by which the table's rows reference others."""
    return [key for key in plan.keys_of(table) if key.kind == "cross-shard"]


def notes_on_parents(plan: Plan, keys: Sequence[KeyPlan], event: str, shards: int) -> list[sql.Composed]:
    """What new or changed children do about their parents on other shards."""
    if event == "INSERT":
        return [_hold_or_note_missing(plan, key, shards) for key in keys]
    holds = [_hold_new_shadows(plan, key) for key in keys]
    return holds + [_note_missing(plan, key, shards) for key in keys]


def _hold_or_note_missing(plan: Plan, key: KeyPlan, shards: int) -> sql.Composed:
    referenced = plan.referenced_key(key.referenced_key or "")
    return body(
        "note_missing_of_new_children",
        references=distinct_references(plan, key.foreign_key, "new_rows"),
        shadow=table_identifier(referenced.shadow),
        same=same_key(referenced, "s", "k"),
        shadow_columns=column_list(referenced.columns, alias="s"),
        note=_note_absent(plan, referenced, shards, sql.SQL("k"), sql.SQL("true"), sql.SQL("held")),
    )


def _hold_new_shadows(plan: Plan, key: KeyPlan) -> sql.Composed:
    referenced = plan.referenced_key(key.referenced_key or "")
    return body(
        "hold_new_shadows",
        shadow=table_identifier(referenced.shadow),
        references=distinct_references(plan, key.foreign_key, "new_rows"),
        old=distinct_references(plan, key.foreign_key, "old_rows"),
        same=same_key(referenced, "s", "k"),
        columns=column_list(referenced.columns, alias="s"),
    )


def _note_missing(plan: Plan, key: KeyPlan, shards: int) -> sql.Composed:
    """Notes the parents of changed children that have no shadow here."""
    referenced = plan.referenced_key(key.referenced_key or "")
    wanted = sql.SQL("({})").format(distinct_references(plan, key.foreign_key, "new_rows"))
    return _note_unshadowed(plan, referenced, shards, wanted, sql.SQL("true"))


def _note_unshadowed(
    plan: Plan, referenced: ReferencedKey, shards: int, wanted: sql.Composable, condition: sql.Composable
) -> sql.Composed:
    """Notes as missing those of the keys `wanted` (a table called k) that meet the condition and have no shadow."""
    wanted = sql.SQL("{} k").format(wanted)
    return _note_absent(plan, referenced, shards, wanted, condition, table_identifier(referenced.shadow))


def _note_absent(
    plan: Plan,
    referenced: ReferencedKey,
    shards: int,
    wanted: sql.Composable,
    condition: sql.Composable,
    present: sql.Composable,
) -> sql.Composed:
    return body(
        "note_absent",
        kind=literal(Effect.PIN_PARENTS_FIELD_NUMBER),
        id=literal(referenced.id),
        shard=pinning_shard(plan, referenced, "k", shards),
        key=travelling_key(referenced, "k"),
        wanted=wanted,
        condition=condition,
        present=present,
        same=same_key(referenced, "s", "k"),
    )


def note_unshadowed_rows(plan: Plan, key: KeyPlan, shards: int, condition: sql.Composable) -> sql.Composed:
    """Notes the parents of rows n of the child that meet the condition and have no shadow here; answers their keys."""
    referenced = plan.referenced_key(key.referenced_key or "")
    foreign_key = key.foreign_key
    rows = sql.SQL("{} AND {}").format(distinct_references(plan, foreign_key, foreign_key.table), condition)
    return body(
        "note_absent_of_rows",
        kind=literal(Effect.PIN_PARENTS_FIELD_NUMBER),
        id=literal(referenced.id),
        shard=pinning_shard(plan, referenced, "k", shards),
        key=travelling_key(referenced, "k"),
        wanted=sql.SQL("({}) k").format(rows),
        present=table_identifier(referenced.shadow),
        same=same_key(referenced, "s", "k"),
    )


def shadow_triggers(plan: Plan, referenced: ReferencedKey, shards: int) -> Iterable[sql.Composed]:
    """A NO ACTION key lets its parent go if it is back by the time of the check: its children ask for it once more."""
    keys = [key.foreign_key for key in plan.keys_by(referenced)]
    for event, waiting in (
        ("DELETE", [key for key in keys if key.on_delete == "NO ACTION"]),
        ("UPDATE", [key for key in keys if key.on_update == "NO ACTION"]),
    ):
        if waiting:
            condition = sql.SQL(" OR ").join(has_children(plan, key) for key in waiting)
            note = _note_unshadowed(plan, referenced, shards, sql.SQL("old_rows"), condition)
            yield from statement_trigger("left_by", referenced.shadow, event, "OLD TABLE AS old_rows", [note])


def has_children(plan: Plan, key: ForeignKey) -> sql.Composed:
    """Whether the foreign key's child references the key called k, as an SQL expression."""
    same = (
        is_child(pair, identifier("c", pair.child.name), identifier("k", pair.parent.name))
        for pair in column_pairs(plan, key)
    )
    return sql.SQL("EXISTS (SELECT FROM {} c WHERE {})").format(
        table_identifier(key.table), sql.SQL(" AND ").join(same)
    )


def unshadowed(plan: Plan, key: KeyPlan) -> sql.Composed:
    """Whether the new row can have a parent that has no shadow here.

    A shadow that is found is locked, as the foreign key will do: one that is being dropped as unused is none.
    """
    referenced = plan.referenced_key(key.referenced_key or "")
    return sql.SQL(
        "EXISTS (SELECT FROM ({reference}) k WHERE NOT EXISTS (SELECT FROM {shadow} s WHERE {same} FOR KEY SHARE))"
    ).format(
        reference=reference(plan, key.foreign_key, "new"),
        shadow=table_identifier(referenced.shadow),
        same=same_key(referenced, "s", "k"),
    )
