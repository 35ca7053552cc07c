"""Carrying out the actions of eventual keys for children of dead shadows, a batch at a time.

Nearly always one statement does a batch. If it fails, each half of the rows is tried by itself, down to those that
cannot be cleaned up: a trigger raises, a CHECK forbids it, or a row that goes along is locked. These are left, and keep
no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import psycopg
import structlog
from psycopg import sql

from crosskey.catalog.eventual import CHANGING
from crosskey.catalog.model import ForeignKey
from crosskey.catalog.plan import KeyPlan, Plan, ReferencedKey
from crosskey.shard_node.guards.dead_shadows import among_dead, eventual_keys
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import is_passing
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.sql_names import table_identifier

MAX_LEFT = 20
"""Rows of a batch that may be left until the rest of it is left, too: the next batch is another choice of rows."""

_SHORT_WAITS = b"SET LOCAL lock_timeout = '20ms'"

_Place = tuple[str, int]
"""Where a row is stored: its ctid, as text, and its table, which may be a partition."""

_log = structlog.get_logger(__name__)


async def clean_children(connection: Connection, plan: Plan, referenced: ReferencedKey, limit: int) -> int:
    """Carries out the actions of the keys for some children of dead shadows; how many.

    Locked rows are passed over, and rows that cannot be cleaned up are left. Raises what says nothing of a row.
    """
    cleaned = 0
    for key in eventual_keys(plan, referenced):
        if cleaned < limit:
            cleaned += await _clean(connection, plan, key, limit - cleaned)
    return cleaned


async def _clean(connection: Connection, plan: Plan, key: KeyPlan, limit: int) -> int:
    try:
        async with connection.transaction():
            cursor = await connection.execute(_clean_text(plan, key), (limit,))
            return max(cursor.rowcount, 0)
    except psycopg.Error as error:
        if not _is_of_a_row(connection, error):
            raise
    cursor = await connection.execute("SELECT current_setting('lock_timeout')")
    [(timeout,)] = await cursor.fetchall()
    await connection.execute(_SHORT_WAITS, prepare=False)
    cursor = await connection.execute(_choose_text(plan, key), (limit,))
    places: list[_Place] = await cursor.fetchall()
    left: list[_Place] = []
    cleaned = await _clean_halves(connection, key.foreign_key, places, left)
    await connection.execute("SELECT set_config('lock_timeout', %s, true)", (timeout,))
    return cleaned


async def _clean_halves(connection: Connection, key: ForeignKey, places: Sequence[_Place], left: list[_Place]) -> int:
    """How many of the rows at these places, which are locked, were cleaned up; adds what cannot be to `left`."""
    if not places or len(left) >= MAX_LEFT:
        return 0
    try:
        async with connection.transaction():
            parameters = [place for place, _ in places], [part for _, part in places]
            cursor = await connection.execute(_clean_places_text(key), parameters)
            return max(cursor.rowcount, 0)
    except psycopg.Error as error:
        if not _is_of_a_row(connection, error):
            raise
        if len(places) == 1:
            left.append(places[0])
            _log.warning(
                "a row cannot be cleaned up; it stays hidden, and is tried again",
                table=str(key.table),
                constraint=key.name,
                error=error.diag.message_primary,
            )
            return 0
    half = len(places) // 2
    cleaned = await _clean_halves(connection, key, places[:half], left)
    return cleaned + await _clean_halves(connection, key, places[half:], left)


def _is_of_a_row(connection: Connection, error: psycopg.Error) -> bool:
    """Whether other rows may be cleaned up although these are not."""
    return not connection.broken and (isinstance(error, psycopg.errors.LockNotAvailable) or not is_passing(error))


@lru_cache
def _clean_text(plan: Plan, key: KeyPlan) -> bytes:
    """The action for a number of children, whichever are found first."""
    text = sql.SQL(
        "WITH due AS MATERIALIZED (SELECT c.ctid AS place, c.tableoid AS part FROM {child} c WHERE {dead}"
        " LIMIT %s FOR UPDATE OF c SKIP LOCKED) {action}"
    )
    return text.format(**_names(plan, key), action=_action(key.foreign_key)).as_bytes()


@lru_cache
def _choose_text(plan: Plan, key: KeyPlan) -> bytes:
    """Locks a number of children, by chance, so that those that cannot be cleaned up are not always the first."""
    text = sql.SQL(
        "SELECT c.ctid::text, c.tableoid::bigint FROM {child} c WHERE {dead}"
        " ORDER BY random() LIMIT %s FOR UPDATE OF c SKIP LOCKED"
    )
    return text.format(**_names(plan, key)).as_bytes()


@lru_cache
def _clean_places_text(key: ForeignKey) -> bytes:
    """The action for the children at the given places."""
    text = sql.SQL(
        "WITH due AS MATERIALIZED (SELECT place, part FROM"
        " unnest(%s::text[]::tid[], %s::bigint[]::oid[]) AS given(place, part))"
        " {action}"
    )
    return text.format(action=_action(key)).as_bytes()


def _names(plan: Plan, key: KeyPlan) -> dict[str, sql.Composable]:
    return {"child": table_identifier(key.foreign_key.table), "dead": sql.SQL(among_dead(plan, key, "c"))}


def _action(key: ForeignKey) -> sql.Composed:
    """The key's action for the rows whose places are in `due`.

    They are locked, so their places hold. One that has changed meanwhile has a new place, and its turn later.
    """
    action = sql.SQL("DELETE FROM {child} c USING due").format(child=table_identifier(key.table))
    if key.on_delete in CHANGING:
        value = sql.SQL("NULL" if key.on_delete == "SET NULL" else "DEFAULT")
        columns = key.on_delete_columns or key.columns
        changes = sql.SQL(", ").join(sql.SQL("{} = {}").format(identifier(one), value) for one in columns)
        action = sql.SQL("UPDATE {child} c SET {changes} FROM due").format(
            child=table_identifier(key.table), changes=changes
        )
    return sql.SQL("{} WHERE c.ctid = due.place AND c.tableoid = due.part").format(action)
