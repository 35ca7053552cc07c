"""Rows that live with a parent which only a claim finds: the SQL by which they notice that it is not here.

Such a row references its parent by a real foreign key of its own shard. In a coordinated transaction one whose value
nobody has here is a *stray*: triggers note the value, and the coordinator has it looked up among the claims and the
rows taken to where the parent is. What nobody claims has no parent, and the foreign key says so when it is checked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
from psycopg import sql

from crosskey.catalog.model import Column, ForeignKey, TableName
from crosskey.catalog.plan import Anchor, Claim, Plan, TablePlan
from crosskey.internal.v1.effects_pb2 import Effect
from crosskey.shard_node.guards import reference_guards
from crosskey.shard_node.guards.claims import claim_shard, claimed_table
from crosskey.shard_node.guards.triggers import (
    AFTER_ALL_OTHERS,
    COORDINATED,
    LOCKS_EARLY,
    changed,
    statement_trigger,
    trigger_function,
)
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.key_columns import ColumnPair, could_be_parents, is_parent
from crosskey.shard_node.sql_text.slot_expressions import shard_of
from crosskey.shard_node.sql_text.sql_names import function_identifier, json_object, table_identifier

_STRAY = Effect.FIND_ANCHORS_FIELD_NUMBER

LOCKED_TOO_LATE = "crosskey.locked_too_late"
"""The setting that is `on` in a transaction that changed rows which anchor others without a lock."""


class Anchored(NamedTuple):
    """An anchored table, with what its plan only names: the claim, and the claimed column."""

    table: TablePlan
    anchor: Anchor
    claim: Claim
    root: Column
    foreign_key: ForeignKey

    @property
    def key(self) -> Column:
        """The column that names the parent."""
        return self.table.shard_key_column

    @property
    def name(self) -> TableName:
        """The table's name."""
        return self.table.table.name

    def named_column(self, parent: TableName) -> str:
        """The column whose values the rows name of the table that they reference, or of the one with the claim."""
        return self.anchor.column if parent == self.anchor.table else self.anchor.root_column

    @property
    def value(self) -> Column:
        """That column under the name of what is claimed."""
        return msgspec.structs.replace(self.key, name=self.root.name)


def anchored_tables(plan: Plan) -> list[Anchored]:
    """All tables that are anchored."""
    return [_anchored(plan, table, table.anchor) for table in plan.tables if table.anchor is not None]


def anchored_table(plan: Plan, name: TableName) -> Anchored | None:
    """The table if it is anchored, else None."""
    table = plan.table(name)
    return None if table is None or table.anchor is None else _anchored(plan, table, table.anchor)


def note_displaced_from_anchor(plan: Plan, anchored: Anchored, event: str, shards: int) -> sql.Composed:
    """Notes what new or changed rows are to live with and is not here, and locks what is until the transaction ends.

    It could move meanwhile. What an updated row with the same value lives with cannot, as it would take the row along.
    What is locked is what is here: who looked twice might lock nothing, and then find what has just come and may go.
    """
    values = sql.SQL("({})").format(_values(anchored, event))
    held = sql.SQL(
        "SELECT r.{column} FROM {root} r JOIN {values} k ON {same} ORDER BY r.{column} FOR KEY SHARE OF r"
    ).format(
        column=identifier(anchored.root.name),
        root=table_identifier(anchored.anchor.root_table),
        values=values,
        same=_is_root(anchored, "k", anchored.value),
    )
    root = table_identifier(anchored.anchor.root_table)
    return sql.SQL("{refuse} WITH held AS ({held}) {note}").format(
        refuse=reference_guards.refuse_displaced_rows(
            anchored.table.table, _displaced(plan, anchored, values, root, shards)
        ),
        held=held,
        note=_note(_displaced(plan, anchored, values, sql.SQL("held"), shards)),
    )


def departure_triggers(plan: Plan, table: TableName, shards: int) -> Iterable[sql.Composed]:
    """A NO ACTION key lets a parent go if another row has its key by the time of the check: perhaps on another shard.

    So its children ask where that is.
    """
    followers = [
        anchored for anchored in anchored_tables(plan) if anchored.anchor.root_table == anchored.anchor.table == table
    ]
    deleted = [anchored for anchored in followers if anchored.foreign_key.on_delete == "NO ACTION"]
    rekeyed = [anchored for anchored in followers if anchored.foreign_key.on_update == "NO ACTION"]
    if deleted:
        notes = [_note_left(plan, anchored, sql.SQL("old_rows"), shards) for anchored in deleted]
        yield from statement_trigger("left", table, "DELETE", "OLD TABLE AS old_rows", notes)
    if rekeyed:
        old_row = sql.SQL("(SELECT old.*)")
        yield trigger_function(
            "left_update", table, [_note_left(plan, anchored, old_row, shards) for anchored in rekeyed]
        )
        yield sql.SQL(
            "CREATE TRIGGER crosskey_left_update AFTER UPDATE ON {table} FOR EACH ROW"
            " WHEN ({coordinated} AND {changed}) EXECUTE FUNCTION {function}()"
        ).format(
            table=table_identifier(table),
            coordinated=sql.SQL(COORDINATED),
            changed=changed(sorted({anchored.root.name for anchored in rekeyed})),
            function=function_identifier("left_update", table),
        )


def lock_before_leaving(plan: Plan, table: TablePlan, shard: int, shards: int) -> Iterable[sql.Composed]:
    """Locks rows that anchor others FOR UPDATE before they are changed so that they belong to another shard.

    They are locked like that anyway before they are taken out. Were that the first time, whoever locks one FOR KEY
    SHARE, as foreign keys do, would wait for its new version. If that is rolled back and somebody else changes the row
    then, PostgreSQL grants the lock without a look at his version: he may delete it, and the child is an orphan
    (heap_lock_tuple in src/backend/access/heap/heapam.c; 15 and 18 do so).

    A row may leave later though this change lets it stay. So that a row was changed without the lock is noted, as
    LOCKED_TOO_LATE, unless this transaction has made its version: then it was told when it made the first.
    """
    name = table.table.name
    if not any(name in (anchored.anchor.table, anchored.anchor.root_table) for anchored in anchored_tables(plan)):
        return
    body = sql.SQL(
        "IF {early} OR {changed} AND NOT {stays} THEN PERFORM FROM {table} t WHERE {same} FOR UPDATE;"
        " ELSIF old.xmin <> pg_current_xact_id()::xid THEN PERFORM set_config({too_late}, 'on', true); END IF;"
    ).format(
        early=sql.SQL(LOCKS_EARLY),
        changed=changed([table.shard_key_column.name]),
        stays=_stays(plan, table, "new", shard, shards),
        table=table_identifier(name),
        # Each partition has a row at that place.
        same=sql.SQL(
            "t.tableoid = old.tableoid AND t.ctid = old.ctid" if table.table.partitioned else "t.ctid = old.ctid"
        ),
        too_late=literal(LOCKED_TOO_LATE),
    )
    yield trigger_function("leaves", name, [body], answer="NEW")
    yield sql.SQL(
        "CREATE TRIGGER {trigger} BEFORE UPDATE ON {table} FOR EACH ROW WHEN ({coordinated})"
        " EXECUTE FUNCTION {function}()"
    ).format(
        trigger=identifier(f"{AFTER_ALL_OTHERS}leaves"),
        table=table_identifier(name),
        coordinated=sql.SQL(COORDINATED),
        function=function_identifier("leaves", name),
    )


def has_no_anchor_here(anchored: Anchored) -> sql.Composed:
    """Whether nobody here has the new row's value; who has it is locked, as by note_displaced_from_anchor."""
    return sql.SQL("NOT EXISTS (SELECT FROM {root} r WHERE {same} FOR KEY SHARE)").format(
        root=table_identifier(anchored.anchor.root_table), same=_is_root(anchored, "new", anchored.key)
    )


def _stays(plan: Plan, table: TablePlan, alias: str, shard: int, shards: int, depth: int = 0) -> sql.Composed:
    """Whether a row belongs here; what it lives with is locked, as by note_displaced_from_anchor, and does too."""
    anchored = anchored_table(plan, table.table.name)
    if anchored is None:
        belongs = shard_of(table.shard_key_column, identifier(alias, table.shard_key_column.name), shards)
        return sql.SQL("({} = {})").format(belongs, literal(shard))
    root, parent = plan.table(anchored.anchor.root_table), f"r{depth}"
    assert root is not None, f"{anchored.name} is anchored by {anchored.anchor.root_table}, which the plan has not"
    return sql.SQL("EXISTS (SELECT FROM {root} {parent} WHERE {same} AND {stays} FOR KEY SHARE OF {parent})").format(
        root=table_identifier(anchored.anchor.root_table),
        parent=identifier(parent),
        same=_is_root(anchored, alias, anchored.key, parent),
        stays=_stays(plan, root, parent, shard, shards, depth + 1),
    )


def _anchored(plan: Plan, table: TablePlan, anchor: Anchor) -> Anchored:
    claim = next(claim for claim in plan.claims if claim.id == anchor.claim)
    root = claimed_table(plan, claim).column(anchor.root_column)
    assert root is not None, f"{table.table.name} is anchored by a column that {anchor.root_table} has not"
    keys = (key.foreign_key for key in plan.keys if key.foreign_key.table == table.table.name)
    return Anchored(table, anchor, claim, root, next(key for key in keys if key.name == anchor.constraint))


def _values(anchored: Anchored, event: str) -> sql.Composed:
    """The values of new or changed rows, each once, under the claimed column's name."""
    new, old = (
        sql.SQL("SELECT DISTINCT n.{} AS {} FROM {} n").format(
            identifier(anchored.key.name), identifier(anchored.value.name), identifier(rows)
        )
        for rows in ("new_rows", "old_rows")
    )
    return sql.SQL("{} EXCEPT {}").format(new, old) if event == "UPDATE" else new


def _displaced(
    plan: Plan, anchored: Anchored, values: sql.Composable, present: sql.Composable, shards: int
) -> sql.Composed:
    """The effects of those of the values, a table called k, that none of `present` has and somebody elsewhere may."""
    fits = could_be_parents(ColumnPair(anchored.key, anchored.root), identifier("k", anchored.value.name))
    return sql.SQL(
        "SELECT {kind}, {claim}, {place}, {key} FROM {values} k"
        " WHERE NOT EXISTS (SELECT FROM {present} r WHERE {same}) AND {fits}"
    ).format(
        kind=literal(_STRAY),
        claim=literal(anchored.claim.id),
        place=claim_shard(anchored.claim, claimed_table(plan, anchored.claim), "k", shards),
        key=json_object([anchored.value.name], "k"),
        values=values,
        present=present,
        same=_is_root(anchored, "k", anchored.value),
        fits=fits or sql.SQL("true"),
    )


def _note(displaced: sql.Composable) -> sql.Composed:
    return sql.SQL("INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) {};").format(displaced)


def _note_left(plan: Plan, anchored: Anchored, parents: sql.Composable, shards: int) -> sql.Composed:
    """Notes the old keys of `parents` that have children here and no parent any more."""
    left = sql.SQL("(SELECT DISTINCT c.{key} AS {value} FROM {parents} r JOIN {child} c ON {same})").format(
        key=identifier(anchored.key.name),
        value=identifier(anchored.value.name),
        parents=parents,
        child=table_identifier(anchored.name),
        same=_is_root(anchored, "c", anchored.key),
    )
    return _note(_displaced(plan, anchored, left, table_identifier(anchored.anchor.root_table), shards))


def _is_root(anchored: Anchored, alias: str, column: Column, root: str = "r") -> sql.Composed:
    """Whether the row called `root` has the value of a column that is of the type of the anchored table's own."""
    return is_parent(
        ColumnPair(column, anchored.root), identifier(root, anchored.root.name), identifier(alias, column.name)
    )
