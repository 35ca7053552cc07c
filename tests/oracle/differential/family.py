"""A family: a few tables with foreign keys between them, independent of all other tables of a schema."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["key", "part", "note"]
"""What a column holds: a key of the family, a small integer that is part of a key, or just a small integer."""

PARTS = (1, 2, 3)
"""What columns of the kind "part" hold."""


@dataclass(frozen=True)
class Column:
    """A column; `default` is an SQL literal."""

    name: str
    type: str
    kind: Kind
    not_null: bool = False
    default: str | None = None

    @property
    def counts(self) -> bool:
        """Whether it holds integers, with which PostgreSQL can compute."""
        return self.type != "text"

    def ddl(self) -> str:
        """Its line in CREATE TABLE."""
        default = "" if self.default is None else f" DEFAULT {self.default}"
        return f"{self.name} {self.type}{default}{' NOT NULL' if self.not_null else ''}"


@dataclass(frozen=True)
class ForeignKey:
    """A foreign key of a table; `on_delete_columns` are those that SET NULL or SET DEFAULT sets, all if empty."""

    name: str
    columns: tuple[str, ...]
    parent: str
    parent_columns: tuple[str, ...]
    match: str
    on_delete: str
    on_delete_columns: tuple[str, ...]
    on_update: str
    timing: str

    @property
    def deferrable(self) -> bool:
        """Whether SET CONSTRAINTS takes it."""
        return self.timing != "NOT DEFERRABLE"

    def ddl(self) -> str:
        """Its line in ALTER TABLE."""
        listed = f" ({', '.join(self.on_delete_columns)})" if self.on_delete_columns else ""
        return (
            f"ADD CONSTRAINT {self.name} FOREIGN KEY ({', '.join(self.columns)})"
            f" REFERENCES {self.parent} ({', '.join(self.parent_columns)}) MATCH {self.match}"
            f" ON DELETE {self.on_delete}{listed} ON UPDATE {self.on_update} {self.timing}"
        )


@dataclass(frozen=True)
class Table:
    """A table; a reference table has no shard key. `target` are the columns by which foreign keys name its rows."""

    name: str
    columns: tuple[Column, ...]
    shard_key: str | None
    primary_key: tuple[str, ...]
    target: tuple[str, ...]
    foreign_keys: tuple[ForeignKey, ...]
    unique_note: bool = False
    """Whether `note`, which says nothing about where a row lives, is unique."""
    with_parent: bool = False
    """Whether `@shard_with` says where rows live, not `@shard_by`."""

    def column(self, name: str) -> Column:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)

    @property
    def unique_keys(self) -> list[tuple[str, ...]]:
        """The primary key, and the target if that is another one."""
        return [key for key in dict.fromkeys([self.primary_key, self.target]) if key]

    def ddl(self) -> Iterator[str]:
        """CREATE TABLE and COMMENT; foreign keys come later, as they may name tables that come later."""
        lines = [column.ddl() for column in self.columns]
        for columns in self.unique_keys:
            kind = "PRIMARY KEY" if columns == self.primary_key else "UNIQUE"
            lines.append(f"{kind} ({', '.join(columns)})")
        lines += ["UNIQUE (note)"] if self.unique_note else []
        yield f"CREATE TABLE {self.name} ({', '.join(lines)});"
        yield f"COMMENT ON TABLE {self.name} IS '{self._placement}';"

    @property
    def _placement(self) -> str:
        if self.shard_key is None:
            return "@reference"
        return f"{'@shard_with' if self.with_parent else '@shard_by'} {self.shard_key}"


@dataclass(frozen=True)
class Family:
    """Tables that have foreign keys only between each other; those that come first are named by those that follow.

    `key_type` is the type of all columns of the kind "key", but for the integer that may reference a bigint.
    """

    name: str
    shape: str
    key_type: str
    tables: tuple[Table, ...]

    def table(self, name: str) -> Table:
        """The table of that name."""
        return next(table for table in self.tables if table.name == name)

    @property
    def foreign_keys(self) -> list[ForeignKey]:
        """Those of all tables."""
        return [key for table in self.tables for key in table.foreign_keys]

    @property
    def ddl(self) -> str:
        """The statements that make the tables."""
        lines = [line for table in self.tables for line in table.ddl()]
        lines += [f"ALTER TABLE {table.name} {key.ddl()};" for table in self.tables for key in table.foreign_keys]
        return "\n".join([f"-- {self.name}: {self.shape}", *lines, ""])
