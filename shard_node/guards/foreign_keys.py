"""Shadows, pins and effects: the SQL that makes a foreign key cross shards.

On the child's shard each child's foreign key points to a *shadow*, on the parent's shard each referencing shard holds a
*pin*. Triggers note in `crosskey.effect` what a statement means for other shards; they do so only in a coordinated
transaction (`crosskey.coordinated = 'on'`). In any other one, the same foreign keys and checks simply refuse.

Statements are to be executed with parameters, if only an empty sequence of them (see sql_text/identifiers.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from psycopg import sql

from crosskey.catalog.model import Column, ForeignKey, Table, TableName
from crosskey.catalog.plan import KeyPlan, Plan, ReferencedKey, TablePlan
from crosskey.internal.v1.effects_pb2 import Effect
from crosskey.shard_node.guards import error_guards, led_rows, reference_guards, rekeying, sweep_guards
from crosskey.shard_node.guards.claims import claim_shard, claim_statements
from crosskey.shard_node.guards.event_triggers import event_triggers
from crosskey.shard_node.guards.pin_places import CLAIMANT, PIN_SHARD, held_columns, pinning_shard, target_columns
from crosskey.shard_node.guards.references import distinct_references, reference, translation_functions
from crosskey.shard_node.guards.triggers import (
    COORDINATED,
    GUARDS_FIRST,
    NOTES_FIRST,
    RELOCATING,
    changed,
    statement_trigger,
    trigger_function,
)
from crosskey.shard_node.postgres import postgres_errors
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.key_columns import column_pairs, is_child, same_key
from crosskey.shard_node.sql_text.slot_expressions import shard_of, slot_of
from crosskey.shard_node.sql_text.sql_names import column_list, function_identifier, json_object, table_identifier
from crosskey.shard_node.sql_text.travelling_keys import travelling_key

PIN_CONSTRAINT = "crosskey_pinned"

_MISSING = Effect.PIN_PARENTS_FIELD_NUMBER
_DELETED = Effect.DELETE_SHADOWS_FIELD_NUMBER
_REKEYED = Effect.REKEY_SHADOWS_FIELD_NUMBER
_PINS_MOVED = Effect.RESTORE_PINS_FIELD_NUMBER
_VALUES_CHANGED = Effect.CHANGE_VALUES_FIELD_NUMBER
_DISPLACED = Effect.TAKE_OUT_DISPLACED_FIELD_NUMBER

_IN_COORDINATED = sql.SQL(COORDINATED)
_IN_OTHERS = sql.SQL("NOT {}").format(_IN_COORDINATED)

_ARRIVALS = {"INSERT": "NEW TABLE AS new_rows", "UPDATE": "NEW TABLE AS new_rows OLD TABLE AS old_rows"}
"""How rows come, or come to reference others, and what a trigger sees of it."""


def guard_statements(plan: Plan, shard: int, shards: int) -> Iterable[sql.Composed]:
    """All the DDL that turns the user's tables, just created, into those of a shard."""
    # First, as pins may hold claims.
    yield from claim_statements(plan, shard, shards)
    for schema in sorted({key.shadow.schema for key in plan.referenced_keys}):
        yield sql.SQL("CREATE SCHEMA {}").format(identifier(schema))
    for referenced in plan.referenced_keys:
        yield from _shadow_and_pin(plan, referenced)
    for key in plan.keys:
        yield from _deferrable(key) if key.kind == "local" else _repointed(plan, key)
        if key.kind == "cross-shard":
            yield from translation_functions(plan, key)
    for referenced in plan.referenced_keys:
        yield rekeying.create_function(referenced)
        yield from _shadow_triggers(plan, referenced, shards)
    for table in plan.tables:
        yield from _placement_checks(table, shard, shards)
        yield from _triggers(plan, table, shard, shards)
        yield from sweep_guards.guard_children(plan, table.table.name)
        yield from event_triggers(table, shard)
        if plan.catches_errors:
            yield from _error_guards(plan, table, shard, shards)


def _shadow_and_pin(plan: Plan, referenced: ReferencedKey) -> Iterable[sql.Composed]:
    names = {
        "shadow": table_identifier(referenced.shadow),
        "pin": table_identifier(referenced.pin),
        "parent": table_identifier(referenced.parent),
        "columns": column_list(referenced.columns),
        "pin_shard": identifier(PIN_SHARD),
        "claimant": sql.SQL("" if referenced.claim is None else ", 0 AS {}").format(identifier(CLAIMANT)),
        "pinned": identifier(PIN_CONSTRAINT),
        "held": column_list(held_columns(referenced)),
        "target": table_identifier(referenced.pinned),
        "target_columns": column_list(target_columns(referenced)),
    }
    # CREATE TABLE AS keeps types, modifiers and collations, and none of the parent's constraints and defaults.
    yield sql.SQL("CREATE TABLE {shadow} AS SELECT {columns} FROM {parent} WITH NO DATA").format(**names)
    # No PRIMARY KEY: a shadow whose parent's key becomes NULL is re-keyed before it goes, as ON UPDATE wants it.
    yield sql.SQL("ALTER TABLE {shadow} ADD {name}UNIQUE ({columns})").format(
        name=_unique_name(plan, referenced), **names
    )
    yield sql.SQL(
        "CREATE TABLE {pin} AS SELECT {columns}, 0 AS {pin_shard}{claimant} FROM {parent} WITH NO DATA"
    ).format(**names)
    yield sql.SQL(
        "ALTER TABLE {pin} ADD PRIMARY KEY ({held}, {pin_shard}),"
        " ADD CONSTRAINT {pinned} FOREIGN KEY ({held}) REFERENCES {target} ({target_columns})"
        " DEFERRABLE INITIALLY IMMEDIATE"
    ).format(**names)
    # TRUNCATE .. CASCADE of the parent would take its pins along.
    yield sql.SQL(
        "CREATE TRIGGER crosskey_kept BEFORE TRUNCATE ON {pin} EXECUTE FUNCTION crosskey.refuse_truncate()"
    ).format(**names)


def _unique_name(plan: Plan, referenced: ReferencedKey) -> sql.Composed:
    """CONSTRAINT and the name of the parent's own unique key: a new key that is taken may be met on a shadow first."""
    parent = plan.table(referenced.parent)
    keys = () if parent is None else parent.table.unique_keys
    names = [key.name for key in sorted(keys, key=lambda key: not key.primary) if key.columns == referenced.columns]
    return sql.SQL("CONSTRAINT {} ").format(identifier(names[0])) if names else sql.SQL("").format()


def _deferrable(key: KeyPlan) -> Iterable[sql.Composed]:
    """A NO ACTION check must be able to wait for cascades on other shards."""
    if not key.foreign_key.deferrable:
        yield sql.SQL("ALTER TABLE {} ALTER CONSTRAINT {} DEFERRABLE INITIALLY IMMEDIATE").format(
            table_identifier(key.foreign_key.table), identifier(key.foreign_key.name)
        )


def _repointed(plan: Plan, key: KeyPlan) -> Iterable[sql.Composed]:
    """The same constraint under the same name, onto the shadow instead of the parent."""
    foreign_key = key.foreign_key
    referenced = plan.referenced_key(key.referenced_key or "")
    table, name = table_identifier(foreign_key.table), identifier(foreign_key.name)
    yield sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(table, name)
    yield sql.SQL(
        "ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY ({columns}) REFERENCES {shadow} ({parent_columns})"
        " MATCH {match} ON DELETE {on_delete} ON UPDATE {on_update} DEFERRABLE INITIALLY {initially}"
    ).format(
        table=table,
        name=name,
        columns=column_list(foreign_key.columns),
        shadow=table_identifier(referenced.shadow),
        parent_columns=column_list(foreign_key.parent_columns),
        match=sql.SQL(foreign_key.match),
        on_delete=_delete_action(foreign_key),
        on_update=sql.SQL(foreign_key.on_update),
        initially=sql.SQL("DEFERRED" if foreign_key.initially_deferred else "IMMEDIATE"),
    )
    if foreign_key.comment is not None:
        yield sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}").format(name, table, literal(foreign_key.comment))


def _delete_action(foreign_key: ForeignKey) -> sql.Composed:
    action = sql.SQL(foreign_key.on_delete).format()
    if not foreign_key.on_delete_columns:
        return action
    return sql.SQL("{} ({})").format(action, column_list(foreign_key.on_delete_columns))


def _placement_checks(plan: TablePlan, shard: int, shards: int) -> Iterable[sql.Composed]:
    """Nobody, not even psql, can put a row on a shard that it does not belong to.

    In a coordinated transaction it may stand there until the end of the statement: then it is moved.
    """
    if plan.shard_key is None or plan.leader is not None:
        return  # Where a row is led, its foreign key does it.
    shard_key = _column(plan, plan.shard_key)
    checks = [
        # What is cheaper comes first: a hash costs several times as much, and a coordinated transaction needs none.
        sql.SQL("ADD CONSTRAINT {} CHECK ({} OR {} = {})").format(
            identifier(postgres_errors.PLACEMENT_CHECK),
            sql.SQL(COORDINATED),
            shard_of(shard_key, identifier(shard_key.name), shards),
            literal(shard),
        )
    ]
    if plan.slot_column is not None:
        slot_column = _column(plan, plan.slot_column)
        checks.append(
            sql.SQL("ADD CONSTRAINT {} CHECK ({} = {})").format(
                identifier(postgres_errors.SLOT_CHECK),
                slot_of(slot_column, identifier(slot_column.name)),
                slot_of(shard_key, identifier(shard_key.name)),
            )
        )
    yield sql.SQL("ALTER TABLE {} {}").format(table_identifier(plan.table.name), sql.SQL(", ").join(checks))


def _column(plan: TablePlan, name: str) -> Column:
    column = plan.table.column(name)
    assert column is not None, f"the plan names the column {name} of {plan.table.name}, which has none"
    return column


def _triggers(plan: Plan, table: TablePlan, shard: int, shards: int) -> Iterable[sql.Composed]:
    name = table.table.name
    outgoing = _outgoing(plan, name)
    incoming = [key for key in _incoming(plan, name) if key.claim is None]
    led = led_rows.led_table(plan, name)
    for event, transition in _ARRIVALS.items():
        notes = _notes_on_parents(plan, outgoing, event, shards)
        if led is not None:
            notes.append(led_rows.note_strays(plan, led, event, shards))
        elif table.shard_key is not None:
            notes.append(_note_misplaced(table.table, _column(table, table.shard_key), shard, shards))
        if notes:
            yield from statement_trigger("arrived", name, event, transition, notes)
    yield from led_rows.departure_triggers(plan, name, shards)
    yield from led_rows.lock_before_leaving(plan, table, shard, shards)
    if incoming:
        departures = [_note_departed(plan, key, shards) for key in incoming]
        yield from statement_trigger("departed", name, "DELETE", "OLD TABLE AS old_rows", departures)
    if table.placement == "reference" and shards > 1:
        yield from reference_guards.guard_copy(table.table)
    for place, referenced in enumerate(incoming):
        note, refuse = _note_rekeyed(referenced), _refuse_new_key(referenced)
        yield from _new_key_trigger(f"{NOTES_FIRST}rekeyed_{place}", name, referenced, _IN_COORDINATED, note)
        # PostgreSQL's own check of the pin comes first.
        yield from _new_key_trigger(f"crosskey_kept_key_{place}", name, referenced, _IN_OTHERS, refuse)
    yield from _triggers_of_claimed(plan, table, shard, shards)


def _triggers_of_claimed(plan: Plan, table: TablePlan, shard: int, shards: int) -> Iterable[sql.Composed]:
    """For keys whose claims stand for the table's rows: what goes is told by the claims' own triggers."""
    name = table.table.name
    incoming = [key for key in _incoming(plan, name) if key.claim is not None]
    for place, referenced in enumerate(incoming):
        note = _note_revalued(table.table, referenced, shards)
        yield from _new_key_trigger(f"{NOTES_FIRST}revalued_{place}", name, referenced, _IN_COORDINATED, note)
        refuse = _refuse_new_values(table.table, referenced, shard, shards)
        yield from _new_key_trigger(f"{GUARDS_FIRST}values_{place}", name, referenced, _IN_OTHERS, refuse)
    if incoming:
        # No foreign key is on this table that would refuse it.
        yield sql.SQL(
            "CREATE TRIGGER crosskey_kept BEFORE TRUNCATE ON {} EXECUTE FUNCTION crosskey.refuse_truncate()"
        ).format(table_identifier(name))


def _outgoing(plan: Plan, table: TableName) -> list[KeyPlan]:
    """The cross-shard keys by which the table's rows reference others."""
    return [key for key in plan.keys if key.kind == "cross-shard" and key.foreign_key.table == table]


def _incoming(plan: Plan, table: TableName) -> list[ReferencedKey]:
    """The table's keys by which rows on other shards reference its own."""
    return [key for key in plan.referenced_keys if key.parent == table]


def _notes_on_parents(plan: Plan, keys: Sequence[KeyPlan], event: str, shards: int) -> list[sql.Composed]:
    """What new or changed children do about their parents on other shards."""
    if event == "INSERT":
        return [_hold_or_note_missing(plan, key, shards) for key in keys]
    holds = [_hold_new_shadows(plan, key) for key in keys]
    return holds + [_note_missing(plan, key, shards) for key in keys]


def _hold_or_note_missing(plan: Plan, key: KeyPlan, shards: int) -> sql.Composed:
    """Locks the shadows that new children rely on, and notes the parents that have none here.

    A shadow is locked until the foreign key is checked and does so itself: it may have had no child before, and be
    dropped as unused meanwhile. One that went while it was waited for is missing. Whatever way PostgreSQL takes, a
    parent that is not noted was found among those held, so its shadow was locked.
    """
    referenced = plan.referenced_key(key.referenced_key or "")
    held = sql.SQL(
        "WITH k AS MATERIALIZED ({references}), held AS MATERIALIZED"
        " (SELECT {shadow_columns} FROM {shadow} s JOIN k ON {same} ORDER BY {shadow_columns} FOR KEY SHARE OF s)"
    ).format(
        references=distinct_references(plan, key.foreign_key, "new_rows"),
        shadow=table_identifier(referenced.shadow),
        same=same_key(referenced, "s", "k"),
        shadow_columns=column_list(referenced.columns, alias="s"),
    )
    note = _note_absent(plan, referenced, shards, sql.SQL("k"), sql.SQL("true"), sql.SQL("held"))
    return sql.SQL("{} {}").format(held, note)


def _hold_new_shadows(plan: Plan, key: KeyPlan) -> sql.Composed:
    """Locks the shadows that updated children newly rely on, as those of new children are.

    One that an updated row referenced already cannot be dropped, and is left alone.
    """
    referenced = plan.referenced_key(key.referenced_key or "")
    return sql.SQL(
        "PERFORM FROM {shadow} s JOIN ({references} EXCEPT {old}) k ON {same} ORDER BY {columns} FOR KEY SHARE OF s;"
    ).format(
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
    """Notes as missing those of the keys `wanted`, called k, that meet the condition and are not among `present`."""
    return sql.SQL(
        "INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)"
        " SELECT {kind}, {id}, {shard}, {key} FROM {wanted}"
        " WHERE ({condition}) AND NOT EXISTS (SELECT FROM {present} s WHERE {same});"
    ).format(
        kind=literal(_MISSING),
        id=literal(referenced.id),
        shard=pinning_shard(plan, referenced, "k", shards),
        key=travelling_key(referenced, "k"),
        wanted=wanted,
        condition=condition,
        present=present,
        same=same_key(referenced, "s", "k"),
    )


def _shadow_triggers(plan: Plan, referenced: ReferencedKey, shards: int) -> Iterable[sql.Composed]:
    """A NO ACTION key lets its parent go if it is back by the time of the check: its children ask for it once more."""
    keys = [key.foreign_key for key in plan.keys if key.referenced_key == referenced.id]
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


def _note_misplaced(table: Table, shard_key: Column, shard: int, shards: int) -> sql.Composed:
    """Notes the shard keys of rows that belong to another shard: all rows here that have them are to move there."""
    belongs = shard_of(shard_key, identifier("k", shard_key.name), shards)
    misplaced = sql.SQL(
        "SELECT {kind}, {table}, {belongs}, {key} FROM (SELECT DISTINCT n.{column} FROM new_rows n) k"
        " WHERE {belongs} <> {shard}"
    ).format(
        kind=literal(_DISPLACED),
        table=literal(table.name.qualified),
        belongs=belongs,
        key=json_object([shard_key.name], "k"),
        column=identifier(shard_key.name),
        shard=literal(shard),
    )
    return sql.SQL("{} INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key) {};").format(
        reference_guards.refuse_stray_rows(table, misplaced), misplaced
    )


def _note_departed(plan: Plan, referenced: ReferencedKey, shards: int) -> sql.Composed:
    """Removes the pins of parents that went and notes them: deleted ones, or ones that move to another shard.

    A trigger function sees what was committed while its statement waited; a CTE of the statement itself would not.
    """
    return sql.SQL(
        "WITH gone AS (DELETE FROM {pin} p USING old_rows o WHERE {same} RETURNING p.*)"
        " INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)"
        " SELECT CASE WHEN {relocating} THEN {moved} ELSE {deleted} END, {id},"
        " CASE WHEN {relocating} THEN {new_shard} ELSE gone.{pin_shard} END, {key}, to_json(gone.{pin_shard})"
        " FROM gone;"
    ).format(
        pin=table_identifier(referenced.pin),
        same=same_key(referenced, "p", "o"),
        relocating=sql.SQL(RELOCATING),
        moved=literal(_PINS_MOVED),
        deleted=literal(_DELETED),
        id=literal(referenced.id),
        new_shard=pinning_shard(plan, referenced, "gone", shards),
        pin_shard=identifier(PIN_SHARD),
        key=travelling_key(referenced, "gone"),
    )


def _note_rekeyed(referenced: ReferencedKey) -> sql.Composed:
    """Pins a parent's new key instead of the old one, and notes both.

    Row triggers fire in the order in which the rows were changed, so each new key is free of pins by then, as it was of
    rows. A row may change again before the node hears of it, and is found by its pin then. A key that became NULL
    references nothing and needs no pin.
    """
    return sql.SQL(
        "WITH gone AS (DELETE FROM {pin} p WHERE {same} RETURNING p.{pin_shard}),"
        " pinned AS (INSERT INTO {pin} ({columns}, {pin_shard}) SELECT {new_columns}, gone.{pin_shard} FROM gone"
        " WHERE num_nulls({new_columns}) = 0 ON CONFLICT DO NOTHING)"
        " INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)"
        " SELECT {kind}, {id}, gone.{pin_shard}, {old}, {new} FROM gone;"
    ).format(
        columns=column_list(referenced.columns),
        new_columns=column_list(referenced.columns, alias="new"),
        pin=table_identifier(referenced.pin),
        same=same_key(referenced, "p", "old"),
        kind=literal(_REKEYED),
        id=literal(referenced.id),
        pin_shard=identifier(PIN_SHARD),
        old=travelling_key(referenced, "old"),
        new=travelling_key(referenced, "new"),
    )


def _refuse_new_key(referenced: ReferencedKey) -> sql.Composed:
    """The pin itself refuses, but not a key that equals the old one and is only spelt differently, as 1.0 and 1.00."""
    return sql.SQL(
        "IF EXISTS (SELECT FROM {pin} p WHERE {same}) THEN"
        " RAISE foreign_key_violation USING MESSAGE = 'other shards reference this row', HINT = {hint};"
        " END IF;"
    ).format(
        pin=table_identifier(referenced.pin),
        same=same_key(referenced, "p", "old"),
        hint=literal("Write through the router."),
    )


def _note_revalued(table: Table, referenced: ReferencedKey, shards: int) -> sql.Composed:
    """Notes old and new key of a row that is known by its claim, for the shard where the pins on that claim are."""
    return sql.SQL(
        "IF num_nulls({old_columns}) = 0 THEN"
        " INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key, new_key)"
        " VALUES ({kind}, {id}, {place}, {old}, {new});"
        " END IF;"
    ).format(
        old_columns=column_list(referenced.columns, alias="old"),
        kind=literal(_VALUES_CHANGED),
        id=literal(referenced.id),
        place=_place_of_claim(table, referenced, shards),
        old=travelling_key(referenced, "old"),
        new=travelling_key(referenced, "new"),
    )


def _refuse_new_values(table: Table, referenced: ReferencedKey, shard: int, shards: int) -> sql.Composed:
    """Only a key without pins may change, and only the shard with its claim knows whether there are."""
    return sql.SQL(
        "IF num_nulls({old_columns}) = 0 AND ({place} <> {shard} OR EXISTS (SELECT FROM {pin} p WHERE {same})) THEN"
        " RAISE assert_failure USING MESSAGE = 'other shards may reference this row', CONSTRAINT = {elsewhere},"
        " HINT = {hint};"
        " END IF;"
    ).format(
        old_columns=column_list(referenced.columns, alias="old"),
        place=_place_of_claim(table, referenced, shards),
        shard=literal(shard),
        pin=table_identifier(referenced.pin),
        same=same_key(referenced, "p", "old"),
        elsewhere=literal(postgres_errors.ELSEWHERE),
        hint=literal("Write through the router."),
    )


def _place_of_claim(table: Table, referenced: ReferencedKey, shards: int) -> sql.Composed:
    assert referenced.claim is not None, f"no claim stands for rows with {referenced.id}"
    return claim_shard(referenced.claim, table, "old", shards)


def _error_guards(plan: Plan, table: TablePlan, shard: int, shards: int) -> Iterable[sql.Composed]:
    name = table.table.name
    outgoing, incoming = _outgoing(plan, name), _incoming(plan, name)
    led = led_rows.led_table(plan, name)
    unmet = [*(_unshadowed(plan, key) for key in outgoing), *([] if led is None else [led_rows.is_stray(led)])]
    if unmet:
        yield from error_guards.guard_children(name, unmet)
    if incoming:
        yield from error_guards.guard_parents(name, [_pinned(key) for key in incoming])
    if led is None and table.shard_key is not None:
        shard_key = table.shard_key_column
        belongs = shard_of(shard_key, identifier("new", shard_key.name), shards)
        yield from error_guards.guard_place(name, sql.SQL("{} <> {}").format(belongs, literal(shard)))


def _unshadowed(plan: Plan, key: KeyPlan) -> sql.Composed:
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


def _pinned(referenced: ReferencedKey) -> sql.Composed:
    """Whether the old row is pinned by a key that the new one, if there is one, does not have."""
    return sql.SQL("{changed} AND EXISTS (SELECT FROM {pin} p WHERE {same})").format(
        changed=changed(referenced.columns),
        pin=table_identifier(referenced.pin),
        same=same_key(referenced, "p", "old"),
    )


def _new_key_trigger(
    name: str, table: TableName, referenced: ReferencedKey, mode: sql.Composable, body: sql.Composable
) -> Iterable[sql.Composed]:
    """What is done about new keys in transactions of a mode.

    A row trigger, since transition tables do not tell which new row was which old one. It fires where the key is not
    the same byte by byte, for then PostgreSQL carries out ON UPDATE too.
    """
    purpose = name.strip("!")
    yield trigger_function(purpose, table, [body])
    yield sql.SQL(
        "CREATE TRIGGER {name} AFTER UPDATE ON {table} FOR EACH ROW WHEN ({changed} AND {mode})"
        " EXECUTE FUNCTION {function}()"
    ).format(
        name=identifier(name),
        table=table_identifier(table),
        changed=changed(referenced.columns),
        mode=mode,
        function=function_identifier(purpose, table),
    )
