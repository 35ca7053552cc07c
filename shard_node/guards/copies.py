"""Copies of parents' columns: the triggers that take them, and those that keep them true.

A child takes its copies, before it is stored, from its parent or from the parent's shadow on its own shard, which has
the copied columns too. Whoever changes one of them locks the row FOR UPDATE first, so that every child has been stored
or waits; then a trigger on the parent, or on the shadow, changes the children. How a parent's change comes to shadows
on other shards is told by docs/copies.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from psycopg import sql

from crosskey.catalog.model import Column, ForeignKey, TableName
from crosskey.catalog.plan import Copy, Plan, ReferencedKey
from crosskey.internal.v1.effects_pb2 import Effect
from crosskey.shard_node.guards.bodies import body
from crosskey.shard_node.guards.pin_places import PIN_SHARD
from crosskey.shard_node.guards.triggers import (
    AFTER_ALL_OTHERS,
    COORDINATED,
    GUARDS_FIRST,
    NOTES_FIRST,
    changed,
    trigger_function,
)
from crosskey.shard_node.postgres import postgres_errors
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.key_columns import column_pairs, is_child, is_parent, same_key
from crosskey.shard_node.sql_text.sql_names import column_list, function_identifier, table_identifier
from crosskey.shard_node.sql_text.travelling_keys import travelling_key

COPIES_AS_THEY_ARE = b"SET LOCAL crosskey.copying = 'on'"
"""Said before rows are stored again that were stored before: their snapshots stay what they are."""

COPIES_ARE_TAKEN = b"SET LOCAL crosskey.copying = 'off'"

SNAPSHOTS_ARE_GIVEN = b"SET LOCAL crosskey.loading = 'on'"
"""Said before rows are loaded, which may bring the snapshots that were taken where they come from."""

SNAPSHOTS_ARE_TAKEN = b"SET LOCAL crosskey.loading = 'off'"

_LOADS = "coalesce(current_setting('crosskey.loading', true), '') = 'on'"
_AS_IS = "coalesce(current_setting('crosskey.copying', true), '') = 'on'"
WAITS = "coalesce(current_setting('crosskey.copies_wait', true), '') = 'on'"
"""Set where a row of the transaction came before its parent."""

_TAKING = f"{AFTER_ALL_OTHERS}copies"
_LOCKING = f"{AFTER_ALL_OTHERS}revised"
"""Later by its name: a copy may be copied, and is to have its value by then."""


def copy_statements(plan: Plan, shard: int) -> Iterable[sql.Composed]:
    """All the DDL that keeps the copies of a schema."""
    for table, those in groupby(plan.copies, lambda copy: copy.table):
        yield from _taking_triggers(plan, table, [*those], shard)
    for parent in sorted({copy.parent for copy in plan.copies}):
        copies = [copy for copy in plan.copies if copy.parent == parent]
        yield from _locking_trigger(parent, _copied(copies))
        yield from _spreading_triggers(plan, parent, [copy for copy in copies if copy.referenced_key is None])
    for referenced in plan.referenced_keys:
        if referenced.copied:
            copies = [copy for copy in plan.copies if copy.referenced_key == referenced.id]
            yield from _locking_trigger(referenced.shadow, referenced.copied)
            yield from _spreading_triggers(plan, referenced.shadow, copies)
            yield from _telling_triggers(plan, referenced)


def _taking_triggers(plan: Plan, table: TableName, copies: Sequence[Copy], shard: int) -> Iterable[sql.Composed]:
    """What children do before they are stored.

    What is NOT NULL may be NULL as long as the parent has not been found; the triggers refuse it afterwards.
    """
    for copy in copies:
        if _column(plan, copy.table, copy.column).not_null:
            yield sql.SQL("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL").format(
                table_identifier(table), identifier(copy.column)
            )
    by_key = [(key, [*those]) for key, those in groupby(sorted(copies, key=_constraint), _constraint)]
    keys = {key.foreign_key.name: key.foreign_key for key in plan.keys_of(table)}
    watched = dict.fromkeys([*(name for key, _ in by_key for name in keys[key].columns), *_columns(copies)])
    for event, condition in (
        ("INSERT", sql.SQL("true")),
        ("UPDATE", changed([*watched])),
    ):
        taken = [_take(plan, keys[key], those, event, shard) for key, those in by_key]
        yield from _row_trigger(_TAKING, table, f"BEFORE {event}", condition, taken)


def _take(plan: Plan, key: ForeignKey, copies: Sequence[Copy], event: str, shard: int) -> sql.Composed:
    target = _target(plan, copies[0])
    return body(
        "take_copies",
        key=column_list(key.columns, alias="new"),
        as_is=sql.SQL(_AS_IS),
        loads=sql.SQL(_LOADS),
        set=_is_set(plan, key, target, event),
        target=table_identifier(target),
        same=_parent_of(plan, key, "new"),
        note=_note_unseen(copies[0], shard),
        copies=sql.SQL("\n").join(_take_one(plan, copy, event) for copy in copies),
    )


def _is_set(plan: Plan, key: ForeignKey, target: TableName, event: str) -> sql.Composed:
    """Whether the key is newly set, and not by an action that follows the same parent."""
    if event == "INSERT":
        return sql.SQL("true").format()
    return sql.SQL("{changed} AND (pg_trigger_depth() = 1 OR EXISTS (SELECT FROM {target} p WHERE {same}))").format(
        changed=changed(key.columns), target=table_identifier(target), same=_parent_of(plan, key, "old")
    )


def _note_unseen(copy: Copy, shard: int) -> sql.Composable:
    """The row is answered before its copies are known, so the parents are to be looked for first."""
    if copy.referenced_key is None:
        return sql.SQL("")
    return sql.SQL(
        "IF {} THEN INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)"
        " VALUES ({}, {}, {}, 'null'); END IF;"
    ).format(
        sql.SQL(COORDINATED),
        literal(Effect.COPIES_UNSEEN_FIELD_NUMBER),
        literal(copy.referenced_key),
        literal(shard),
    )


def _take_one(plan: Plan, copy: Copy, event: str) -> sql.Composed:
    new, old = identifier("new", copy.column), identifier("old", copy.column)
    inserts = event == "INSERT"
    is_new = sql.SQL("" if inserts else " AND record_image_ne(ROW({}), ROW({}))").format(old, new)
    return body(
        "take_live_copy" if copy.live else "take_snapshot",
        given=sql.SQL("num_nulls({}) = 0{}").format(new, is_new),
        new=new,
        before=sql.NULL if inserts else old,
        value=identifier("crosskey_parent", copy.parent_column),
        fixed=sql.SQL("false" if copy.overridable else "NOT crosskey_loads"),
        moved=literal(inserts and copy.referenced_key is None),
        message=literal(_message(copy)),
        hint=literal(_hint(copy)),
        names=_names(copy),
        not_null=_refuse_null(plan, copy),
    )


def _message(copy: Copy) -> str:
    kind = "a copy" if copy.live else "a snapshot"
    return f'"{copy.column}" of "{copy.table}" is {kind} of "{copy.parent_column}" of "{copy.parent}", not to be given'


def _hint(copy: Copy) -> str:
    if copy.live:
        return f'Leave it out. It changes with "{copy.parent_column}" of the row that "{copy.constraint}" names.'
    return f'Leave it out. It is taken when the columns of "{copy.constraint}" are set, and stays as it is then.'


def _names(copy: Copy) -> sql.Composed:
    return sql.SQL("SCHEMA = {}, TABLE = {}, COLUMN = {}").format(
        literal(copy.table.schema), literal(copy.table.name), literal(copy.column)
    )


def _refuse_null(plan: Plan, copy: Copy) -> sql.Composable:
    """What a column is refused that is NOT NULL, unless its parent may still come."""
    if not _column(plan, copy.table, copy.column).not_null:
        return sql.SQL("")
    return sql.SQL("IF num_nulls({}) > 0 AND (crosskey_found OR NOT crosskey_names) THEN {} END IF;").format(
        identifier("new", copy.column), _say_null(copy)
    )


def _say_null(copy: Copy) -> sql.Composed:
    message = f'null value in column "{copy.column}" of relation "{copy.table.name}" violates not-null constraint'
    return sql.SQL("RAISE not_null_violation USING MESSAGE = {}, {};").format(literal(message), _names(copy))


def _locking_trigger(target: TableName, copied: Sequence[str]) -> Iterable[sql.Composed]:
    """Whoever changes what is copied waits for the children that are just being stored, and they for him."""
    lock = sql.SQL("PERFORM FROM {} t WHERE t.ctid = old.ctid FOR UPDATE;").format(table_identifier(target))
    yield from _row_trigger(_LOCKING, target, "BEFORE UPDATE", changed(copied), [lock])


def _spreading_triggers(plan: Plan, target: TableName, copies: Sequence[Copy]) -> Iterable[sql.Composed]:
    """What a parent on the same shard, or a shadow, does about its children: with new values, or when it comes late."""
    if not copies:
        return
    keys = {(key.foreign_key.table, key.foreign_key.name): key.foreign_key for key in plan.keys}
    by_key = groupby(sorted(copies, key=_key_name), _key_name)
    updates = [_spread(plan, keys[name], [*those]) for name, those in by_key]
    spread = [body("spread_copies", waits=sql.SQL(WAITS), updates=sql.SQL("\n").join(updates))]
    revised = sql.SQL("{} OR {}").format(changed(_copied(copies)), sql.SQL(WAITS))
    yield from _row_trigger("crosskey_spread", target, "AFTER UPDATE", revised, spread)
    yield from _row_trigger("crosskey_spread", target, "AFTER INSERT", sql.SQL(WAITS), spread)


def _spread(plan: Plan, key: ForeignKey, copies: Sequence[Copy]) -> sql.Composed:
    child, same = table_identifier(key.table), _child_of(plan, key)
    update = body(
        "spread_to_children",
        child=child,
        same=same,
        assigned=sql.SQL(", ").join(_assigned(copy) for copy in copies),
        outdated=sql.SQL(" OR ").join(_outdated(copy) for copy in copies),
    )
    refusals = [
        body(
            "refuse_absent_copies",
            child=child,
            same=same,
            copy=identifier("c", copy.column),
            value=identifier("new", copy.parent_column),
            refuse=_say_null(copy),
        )
        for copy in copies
        if _column(plan, copy.table, copy.column).not_null
    ]
    return sql.SQL("\n").join([update, *refusals])


def _assigned(copy: Copy) -> sql.Composed:
    """A snapshot that was taken stays."""
    late = "CASE WHEN crosskey_waits AND num_nulls({copy}) > 0 THEN {value} ELSE {copy} END"
    return sql.SQL("{column} = " + ("{value}" if copy.live else late)).format(
        column=identifier(copy.column),
        copy=identifier("c", copy.column),
        value=identifier("new", copy.parent_column),
    )


def _outdated(copy: Copy) -> sql.Composed:
    """Whether the copy of the row called c is not what it is to be; who waits for no value is refused afterwards."""
    differs = "record_image_ne(ROW({copy}), ROW({value}))"
    late = "crosskey_waits AND num_nulls({copy}) > 0 AND num_nulls({value}) = 0"
    return sql.SQL(differs if copy.live else late).format(
        copy=identifier("c", copy.column), value=identifier("new", copy.parent_column)
    )


def _telling_triggers(plan: Plan, referenced: ReferencedKey) -> Iterable[sql.Composed]:
    """What a parent does about its shadows: it notes them, and outside of coordinated transactions it refuses."""
    pin, same = table_identifier(referenced.pin), same_key(referenced, "p", "new")
    note = body(
        "note_revised",
        kind=literal(Effect.REVISE_SHADOWS_FIELD_NUMBER),
        id=literal(referenced.id),
        pin_shard=identifier(PIN_SHARD),
        key=travelling_key(referenced, "new"),
        pin=pin,
        same=same,
    )
    refuse = body(
        "refuse_new_copies",
        pin=pin,
        same=same,
        elsewhere=literal(postgres_errors.ELSEWHERE),
        hint=literal("Write through the router."),
    )
    place = plan.referenced_keys_of(referenced.parent).index(referenced)
    is_changed, coordinated = changed(referenced.copied), sql.SQL(COORDINATED)
    for name, condition, what in (
        # By its name after the trigger that moves the pins to a new key.
        (f"{NOTES_FIRST}revised_{place}", coordinated, note),
        (f"{GUARDS_FIRST}revised_{place}", sql.SQL("NOT {}").format(coordinated), refuse),
    ):
        condition = sql.SQL("{} AND {}").format(is_changed, condition)
        yield from _row_trigger(name, referenced.parent, "AFTER UPDATE", condition, [what])


def _row_trigger(
    name: str, table: TableName, when: str, condition: sql.Composable, what: Sequence[sql.Composable]
) -> Iterable[sql.Composed]:
    """A trigger for each row that meets the condition, with a function of its own."""
    purpose = f"{name.strip('!~')}_{when.split()[1].lower()}"
    yield trigger_function(purpose, table, what, answer="NEW")
    yield sql.SQL("CREATE TRIGGER {} {} ON {} FOR EACH ROW WHEN ({}) EXECUTE FUNCTION {}()").format(
        identifier(f"{name}_{when.split()[1].lower()}"),
        sql.SQL(when),
        table_identifier(table),
        condition,
        function_identifier(purpose, table),
    )


def _target(plan: Plan, copy: Copy) -> TableName:
    """Where children look for what they copy: the parent, or its shadow."""
    return copy.parent if copy.referenced_key is None else plan.referenced_key(copy.referenced_key).shadow


def _parent_of(plan: Plan, key: ForeignKey, row: str) -> sql.Composed:
    """Whether the row called p has the key that a trigger's row names."""
    return sql.SQL(" AND ").join(
        is_parent(pair, identifier("p", pair.parent.name), identifier(row, pair.child.name))
        for pair in column_pairs(plan, key)
    )


def _child_of(plan: Plan, key: ForeignKey) -> sql.Composed:
    """Whether the row called c names the new row of a trigger on its parent."""
    return sql.SQL(" AND ").join(
        is_child(pair, identifier("c", pair.child.name), identifier("new", pair.parent.name))
        for pair in column_pairs(plan, key)
    )


def _columns(copies: Iterable[Copy]) -> list[str]:
    return [copy.column for copy in copies]


def _copied(copies: Iterable[Copy]) -> list[str]:
    return sorted({copy.parent_column for copy in copies})


def _constraint(copy: Copy) -> str:
    return copy.constraint


def _key_name(copy: Copy) -> tuple[TableName, str]:
    return copy.table, copy.constraint


def _column(plan: Plan, table: TableName, name: str) -> Column:
    return plan.own_table(table).table.own_column(name)
