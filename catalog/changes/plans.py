"""What two plans tell of a change beyond their pieces: which tables change for who writes them, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from crosskey.catalog.changes.columns import Unsupported
from crosskey.catalog.changes.pieces import Piece, Pieces
from crosskey.catalog.model import Database, Table, TableName
from crosskey.catalog.plan import Plan, TablePlan

Names = dict[str, str]
"""New `schema.name`s of tables that have another one, by the old."""


def in_old_order(database: Database, old: Database, renamed: dict[tuple[str, str], str], tables: Names) -> Database:
    """A described schema with the columns of each table as they lie there once the old one has become it.

    `renamed` are new names of columns, by the new `schema.name` of their tables and their old names.
    """
    before = {tables.get(table.name.qualified, table.name.qualified): table for table in old.tables}

    def ordered(table: Table) -> Table:
        name = table.name.qualified
        if name not in before:
            return table
        kept = [renamed.get((name, column.name), column.name) for column in before[name].columns]
        order = {column: place for place, column in enumerate(kept)}
        columns = sorted(table.columns, key=lambda column: order.get(column.name, len(order)))
        return msgspec.structs.replace(table, columns=tuple(columns))

    return msgspec.structs.replace(database, tables=tuple(ordered(table) for table in database.tables))


def refuse_plans(old: Plan, new: Plan, tables: Names) -> None:
    """Raises Unsupported for a change of where rows live, or of what guards keep about them."""
    before = _by_new_name(old, tables)
    for table in new.tables:
        there = before.get(table.table.name.qualified)
        if there is not None:
            _refuse_move(there, table)
    old_keys = {key.id: key for key in old.referenced_keys}
    for key in new.referenced_keys:
        known = old_keys.get(key.id)
        if known is not None and (known.copied, known.pinned, known.shadow, known.pin) != (
            key.copied,
            key.pinned,
            key.shadow,
            key.pin,
        ):
            raise Unsupported(
                f"key {key.id}: what its shadows hold cannot be changed yet (copies, or the names of tables)"
            )
    old_claims = {claim.id: claim for claim in old.claims}
    for claim in new.claims:
        same = old_claims.get(claim.id)
        if same is not None and (same.claims, same.columns, same.computed) != (
            claim.claims,
            claim.columns,
            claim.computed,
        ):
            raise Unsupported(
                f"unique key {claim.constraint} of {claim.table}: it cannot be changed yet: add another one"
            )


def need_empty(old: Plan, new: Plan, tables: Names) -> Iterator[tuple[str, str]]:
    """The tables that must have no rows yet, as `schema.name`, and why."""
    before = _by_new_name(old, tables)
    old_claims = {claim.id for claim in old.claims}
    for claim in new.claims:
        if claim.id not in old_claims and claim.table.qualified in before:
            yield (
                claim.table.qualified,
                f'unique key "{claim.constraint}": claiming values of rows that are there is not supported yet',
            )
    old_copies = set(old.copies)
    for copy in new.copies:
        if copy not in old_copies and copy.table.qualified in before:
            yield (
                copy.table.qualified,
                f'column "{copy.column}": filling copies of rows that are there is not supported yet',
            )


def changed_tables(old: Plan, new: Plan, pieces: tuple[Pieces, Pieces], tables: Names) -> set[str]:
    """The tables of both schemas, by their new `schema.name`, that statements of the older plan must not write."""
    before = _by_new_name(old, tables)
    after = {table.table.name.qualified: table for table in new.tables}
    there = before.keys() & after.keys()
    changed = {name for name in there if _bare(before[name]) != _bare(after[name])}
    changed |= {piece.table for piece in _differing(*pieces) if piece.kind != "comment"}
    functions = {piece.name for piece in _differing(*pieces) if piece.kind == "function"}
    changed |= {
        piece.table
        for each in pieces
        for piece in each.values()
        if piece.kind == "trigger" and piece.facts["function"] in functions
    }
    return changed & there


def created_tables(old: Plan, new: Plan, tables: Names) -> list[TableName]:
    """The tables that only the new schema has."""
    before = _by_new_name(old, tables)
    return sorted(table.table.name for table in new.tables if table.table.name.qualified not in before)


def _differing(old: Pieces, new: Pieces) -> Iterator[Piece]:
    for key in old.keys() | new.keys():
        before, after = old.get(key), new.get(key)
        if before is None or after is None or before.state != after.state:
            piece = after or before
            assert piece is not None, "a key is one of the old or of the new"
            yield piece


def _refuse_move(old: TablePlan, new: TablePlan) -> None:
    name = new.table.name
    if old.placement != new.placement:
        raise Unsupported(f'table "{name}": a {old.placement} table cannot become a {new.placement} table yet')
    if (old.shard_key, old.anchor, old.slot_column) != (new.shard_key, new.anchor, new.slot_column):
        raise Unsupported(
            f'table "{name}": its rows cannot be placed by another column yet: it is sharded by {old.shard_key}'
        )
    if new.shard_key is not None and old.shard_key_column.base_type != new.shard_key_column.base_type:
        raise Unsupported(f'table "{name}": its shard key cannot have another type')


def _by_new_name(plan: Plan, tables: Names) -> dict[str, TablePlan]:
    return {tables.get(table.table.name.qualified, table.table.name.qualified): table for table in plan.tables}


def _bare(plan: TablePlan) -> TablePlan:
    """Without what is for people, and without the order of columns."""
    columns = (msgspec.structs.replace(column, comment=None) for column in plan.table.columns)
    table = msgspec.structs.replace(
        plan.table, comment=None, columns=tuple(sorted(columns, key=lambda column: column.name))
    )
    return msgspec.structs.replace(plan, table=table)
