"""Why a schema cannot be sharded."""

from __future__ import annotations

import msgspec

from crosskey.catalog.model import ForeignKey, Table


class Refusal(msgspec.Struct, frozen=True):
    """One reason, as a sentence that names the table; the other fields are empty where they do not apply."""

    message: str
    table: str = ""
    constraint: str = ""
    column: str = ""


class SchemaRefused(ValueError):
    """A schema that cannot be placed.

    `refusals` has every reason that was found, `message` one a line; `table`, `constraint` and `column` are those of
    the first.
    """

    def __init__(self, refusals: tuple[Refusal, ...]) -> None:
        self.refusals = refusals
        self.message = "\n".join(refusal.message for refusal in refusals)
        self.table = refusals[0].table
        self.constraint = refusals[0].constraint
        self.column = refusals[0].column
        super().__init__(self.message)


def refuse_table(table: Table, why: str, *, constraint: str = "", column: str = "") -> Refusal:
    """A refusal whose message starts with the table's name."""
    return Refusal(f'table "{table.name}": {why}', str(table.name), constraint, column)


def refuse_key(key: ForeignKey, why: str, *, column: str = "") -> Refusal:
    """A refusal whose message starts with the foreign key's name."""
    message = f'foreign key "{key.name}" of table "{key.table}": {why}'
    return Refusal(message, str(key.table), key.name, column)
