"""What advice is given from: the schema, its indexes, and what a live database has counted.

A node fills these and prints them as JSON; a survey of a file has no counts.
"""

from __future__ import annotations

import msgspec

from crosskey.catalog.model import Database, TableName
from crosskey.catalog.skipped import Skipped


class ColumnFacts(msgspec.Struct, frozen=True):
    """What pg_stats says of a column.

    `distinct` is n_distinct: the number of values, or if negative, minus their share of the rows. `top_share` is the
    share of rows that have the most frequent value, 0 if none stands out.
    """

    name: str
    distinct: float
    top_share: float = 0.0


class TableFacts(msgspec.Struct, frozen=True):
    """A table's indexes, and what PostgreSQL has counted of it: its rows, and writes since statistics were reset.

    `indexes` has the columns of each index that finds rows by them: neither partial nor over expressions.
    """

    name: TableName
    indexes: tuple[tuple[str, ...], ...] = ()
    rows: int = 0
    inserts: int = 0
    updates: int = 0
    deletes: int = 0
    columns: tuple[ColumnFacts, ...] = ()
    slots_carried: tuple[str, ...] | None = None
    """The columns whose slot the uuid primary key carries, in all rows that were looked at; None if none was."""

    def column(self, name: str) -> ColumnFacts | None:
        """The facts of a column; None if PostgreSQL has none."""
        return next((column for column in self.columns if column.name == name), None)


class Statement(msgspec.Struct, frozen=True):
    """A normalised statement of pg_stat_statements, and how often it was run."""

    query: str
    calls: int


class Survey(msgspec.Struct, frozen=True):
    """A schema and what is known of its use.

    `quoted` has the names that SQL must quote, as it must write them. `statements` is None where pg_stat_statements
    could not be read, and `why_no_statements` then says why. `live` says that a live database was asked, even if it had
    counted nothing.
    """

    database: Database
    tables: tuple[TableFacts, ...] = ()
    quoted: dict[str, str] = {}
    statements: tuple[Statement, ...] | None = None
    why_no_statements: str = ""
    live: bool = False
    skipped: tuple[Skipped, ...] = ()
    """What of the schema's text was not run, as it means nothing here."""

    @property
    def has_statistics(self) -> bool:
        """Whether a database with rows was asked."""
        return any(facts.rows > 0 for facts in self.tables)

    def facts(self, name: TableName) -> TableFacts:
        """The facts of a table; empty ones if nothing is known."""
        return next((facts for facts in self.tables if facts.name == name), TableFacts(name))

    def counted_by(self, live: Survey) -> Survey:
        """The same schema, with the counts and statements of a live database for tables of the same names."""
        counted = {facts.name: facts for facts in live.tables}
        facts = tuple(msgspec.structs.replace(counted.get(own.name, own), indexes=own.indexes) for own in self.tables)
        return msgspec.structs.replace(
            self, tables=facts, statements=live.statements, why_no_statements=live.why_no_statements, live=True
        )

    def uncounted(self) -> Survey:
        """The same schema without the counts and statements, as a file would tell it; what ids carry is kept."""
        facts = tuple(TableFacts(own.name, own.indexes, slots_carried=own.slots_carried) for own in self.tables)
        return msgspec.structs.replace(self, tables=facts, statements=None, live=False)

    def to_json(self) -> bytes:
        """The survey as JSON."""
        return msgspec.json.encode(self)

    @staticmethod
    def from_json(text: bytes) -> Survey:
        """The survey of that JSON. Raises msgspec.ValidationError if it is none."""
        return msgspec.json.decode(text, type=Survey)
