"""What parents with pins do when they go, move or get new keys, as SQL of triggers."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from crosskey.catalog.model import Table, TableName
from crosskey.catalog.plan import Plan, ReferencedKey, TablePlan
from crosskey.internal.v1.effects_pb2 import Effect
from crosskey.shard_node.guards.bodies import body
from crosskey.shard_node.guards.claims import claim_shard
from crosskey.shard_node.guards.pin_places import PIN_SHARD, pinning_shard
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
from crosskey.shard_node.sql_text.key_columns import same_key
from crosskey.shard_node.sql_text.sql_names import column_list, function_identifier, table_identifier
from crosskey.shard_node.sql_text.travelling_keys import travelling_key

_IN_COORDINATED = sql.SQL(COORDINATED)
_IN_OTHERS = sql.SQL("NOT {}").format(_IN_COORDINATED)
_HINT = literal("Write through the router.")


def incoming_keys(plan: Plan, table: TableName) -> list[ReferencedKey]:
    """The table's keys by which rows on other shards reference its own."""
    return [key for key in plan.referenced_keys if key.parent == table]


def departure_triggers(plan: Plan, name: TableName, shards: int) -> Iterable[sql.Composed]:
    """What is noted of parents that go. What has a claim is told by the claim's own triggers."""
    incoming = [key for key in incoming_keys(plan, name) if key.claim is None]
    if incoming:
        departures = [_note_departed(plan, key, shards) for key in incoming]
        yield from statement_trigger("departed", name, "DELETE", "OLD TABLE AS old_rows", departures)


def new_key_triggers(plan: Plan, name: TableName) -> Iterable[sql.Composed]:
    """What is noted, or refused, of parents that get new keys; without those that claims stand for."""
    incoming = [key for key in incoming_keys(plan, name) if key.claim is None]
    for place, referenced in enumerate(incoming):
        note, refuse = _note_rekeyed(referenced), _refuse_new_key(referenced)
        yield from _new_key_trigger(f"{NOTES_FIRST}rekeyed_{place}", name, referenced, _IN_COORDINATED, note)
        # PostgreSQL's own check of the pin comes first.
        yield from _new_key_trigger(f"crosskey_kept_key_{place}", name, referenced, _IN_OTHERS, refuse)


def triggers_of_claimed(plan: Plan, table: TablePlan, shard: int, shards: int) -> Iterable[sql.Composed]:
    """For keys whose claims stand for the table's rows: what goes is told by the claims' own triggers."""
    name = table.table.name
    incoming = [key for key in incoming_keys(plan, name) if key.claim is not None]
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


def _note_departed(plan: Plan, referenced: ReferencedKey, shards: int) -> sql.Composed:
    if referenced.eventual:
        return _note_deserted(plan, referenced, shards)
    return body(
        "note_departed",
        pin=table_identifier(referenced.pin),
        same=same_key(referenced, "p", "o"),
        relocating=sql.SQL(RELOCATING),
        moved=literal(Effect.RESTORE_PINS_FIELD_NUMBER),
        deleted=literal(Effect.DELETE_SHADOWS_FIELD_NUMBER),
        id=literal(referenced.id),
        new_shard=pinning_shard(plan, referenced, "gone", shards),
        pin_shard=identifier(PIN_SHARD),
        key=travelling_key(referenced, "gone"),
    )


def _note_deserted(plan: Plan, referenced: ReferencedKey, shards: int) -> sql.Composed:
    return body(
        "note_deserted",
        pin=table_identifier(referenced.pin),
        departed=table_identifier(referenced.departed),
        columns=column_list(referenced.columns),
        same=same_key(referenced, "p", "o"),
        relocating=sql.SQL(RELOCATING),
        moved=literal(Effect.RESTORE_PINS_FIELD_NUMBER),
        id=literal(referenced.id),
        new_shard=pinning_shard(plan, referenced, "gone", shards),
        pin_shard=identifier(PIN_SHARD),
        key=travelling_key(referenced, "gone"),
    )


def _note_rekeyed(referenced: ReferencedKey) -> sql.Composed:
    return body(
        "note_rekeyed",
        columns=column_list(referenced.columns),
        new_columns=column_list(referenced.columns, alias="new"),
        pin=table_identifier(referenced.pin),
        same=same_key(referenced, "p", "old"),
        kind=literal(Effect.REKEY_SHADOWS_FIELD_NUMBER),
        id=literal(referenced.id),
        pin_shard=identifier(PIN_SHARD),
        old=travelling_key(referenced, "old"),
        new=travelling_key(referenced, "new"),
    )


def _refuse_new_key(referenced: ReferencedKey) -> sql.Composed:
    pin, same = table_identifier(referenced.pin), same_key(referenced, "p", "old")
    return body("refuse_new_key", pin=pin, same=same, hint=_HINT)


def _note_revalued(table: Table, referenced: ReferencedKey, shards: int) -> sql.Composed:
    return body(
        "note_revalued",
        old_columns=column_list(referenced.columns, alias="old"),
        kind=literal(Effect.CHANGE_VALUES_FIELD_NUMBER),
        id=literal(referenced.id),
        place=_place_of_claim(table, referenced, shards),
        old=travelling_key(referenced, "old"),
        new=travelling_key(referenced, "new"),
    )


def _refuse_new_values(table: Table, referenced: ReferencedKey, shard: int, shards: int) -> sql.Composed:
    return body(
        "refuse_new_values",
        old_columns=column_list(referenced.columns, alias="old"),
        place=_place_of_claim(table, referenced, shards),
        shard=literal(shard),
        pin=table_identifier(referenced.pin),
        same=same_key(referenced, "p", "old"),
        elsewhere=literal(postgres_errors.ELSEWHERE),
        hint=_HINT,
    )


def _place_of_claim(table: Table, referenced: ReferencedKey, shards: int) -> sql.Composed:
    assert referenced.claim is not None, f"no claim stands for rows with {referenced.id}"
    return claim_shard(referenced.claim, table, "old", shards)


def pinned(referenced: ReferencedKey) -> sql.Composed:
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
