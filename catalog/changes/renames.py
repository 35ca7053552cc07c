"""Renames as people tell them: `table=new`, or `table.column=new`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from crosskey.catalog.changes.columns import Unsupported
from crosskey.catalog.changes.pieces import Pieces, quoted
from crosskey.catalog.changes.steps import ACCESS_EXCLUSIVE, Step
from crosskey.catalog.model import Database, Table


class Renames(msgspec.Struct, frozen=True):
    """New names: of tables by their old `schema.name`, of columns by the new one of their tables and their old name."""

    tables: dict[str, str]
    columns: dict[tuple[str, str], str]
    steps: tuple[Step, ...]

    @property
    def of_tables(self) -> set[str]:
        """The tables, by their new `schema.name`, that have another name, or a column of which has."""
        return {*self.tables.values(), *(table for table, _ in self.columns)}


def read_renames(told: Iterable[str], database: Database) -> Renames:
    """What is told to have another name. `database` is the old schema. Raises Unsupported for what is not there."""
    tables: dict[str, str] = {}
    columns: dict[tuple[str, str], str] = {}
    steps: list[Step] = []
    by_name = {name: table for table in database.tables for name in (str(table.name), table.name.qualified)}
    # Those of tables last: columns are named by the table's old name.
    for rename in sorted(told, key=lambda one: one.partition("=")[0] in by_name):
        old, _, new = (part.strip() for part in rename.partition("="))
        new = new.rsplit(".", 1)[-1]
        if not old or not new:
            raise Unsupported(f'rename "{rename}": say table=new, or table.column=new')
        table = by_name.get(old)
        if table is not None:
            tables[table.name.qualified] = f"{table.name.schema}.{new}"
            steps.append(_step(table, f"RENAME TO {quoted(new)}", "rename table"))
            continue
        table = by_name.get(old.rpartition(".")[0])
        column = old.rpartition(".")[2]
        if table is None or table.column(column) is None:
            raise Unsupported(f'rename "{rename}": the schema in force has no table and no column {old}')
        columns[table.name.qualified, column] = new
        steps.append(_step(table, f"RENAME COLUMN {quoted(column)} TO {quoted(new)}", "rename column"))
    in_new = {(tables.get(table, table), column): new for (table, column), new in columns.items()}
    return Renames(tables, in_new, tuple(steps))


def refuse_reused(renames: Renames, database: Database, wanted: Pieces) -> None:
    """Raises Unsupported for a new name that is none, and for a name that means something else at once.

    What is renamed to a name that the new schema lacks would be dropped. A client might use the wrong one of two.

    `database` is the old schema, `wanted` are the pieces of the new one.
    """
    for table, new in renames.tables.items():
        if not _is_relation(new, wanted):
            raise Unsupported(f'rename "{table}={new}": the new schema has no table {new}')
    for (table, old), new in renames.columns.items():
        if ("column", table, new) not in wanted:
            raise Unsupported(f'rename "{table}.{old}={new}": the new schema has no column {table}.{new}')
        if ("column", table, old) in wanted:
            raise Unsupported(
                f'column "{old}" of {table}: its name is given to another column: do it in two migrations'
            )
    names = {table.name.qualified for table in database.tables}
    taken = [new for new in renames.tables.values() if new in names]
    for name in (*taken, *(old for old in renames.tables if _is_relation(old, wanted))):
        raise Unsupported(f'table "{name}": its name is given to another table: do it in two migrations')


def _is_relation(name: str, pieces: Pieces) -> bool:
    return any((kind, "", name) in pieces for kind in ("table", "view"))


def _step(table: Table, words: str, what: str) -> Step:
    name = f"{quoted(table.name.schema)}.{quoted(table.name.name)}"
    return Step(f"ALTER TABLE {name} {words}", "flip", what, table.name.qualified, ACCESS_EXCLUSIVE)
