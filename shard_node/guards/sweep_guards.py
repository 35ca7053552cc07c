"""What keeps the dropping of unused shadows from changing a row of the user's, whatever the action of a key is.

An unused shadow is deleted, and a row that referenced it after all would be cascaded away or set to NULL. So while
shadows are dropped, a trigger on their children refuses every change of a row. That does not depend on how it was found
out that a shadow is unused. The dropping itself is in writing/unused_shadows.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from psycopg import sql

from crosskey.catalog.model import ForeignKey, TableName
from crosskey.catalog.plan import Plan, ReferencedKey
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.sql_text.identifiers import literal
from crosskey.shard_node.sql_text.sql_names import table_identifier

BEGIN_DROPPING = b"SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL crosskey.dropping = 'on'"
"""Said before unused shadows are deleted: keys without an action refuse at once then, and so do the triggers."""

END_DROPPING = b"SET LOCAL crosskey.dropping = 'off'"

_DROPPING = "coalesce(current_setting('crosskey.dropping', true), '') = 'on'"

_ON_DELETE, _ON_UPDATE = 8, 16
"""The bits of pg_trigger.tgtype for the events."""

_EVENTS = {"CASCADE": _ON_DELETE, "SET NULL": _ON_UPDATE, "SET DEFAULT": _ON_UPDATE}
"""What an ON DELETE action does to children; the others only look at them."""

_RULE_EVENTS = {_ON_DELETE: "4", _ON_UPDATE: "2"}
"""pg_rewrite.ev_type for the same events."""


def guard_children(plan: Plan, table: TableName) -> Iterable[sql.Composed]:
    """The trigger on a table whose rows a dropped shadow could change."""
    if any(key.table == table for key in _acting_keys(plan)):
        # After the change, as a trigger before it would lock the row of every update and delete. It can still refuse.
        yield sql.SQL(
            "CREATE TRIGGER crosskey_not_dropped AFTER UPDATE OR DELETE ON {} FOR EACH ROW WHEN ({})"
            " EXECUTE FUNCTION crosskey.refuse_change_by_dropping()"
        ).format(table_identifier(table), sql.SQL(_DROPPING))


async def may_be_dropped(connection: Connection, plan: Plan, referenced: ReferencedKey) -> bool:
    """Whether nothing of the user's runs when an unused shadow is deleted.

    An action is a statement, if one that finds no row: triggers FOR EACH STATEMENT fire for it, and rules rewrite it.
    """
    keys = [key for key in _acting_keys(plan) if _references(plan, key, referenced)]
    if not keys:
        return True
    unasked = sql.SQL(" UNION ALL ").join(_run_unasked(key.table, _EVENTS[key.on_delete]) for key in keys)
    cursor = await connection.execute(sql.SQL("SELECT NOT EXISTS ({})").format(unasked), ())
    [(may_be,)] = await cursor.fetchall()
    return bool(may_be)


def _run_unasked(table: TableName, event: int) -> sql.Composed:
    """A query for the user's statement triggers and rules of a table for an event."""
    return sql.SQL(
        "(SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid"
        " WHERE t.tgrelid = {table}::pg_catalog.regclass AND NOT t.tgisinternal AND t.tgenabled <> 'D'"
        " AND t.tgtype & 1 = 0 AND t.tgtype & {event} <> 0"
        " AND p.pronamespace <> 'crosskey'::pg_catalog.regnamespace"
        " UNION ALL SELECT FROM pg_catalog.pg_rewrite r"
        " WHERE r.ev_class = {table}::pg_catalog.regclass AND r.ev_type = {rule} AND r.ev_enabled <> 'D')"
    ).format(
        table=literal(table_identifier(table).as_string().replace("%%", "%")),
        event=literal(event),
        rule=literal(_RULE_EVENTS[event]),
    )


def _acting_keys(plan: Plan) -> Iterator[ForeignKey]:
    """The keys across shards whose action changes children when a shadow is deleted."""
    for key in plan.keys:
        if key.kind == "cross-shard" and key.foreign_key.on_delete in _EVENTS:
            yield key.foreign_key


def _references(plan: Plan, key: ForeignKey, referenced: ReferencedKey) -> bool:
    return any(one.foreign_key is key for one in plan.keys_by(referenced))
