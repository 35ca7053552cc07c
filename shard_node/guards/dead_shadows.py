"""Keys with @enforce eventual: what is installed for them, and what hides the children of dead parents.

On the parent's shard, a deleted parent whose pins were taken leaves a row for each shard that had one: it *departed*.
On the child's shard, a shadow whose parent is deleted is *dead*. Both are tables of their own beside the pins, and are
nearly always empty. docs/cleanups.md tells how a parent's deletion goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from psycopg import sql

from crosskey.catalog.eventual import CHANGING, hidden_by
from crosskey.catalog.model import Equality, ForeignKey, Table, TableName, UniqueKey
from crosskey.catalog.plan import KeyPlan, Plan, ReferencedKey
from crosskey.shard_node.guards.bodies import body
from crosskey.shard_node.guards.pin_places import PIN_SHARD
from crosskey.shard_node.guards.triggers import AFTER_ALL_OTHERS, GUARDS_FIRST, changed, trigger_function
from crosskey.shard_node.sql_text.hidden_rows import ROW, Bereaved, HidingTable, about
from crosskey.shard_node.sql_text.identifiers import identifier, literal
from crosskey.shard_node.sql_text.key_columns import column_pairs, is_parent, same_key
from crosskey.shard_node.sql_text.sql_names import column_list, function_identifier, table_identifier

SINCE = "crosskey_since"
"""The column of both tables that has the time of the deletion, or of the mark."""

BY = "crosskey_by"
"""Of what departed, the transaction that deleted it, as PostgreSQL counts them."""

TOLD = "crosskey_told"
"""Of what departed, whether the shadow there is dead by now."""


def eventual_tables(referenced: ReferencedKey) -> Iterable[sql.Composed]:
    """The two tables of an eventual referenced key."""
    if not referenced.eventual:
        return
    names = {
        "departed": table_identifier(referenced.departed),
        "dead": table_identifier(referenced.dead),
        "shadow": table_identifier(referenced.shadow),
        "parent": table_identifier(referenced.parent),
        "columns": column_list(referenced.columns),
        "shard": identifier(PIN_SHARD),
        "since": identifier(SINCE),
        "told": identifier(TOLD),
        "by": identifier(BY),
    }
    yield sql.SQL(
        "CREATE TABLE {departed} AS SELECT {columns}, 0 AS {shard}, now() AS {since}, false AS {told},"
        " pg_current_xact_id() AS {by} FROM {parent} WITH NO DATA"
    ).format(**names)
    yield sql.SQL(
        "ALTER TABLE {departed} ADD PRIMARY KEY ({columns}, {shard}),"
        " ALTER {since} SET DEFAULT clock_timestamp(), ALTER {told} SET DEFAULT false,"
        " ALTER {by} SET DEFAULT pg_current_xact_id()"
    ).format(**names)
    yield sql.SQL("CREATE TABLE {dead} AS SELECT {columns}, now() AS {since} FROM {parent} WITH NO DATA").format(
        **names
    )
    yield sql.SQL(
        "ALTER TABLE {dead} ADD PRIMARY KEY ({columns}), ALTER {since} SET DEFAULT clock_timestamp(),"
        " ADD FOREIGN KEY ({columns}) REFERENCES {shadow} ({columns})"
    ).format(**names)


def eventual_triggers(plan: Plan, table: Table) -> Iterable[sql.Composed]:
    """What parents do about keys that were deleted, and children about dead parents."""
    for place, referenced in enumerate(
        key for key in plan.referenced_keys if key.parent == table.name and key.eventual
    ):
        yield from _return_triggers(place, referenced)
    yield from _bereaved_trigger(plan, table)


def _return_triggers(place: int, referenced: ReferencedKey) -> Iterable[sql.Composed]:
    """A row does not get the key of one that was deleted before its children are cleaned up."""
    purpose = f"returned_{place}"
    refuse = body(
        "refuse_return",
        departed=table_identifier(referenced.departed),
        same=same_key(referenced, "d", "new"),
        by=identifier("d", BY),
        own_message=literal(
            f'a row of "{referenced.parent}" with this key was deleted in the same transaction, and its children are'
            " cleaned up after it"
        ),
        message=literal(
            f'a row of "{referenced.parent}" with this key was deleted, and its children are still being cleaned up'
        ),
        table=literal(referenced.parent.name),
        schema=literal(referenced.parent.schema),
    )
    yield trigger_function(purpose, referenced.parent, [refuse])
    for event, condition in (("INSERT", sql.SQL("true")), ("UPDATE", changed(referenced.columns))):
        yield sql.SQL(
            "CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW WHEN ({condition})"
            " EXECUTE FUNCTION {function}()"
        ).format(
            name=identifier(f"{GUARDS_FIRST}{purpose}_{event.lower()}"),
            event=sql.SQL(event),
            table=table_identifier(referenced.parent),
            condition=condition,
            function=function_identifier(purpose, referenced.parent),
        )


def _bereaved_trigger(plan: Plan, table: Table) -> Iterable[sql.Composed]:
    """Before a row is stored: it has no dead parent, keeps none, and no hidden row is in its way."""
    hiding = hiding_table(plan, table)
    if not isinstance(hiding, HidingTable):
        return
    keys = [key for key in plan.keys if key.foreign_key.table == table.name and _dead_of(plan, key) is not None]
    local = [key for key in hidden_by(plan.keys).get(table.name, []) if key.kind == "local"]
    dead = {referenced.dead for key in keys if (referenced := _dead_of(plan, key)) is not None}
    dead |= {one for key in local for one in _dead_above(plan, key.foreign_key.parent)}
    statements = [_refuse_dead(plan, key.foreign_key, orphaned(plan, key)) for key in [*keys, *local]]
    checks = body(
        "bereaved",
        some_dead=sql.SQL(" OR ").join(
            sql.SQL("EXISTS (SELECT FROM {})").format(table_identifier(name)) for name in sorted(dead)
        ),
        keys=sql.SQL("\n").join(statements),
        conflicts=sql.SQL("\n").join(_clear_ways(hiding)),
    )
    yield trigger_function("bereaved", table.name, [checks], "NEW")
    yield sql.SQL(
        "CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}()"
    ).format(
        name=identifier(f"{AFTER_ALL_OTHERS}bereaved"),
        table=table_identifier(table.name),
        function=function_identifier("bereaved", table.name),
    )


def _refuse_dead(plan: Plan, key: ForeignKey, condition: str) -> sql.Composed:
    """A key that is newly set is refused as PostgreSQL refuses it; one that is kept is as the action leaves it."""
    new = sql.Identifier("new")
    action = sql.SQL(" ").join(
        sql.SQL("{} := {};").format(identifier("new", column), about(value, new))
        for column, value in _becomes(plan, key)
    )
    named, shown = ", ".join(key.columns), ", ".join(["%s"] * len(key.columns))
    detail = (
        f'Key ({named.replace("%", "%%")})=({shown}) is not present in table "{key.parent.name.replace("%", "%%")}".'
    )
    return body(
        "refuse_dead",
        condition=about(condition, new),
        is_set=changed(key.columns),
        message=literal(f'insert or update on table "{key.table.name}" violates foreign key constraint "{key.name}"'),
        detail=sql.SQL("format({}, {})").format(literal(detail), column_list(key.columns, alias="new")),
        schema=literal(key.table.schema),
        table=literal(key.table.name),
        constraint=literal(key.name),
        action=action if action.as_string() else sql.SQL("NULL;"),
    )


def _clear_ways(table: HidingTable) -> Iterator[sql.Composed]:
    """For each unique key, the clean-up of hidden rows whose values the new row is to have."""
    # Keys of other kinds are refused when the schema is planned (catalog/eventual.py).
    for key in table.unique_keys if table.hidden else ():
        yield body(
            "clear_way",
            is_set=changed(key.columns),
            table=table_identifier(table.name),
            same=sql.SQL(" AND ").join(_same_value(table, key, column) for column in key.columns),
            hidden=about(table.hidden, table_identifier(table.name)),
        )


def _same_value(table: Table, key: UniqueKey, column: str) -> sql.Composed:
    """Whether a stored row and the new one cannot both have the column's value, if the other columns are alike."""
    names = {"stored": identifier(table.name.schema, table.name.name, column), "new": identifier("new", column)}
    equal = sql.SQL("{stored} OPERATOR(pg_catalog.=) {new}").format(**names)
    if not key.nulls_not_distinct:
        return equal
    return sql.SQL("({equal} OR {stored} IS NULL AND {new} IS NULL)").format(equal=equal, **names)


def hiding_table(plan: Plan, table: Table) -> Table:
    """The table with what requests see of it; the table itself if that is all."""
    hidden = hidden_condition(plan, table.name)
    bereaved = tuple(_bereaved(plan, key) for key in _changing_keys(plan, table.name))
    if not hidden and not bereaved:
        return table
    return HidingTable(
        **{field: getattr(table, field) for field in table.__struct_fields__}, hidden=hidden, bereaved=bereaved
    )


def _changing_keys(plan: Plan, table: TableName) -> list[KeyPlan]:
    """The eventual keys of the table that leave its rows, and change them."""
    return [
        key
        for key in plan.keys
        if key.foreign_key.table == table and _dead_of(plan, key) is not None and key.foreign_key.on_delete in CHANGING
    ]


def _bereaved(plan: Plan, key: KeyPlan) -> Bereaved:
    changes = (*_becomes(plan, key.foreign_key), *_copies_lost(plan, key.foreign_key))
    return Bereaved(orphaned(plan, key), among_dead(plan, key, ROW), changes)


def hidden_condition(plan: Plan, table: TableName) -> str:
    """Whether the row ROW of the table is hidden, as SQL; empty if none ever is."""
    return " OR ".join(orphaned(plan, key) for key in hidden_by(plan.keys).get(table, []))


def orphaned(plan: Plan, key: KeyPlan, depth: int = 0) -> str:
    """Whether ROW references a dead shadow by the key, or a hidden row, as SQL."""
    foreign_key = key.foreign_key
    alias = f"crosskey_parent_{depth}"
    referenced = _dead_of(plan, key)
    # By which index is for the planner to say: there are few dead shadows, and a row has one parent.
    same = sql.SQL(" AND ").join(
        is_parent(pair, identifier(alias, pair.parent.name), _of_row(pair.child.name))
        for pair in column_pairs(plan, foreign_key)
    )
    source = foreign_key.parent if referenced is None else referenced.dead
    also = ""
    if referenced is None:
        hidden = [orphaned(plan, one, depth + 1) for one in hidden_by(plan.keys).get(foreign_key.parent, [])]
        also = f" AND ({' OR '.join(hidden)})".replace(ROW, sql.Identifier(alias).as_string())
    exists = sql.SQL("EXISTS (SELECT FROM {} AS {} WHERE {}").format(
        table_identifier(source), sql.Identifier(alias), same
    )
    return f"{exists.as_string()}{also})"


def among_dead(plan: Plan, key: KeyPlan, row: str) -> str:
    """The same of an eventual key, about that row, for a search: of an array PostgreSQL supposes ten elements.

    A key of several columns, or one that is not compared as all values of its type are, is looked up row by row.
    """
    referenced = _dead_of(plan, key)
    assert referenced is not None, f"{key.foreign_key.name} is not eventual"
    pairs = column_pairs(plan, key.foreign_key)
    [(child, parent, equality), *others] = pairs
    alike = (child.base_type, child.collation) == (parent.base_type, parent.collation)
    if others or not alike or equality != Equality():
        return orphaned(plan, key).replace(ROW, row)
    found = sql.SQL("{} OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT {} FROM {}))").format(
        sql.SQL(f"{row}.{identifier(child.name).as_string()}"),
        identifier(parent.name),
        table_identifier(referenced.dead),
    )
    return found.as_string()


def _of_row(column: str) -> sql.SQL:
    return sql.SQL(f"{ROW}.{identifier(column).as_string()}")


def _dead_of(plan: Plan, key: KeyPlan) -> ReferencedKey | None:
    """What an eventual key references; None for any other."""
    if key.referenced_key is None:
        return None
    referenced = plan.referenced_key(key.referenced_key)
    return referenced if referenced.eventual else None


def _dead_above(plan: Plan, table: TableName) -> Iterator[TableName]:
    """The tables of dead shadows that may hide rows of a table."""
    for key in hidden_by(plan.keys).get(table, []):
        referenced = _dead_of(plan, key)
        if referenced is not None:
            yield referenced.dead
        else:
            yield from _dead_above(plan, key.foreign_key.parent)


def _becomes(plan: Plan, key: ForeignKey) -> tuple[tuple[str, str], ...]:
    """What becomes of which columns when the parent is deleted, as SQL; nothing where the row goes."""
    if key.on_delete not in CHANGING:
        return ()
    table = plan.table(key.table)
    assert table is not None, f"the plan has a key of {key.table}, and not the table"
    changes: list[tuple[str, str]] = []
    for name in key.on_delete_columns or key.columns:
        column = table.table.column(name)
        default = None if column is None or key.on_delete == "SET NULL" else column.default
        changes.append((name, "NULL" if default is None else f"({default.replace('%', '%%')})"))
    return tuple(changes)


def _copies_lost(plan: Plan, key: ForeignKey) -> tuple[tuple[str, str], ...]:
    """The live copies of a row that is about to have no parent. A trigger takes them away with the key."""
    if key.on_delete != "SET NULL":
        return ()
    copies = [copy for copy in plan.copies if copy.table == key.table and copy.constraint == key.name and copy.live]
    return tuple((copy.column, "NULL") for copy in copies)


def eventual_keys(plan: Plan, referenced: ReferencedKey) -> Sequence[KeyPlan]:
    """The foreign keys whose children are cleaned up when the parent is deleted."""
    return [key for key in plan.keys if key.referenced_key == referenced.id]
