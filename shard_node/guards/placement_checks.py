"""Rows belong to their shard: the check that refuses others, and what is noted of those that are to move."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from crosskey.catalog.plan import BySlot, TablePlan
from crosskey.internal.v1.effects_pb2 import Effect
from crosskey.shard_node.guards import reference_guards
from crosskey.shard_node.guards.bodies import body
from crosskey.shard_node.guards.triggers import COORDINATED
from crosskey.shard_node.postgres import postgres_errors
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.slot_expressions import shard_of, slot_of
from crosskey.shard_node.sql_text.sql_names import json_object, table_identifier


def placement_checks(plan: TablePlan, shard: int, shards: int) -> Iterable[sql.Composed]:
    """Nobody, not even psql, can put a row on a shard that it does not belong to.

    In a coordinated transaction it may stand there until the end of the statement: then it is moved.
    """
    if not isinstance(plan.lives, BySlot):
        return  # Where a row is anchored, its foreign key does it.
    shard_key, slot_column = plan.lives.key, plan.lives.slot_column
    checks = [
        # What is cheaper comes first: a hash costs several times as much, and a coordinated transaction needs none.
        sql.SQL("ADD CONSTRAINT {} CHECK ({} OR {} = {})").format(
            identifier(postgres_errors.PLACEMENT_CHECK),
            sql.SQL(COORDINATED),
            shard_of(shard_key, identifier(shard_key.name), shards),
            literal(shard),
        )
    ]
    if slot_column is not None:
        checks.append(
            sql.SQL("ADD CONSTRAINT {} CHECK ({} = {})").format(
                identifier(postgres_errors.SLOT_CHECK),
                slot_of(slot_column, identifier(slot_column.name)),
                slot_of(shard_key, identifier(shard_key.name)),
            )
        )
    yield sql.SQL("ALTER TABLE {} {}").format(table_identifier(plan.table.name), sql.SQL(", ").join(checks))


def note_displaced(plan: TablePlan, shard: int, shards: int) -> sql.Composed:
    """Notes rows that belong to another shard; those that a trigger inserted on every shard are refused."""
    table, shard_key = plan.table, plan.shard_key_column
    displaced = body(
        "displaced_rows",
        kind=literal(Effect.TAKE_OUT_DISPLACED_FIELD_NUMBER),
        table=literal(table.name.qualified),
        belongs=shard_of(shard_key, identifier("k", shard_key.name), shards),
        key=json_object([shard_key.name], "k"),
        column=identifier(shard_key.name),
        shard=literal(shard),
    )
    return sql.SQL("{} INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) {};").format(
        reference_guards.refuse_displaced_rows(table, displaced), displaced
    )
