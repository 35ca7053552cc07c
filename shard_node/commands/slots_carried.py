"""Whether the ids that a live table has carry the slots of its other columns, as ids that routers mint do."""

from __future__ import annotations

from typing import Final
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from crosskey.catalog.model import Column, Table
from crosskey.catalog.slot_types import has_slot
from crosskey.catalog.slots import slot_of_uuid, slot_of_value

ROWS: Final = 100
"""More than chance explains: one id in 16,384 carries a slot by accident."""


MARK: Final = "/* a sample of crosskey advise */"
"""In the statement that reads a sample, which is none of the application's."""


def could_carry_slots(table: Table) -> bool:
    """Whether the primary key is a uuid alone."""
    key = [table.column(name) for name in table.primary_key]
    return table.kind == "r" and len(key) == 1 and key[0] is not None and key[0].base_type == "uuid"


async def read_slots_carried(connection: psycopg.AsyncConnection[TupleRow], table: Table) -> tuple[str, ...] | None:
    """The columns whose slot each of the first rows' ids carries; None if there are no rows.

    Raises psycopg.errors.InsufficientPrivilege if the role may not read the table.
    """
    [key] = table.primary_key
    columns = [column for column in table.columns if has_slot(column) and column.not_null and column.name != key]
    texts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in (key, *_names(columns)))
    name = sql.Identifier(table.name.schema, table.name.name)
    cursor = await connection.execute(sql.SQL("SELECT {} {} FROM {} LIMIT {}").format(sql.SQL(MARK), texts, name, ROWS))
    rows = await cursor.fetchall()
    if not rows:
        return None
    return tuple(
        column.name
        for place, column in enumerate(columns, start=1)
        if all(slot_of_uuid(UUID(row[0])) == slot_of_value(column.base_type, row[place]) for row in rows)
    )


def _names(columns: list[Column]) -> list[str]:
    return [column.name for column in columns]
