"""Shadows and pins: the tables, and the user's foreign keys turned onto them."""

from __future__ import annotations

from collections.abc import Iterable

from psycopg import sql

from crosskey.catalog.model import ForeignKey
from crosskey.catalog.plan import KeyPlan, Plan, ReferencedKey
from crosskey.shard_node.guards.pin_places import CLAIMANT, PIN_SHARD, held_columns, target_columns
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.sql_names import column_list, table_identifier

PIN_CONSTRAINT = "crosskey_pinned"


def shadow_and_pin(plan: Plan, referenced: ReferencedKey) -> Iterable[sql.Composed]:
    """The two tables of a referenced key."""
    names = {
        "shadow": table_identifier(referenced.shadow),
        "pin": table_identifier(referenced.pin),
        "parent": table_identifier(referenced.parent),
        "columns": column_list(referenced.columns),
        "shadowed": column_list((*referenced.columns, *referenced.copied)),
        "pin_shard": identifier(PIN_SHARD),
        "claimant": sql.SQL("" if referenced.claim is None else ", 0 AS {}").format(identifier(CLAIMANT)),
        "pinned": identifier(PIN_CONSTRAINT),
        "held": column_list(held_columns(referenced)),
        "target": table_identifier(referenced.pinned),
        "target_columns": column_list(target_columns(referenced)),
    }
    # CREATE TABLE AS keeps types, modifiers and collations, and none of the parent's constraints and defaults.
    yield sql.SQL("CREATE TABLE {shadow} AS SELECT {shadowed} FROM {parent} WITH NO DATA").format(**names)
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
    keys = plan.own_table(referenced.parent).table.unique_keys
    names = [key.name for key in sorted(keys, key=lambda key: not key.primary) if key.columns == referenced.columns]
    return sql.SQL("CONSTRAINT {} ").format(identifier(names[0])) if names else sql.SQL("").format()


def deferrable(key: KeyPlan) -> Iterable[sql.Composed]:
    """A NO ACTION check must be able to wait for cascades on other shards."""
    if not key.foreign_key.deferrable:
        yield sql.SQL("ALTER TABLE {} ALTER CONSTRAINT {} DEFERRABLE INITIALLY IMMEDIATE").format(
            table_identifier(key.foreign_key.table), identifier(key.foreign_key.name)
        )


def repointed(plan: Plan, key: KeyPlan) -> Iterable[sql.Composed]:
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
