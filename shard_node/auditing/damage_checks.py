"""The queries that look for damaged rows on one shard: one for each table or key and kind of damage.

Each is one statement, and so sees one snapshot: foreign keys hold in every snapshot, so nothing that is merely in
flight is ever taken for damage. None takes a lock that a writer would wait for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from psycopg import sql

from crosskey.catalog.model import ForeignKey, Table, TableName
from crosskey.catalog.plan import BySlot, Copy, KeyPlan, Plan, ReferencedKey, TablePlan
from crosskey.shard_node.guards.claims import CLAIMING_SHARD
from crosskey.shard_node.guards.pin_places import CLAIMANT, PIN_SHARD
from crosskey.shard_node.guards.shadow_tables import PIN_CONSTRAINT
from crosskey.shard_node.postgres.postgres_errors import PLACEMENT_CHECK, SLOT_CHECK
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.key_columns import column_pairs, is_parent, same_key
from crosskey.shard_node.sql_text.slot_expressions import shard_of, slot_of
from crosskey.shard_node.sql_text.sql_names import column_list, json_object, table_identifier
from crosskey.v1.admin_pb2 import AuditResponse

MAX_FINDINGS = 100
"""Of one check; the others are only counted."""


class DamageCheck(msgspec.Struct, frozen=True):
    """A query for damaged rows, and what each of them means.

    `kind` is an AuditResponse.Kind. The query answers one row: how many damaged rows there are, and the keys of
    MAX_FINDINGS of them as a text[] of JSON.
    """

    kind: AuditResponse.Kind.ValueType
    table: TableName
    constraint: str
    message: str
    query: sql.Composed


def damage_checks(plan: Plan, shard: int, shards: int) -> Iterator[DamageCheck]:
    """Every check of a shard."""
    for key in plan.keys:
        yield _child_without_parent(plan, key)
    for referenced in plan.referenced_keys:
        yield _pin_without_parent(referenced)
    for table in plan.tables:
        yield from _displaced_rows(table, shard, shards)
    for copy in plan.copies:
        if copy.live:
            yield _wrong_copy(plan, copy)


def _wrong_copy(plan: Plan, copy: Copy) -> DamageCheck:
    """Rows whose copy is not what their parent has, or its shadow on this shard."""
    table = plan.own_table(copy.table)
    key = next(key.foreign_key for key in plan.keys_of(copy.table) if key.foreign_key.name == copy.constraint)
    target = copy.parent if copy.referenced_key is None else plan.referenced_key(copy.referenced_key).shadow
    damaged = sql.SQL(
        "SELECT {key} AS key FROM {table} c JOIN {target} p ON {same}"
        " WHERE record_image_ne(ROW({copy}), ROW({value}))"
        " UNION ALL SELECT {key} FROM {table} c WHERE num_nulls({referencing}) > 0 AND num_nulls({copy}) = 0"
    ).format(
        key=json_object(_row_key(table.table, key.columns), "c"),
        table=table_identifier(copy.table),
        target=table_identifier(target),
        same=_is_parent(plan, key),
        copy=identifier("c", copy.column),
        value=identifier("p", copy.parent_column),
        referencing=column_list(key.columns, alias="c"),
    )
    message = (
        f'has another "{copy.column}" than "{copy.parent_column}" of the row of {copy.parent} that it references:'
        " update that through a router, to another value and back"
    )
    return DamageCheck(AuditResponse.KIND_WRONG_COPY, copy.table, copy.constraint, message, _bounded(damaged))


def _is_parent(plan: Plan, key: ForeignKey) -> sql.Composed:
    """Whether the row called p has the key that the child called c names."""
    return sql.SQL(" AND ").join(
        is_parent(pair, identifier("p", pair.parent.name), identifier("c", pair.child.name))
        for pair in column_pairs(plan, key)
    )


def _child_without_parent(plan: Plan, key: KeyPlan) -> DamageCheck:
    """Children that reference what is not on this shard: the parent of a local key, the shadow of another one."""
    foreign_key = key.foreign_key
    child = plan.own_table(foreign_key.table)
    if key.referenced_key is None:
        kind: AuditResponse.Kind.ValueType = AuditResponse.KIND_CHILD_WITHOUT_PARENT
        target = foreign_key.parent
        message = f"references a row of {foreign_key.parent} that does not exist: write that row, or delete this one"
        if child.anchor is not None and child.anchor.constraint == foreign_key.name:
            message = (
                f"lives with a row of {foreign_key.parent} that is not on its shard: delete it here, and if that row"
                " exists, insert it again through a router"
            )
    else:
        kind = AuditResponse.KIND_CHILD_WITHOUT_SHADOW
        target = plan.referenced_key(key.referenced_key).shadow
        message = (
            f"has no shadow of the row of {foreign_key.parent} that it references, which nothing keeps from being"
            " deleted, if it exists at all: delete this row, and insert it again through a router"
        )
    damaged = sql.SQL("SELECT {key} AS key FROM {table} c WHERE {referencing} AND NOT {found}").format(
        key=json_object(_row_key(child.table, foreign_key.columns), "c"),
        table=table_identifier(foreign_key.table),
        referencing=_referencing(foreign_key),
        found=_parent_found(plan, foreign_key, target),
    )
    return DamageCheck(kind, foreign_key.table, foreign_key.name, message, _bounded(damaged))


def _referencing(key: ForeignKey) -> sql.Composed:
    """Whether a child references anything: with MATCH SIMPLE if no column is NULL, with MATCH FULL if any is not."""
    # A MATCH FULL key with some NULLs finds no parent, as it should: PostgreSQL refuses such a row.
    condition = "num_nonnulls({}) > 0" if key.match == "FULL" else "num_nulls({}) = 0"
    return sql.SQL(condition).format(column_list(key.columns, alias="c"))


def _parent_found(plan: Plan, key: ForeignKey, target: TableName) -> sql.Composed:
    pairs = column_pairs(plan, key)
    equal_pairs = pairs[:-1] if key.period else pairs
    same = sql.SQL(" AND ").join(
        is_parent(pair, identifier("p", pair.parent.name), identifier("c", pair.child.name)) for pair in equal_pairs
    )
    if not key.period:
        return sql.SQL("EXISTS (SELECT FROM {} p WHERE {})").format(table_identifier(target), same)
    # A child's period may be covered by several parents together.
    period, parent_period, _ = pairs[-1]
    return sql.SQL("coalesce(c.{} <@ (SELECT range_agg(p.{}) FROM {} p WHERE {}), false)").format(
        identifier(period.name), identifier(parent_period.name), table_identifier(target), same
    )


def _pin_without_parent(referenced: ReferencedKey) -> DamageCheck:
    damaged = sql.SQL("SELECT {key} AS key FROM {pin} p WHERE NOT EXISTS (SELECT FROM {parent} r WHERE {same})").format(
        key=json_object([*referenced.columns, PIN_SHARD], "p"),
        pin=table_identifier(referenced.pin),
        parent=table_identifier(referenced.pinned),
        same=_held(referenced),
    )
    message = (
        f"says that the shard {PIN_SHARD} references a row that does not exist: write that row again, or delete this"
        " pin and what references the row on that shard"
    )
    return DamageCheck(
        AuditResponse.KIND_PIN_WITHOUT_PARENT, referenced.parent, PIN_CONSTRAINT, message, _bounded(damaged)
    )


def _held(referenced: ReferencedKey) -> sql.Composed:
    """Whether the pin called p holds the row called r."""
    same = same_key(referenced, "r", "p")
    if referenced.claim is None:
        return same
    return sql.SQL("{} AND {} = {}").format(same, identifier("r", CLAIMING_SHARD), identifier("p", CLAIMANT))


def _displaced_rows(plan: TablePlan, shard: int, shards: int) -> Iterator[DamageCheck]:
    if not isinstance(plan.lives, BySlot):
        return
    shard_key, slot_column = plan.lives.key, plan.lives.slot_column
    where = sql.SQL("{} IS DISTINCT FROM {}").format(
        shard_of(shard_key, identifier("r", shard_key.name), shards), literal(shard)
    )
    message = (
        "lives on a shard that its shard key does not belong to, where no router looks for it: delete it here, and"
        " insert it again through a router"
    )
    yield _row_check(plan, AuditResponse.KIND_MISPLACED_ROW, PLACEMENT_CHECK, message, where)
    if slot_column is not None:
        where = sql.SQL("{} IS DISTINCT FROM {}").format(
            slot_of(slot_column, identifier("r", slot_column.name)), slot_of(shard_key, identifier("r", shard_key.name))
        )
        message = f"has a {slot_column.name} that carries another slot than its {shard_key.name}: give it another one"
        yield _row_check(plan, AuditResponse.KIND_WRONG_SLOT, SLOT_CHECK, message, where)


def _row_check(
    plan: TablePlan, kind: AuditResponse.Kind.ValueType, constraint: str, message: str, where: sql.Composed
) -> DamageCheck:
    damaged = sql.SQL("SELECT {key} AS key FROM {table} r WHERE {where}").format(
        key=json_object(_row_key(plan.table, plan.locators), "r"),
        table=table_identifier(plan.table.name),
        where=where,
    )
    return DamageCheck(kind, plan.table.name, constraint, message, _bounded(damaged))


def _row_key(table: Table, columns: Sequence[str]) -> list[str]:
    """What tells a reader which row it is, and what is wrong with it."""
    return list(dict.fromkeys([*table.primary_key, *columns]))


def _bounded(damaged: sql.Composed) -> sql.Composed:
    # Numbering the rows as they come needs no memory, however many there are.
    return sql.SQL(
        "SELECT count(*), coalesce(array_agg(key::text) FILTER (WHERE place <= {limit}), '{{}}')"
        " FROM (SELECT key, row_number() OVER () AS place FROM ({damaged}) damaged) numbered"
    ).format(limit=literal(MAX_FINDINGS), damaged=damaged)
