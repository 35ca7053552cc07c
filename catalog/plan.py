"""Where each table's rows live and how each foreign key is enforced: the result of planning a schema."""

from __future__ import annotations

from typing import Literal

import msgspec

from crosskey.catalog.key_values import value_columns
from crosskey.catalog.model import Column, Computed, Equality, ForeignKey, Table, TableName
from crosskey.catalog.naming import shorten

Placement = Literal["sharded", "reference"]
CopyKind = Literal["live", "snapshot"]


class Anchor(msgspec.Struct, frozen=True, cache_hash=True):
    """The parent with whose row a row lives, where only a claim tells the shard of that.

    `table` and `column` are what the shard key references, by the foreign key called `constraint`. `root_table` and
    `root_column` are the claimed key where the values of `column` come from in the end: the same, unless the parent is
    anchored by it too. `claim` is the Claim.id of that key.
    """

    constraint: str
    table: TableName
    column: str
    root_table: TableName
    root_column: str
    claim: str


class TablePlan(msgspec.Struct, frozen=True, cache_hash=True):
    """Where a table's rows live.

    `shard_key` is the column that places a row, None for a reference table. It does so by its slot, unless there is a
    `anchor`. `slot_column` is the uuid PRIMARY KEY that carries its row's slot, None if there is none (or if it is the
    shard key itself).
    """

    table: Table
    placement: Placement
    shard_key: str | None = None
    slot_column: str | None = None
    anchor: Anchor | None = None
    events: bool = False
    """Whether each change of its rows is told as an event."""

    @property
    def shard_key_column(self) -> Column:
        """The column that places a row; only for a sharded table."""
        column = self.table.column(self.shard_key or "")
        assert column is not None, f"{self.table.name} is not sharded"
        return column

    @property
    def locators(self) -> tuple[str, ...]:
        """The columns whose value alone tells a row's slot."""
        if self.anchor is not None:
            return ()
        return tuple(column for column in (self.shard_key, self.slot_column) if column is not None)

    @property
    def colocating(self) -> tuple[str, ...]:
        """The columns of which rows with equal values are on one shard, whether or not the value tells which."""
        return self.locators if self.anchor is None or self.shard_key is None else (self.shard_key,)

    def origin(self, column: str) -> tuple[TableName, str] | None:
        """Of the column that an anchor places, the claimed key whose values it has: they share a shard with that."""
        if self.anchor is None or column != self.shard_key:
            return None
        return self.anchor.root_table, self.anchor.root_column

    def origin_or_self(self, column: str) -> tuple[TableName, str]:
        """The same; any other column is its own."""
        return self.origin(column) or (self.table.name, column)


class Claim(msgspec.Struct, frozen=True, cache_hash=True):
    """A unique key that holds no locator, made global by claims: one row a value, on the shard of the value's slot.

    `id` names it in RPCs. The slot of a value is told by its `placing` columns, whose equal values have equal text.
    `claims` is the table of claims on each shard: it has the user's own table's name, in a schema of its own, and in it
    a constraint of the user's constraint's name, so that PostgreSQL's messages name these. Values of the columns in
    `verbatim` travel between shards as PostgreSQL's own text. What an index computes of a row is `computed`; then
    `columns` name its values, and are none of the user's table.
    """

    id: str
    table: TableName
    constraint: str
    columns: tuple[str, ...]
    placing: tuple[str, ...]
    claims: TableName
    nulls_not_distinct: bool = False
    initially_deferred: bool = False
    verbatim: tuple[str, ...] = ()
    computed: Computed | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the user's table that a row's value depends on."""
        return self.columns if self.computed is None else self.computed.reads

    @property
    def shown(self) -> str:
        """What is unique, for people: `shop, day` or `lower(email) WHERE (left_at IS NULL)`."""
        if self.computed is None:
            return ", ".join(self.columns)
        return f"{self.computed.shown} WHERE {self.computed.predicate}".removesuffix(" WHERE ")

    def value_columns(self, table: Table) -> list[Column]:
        """The columns of a value; `table` is the user's."""
        return value_columns(table, self.columns, self.computed)


class ReferencedKey(msgspec.Struct, frozen=True, cache_hash=True):
    """A unique key of a sharded parent that at least one cross-shard key references.

    One shadow table on each shard and one pin table on each shard serve all foreign keys that reference it.
    `id` names it in RPCs: `schema.table(column,column)`. The shadow table has the parent's own name, in a schema of its
    own, so that PostgreSQL's messages name the parent. `locator` is the column among `columns` that tells the parent's
    slot; where none does, `claim` is the claim on the key, and stands for the parent: it is what pins hold. Values of
    the columns in `verbatim` travel between shards as PostgreSQL's own text. `equalities` tell, column by column,
    whether two rows have the same key. Shadows have the columns in `copied` too, whose values children copy.
    """

    id: str
    parent: TableName
    columns: tuple[str, ...]
    locator: str | None
    shadow: TableName
    pin: TableName
    claim: Claim | None = None
    verbatim: tuple[str, ...] = ()
    equalities: tuple[Equality, ...] = ()
    copied: tuple[str, ...] = ()
    eventual: bool = False
    """Whether children are cleaned up after a parent's deletion is committed, and not in its transaction."""

    @property
    def departed(self) -> TableName:
        """On the parent's shard, for an eventual key: deleted parents, and each shard that is not done with them."""
        return self._beside_pin("departed")

    @property
    def dead(self) -> TableName:
        """On the child's shard, for an eventual key: the keys of shadows whose parents are deleted."""
        return self._beside_pin("dead")

    def _beside_pin(self, purpose: str) -> TableName:
        return TableName(self.pin.schema, shorten(f"{purpose}_{self.pin.name.removeprefix('pin_')}"))

    @property
    def pinned(self) -> TableName:
        """The table whose rows pins hold: the parent, or the claims on its key."""
        return self.parent if self.claim is None else self.claim.claims


class KeyPlan(msgspec.Struct, frozen=True, cache_hash=True):
    """How a foreign key is enforced; `referenced_key` is a ReferencedKey.id for a cross-shard key, else None.

    `reason`, `advice` (what would make it local) and `cost` are for people.
    """

    foreign_key: ForeignKey
    kind: Literal["local", "cross-shard"]
    reason: str
    advice: str = ""
    referenced_key: str | None = None
    cost: str = ""


class Copy(msgspec.Struct, frozen=True, cache_hash=True):
    """A column of a table that has the value of a column of the row's parent, by the foreign key `constraint`.

    A live copy always has it, a snapshot takes it when the key's columns are set; an `overridable` one only if the
    client gives none. `referenced_key` is a ReferencedKey.id if the key crosses shards, else None.
    """

    table: TableName
    column: str
    constraint: str
    parent: TableName
    parent_column: str
    kind: CopyKind = "live"
    overridable: bool = False
    referenced_key: str | None = None

    @property
    def live(self) -> bool:
        """Whether it follows its parent."""
        return self.kind == "live"


class Plan(msgspec.Struct, frozen=True, cache_hash=True):
    """The plan of a schema, each list sorted by name; `catches_errors` and `views` are those of the Database."""

    tables: tuple[TablePlan, ...]
    keys: tuple[KeyPlan, ...]
    referenced_keys: tuple[ReferencedKey, ...]
    catches_errors: bool = False
    claims: tuple[Claim, ...] = ()
    views: tuple[TableName, ...] = ()
    copies: tuple[Copy, ...] = ()

    def table(self, name: TableName) -> TablePlan | None:
        """The plan of that table."""
        return next((table for table in self.tables if table.table.name == name), None)

    def referenced_key(self, identifier: str) -> ReferencedKey:
        """The referenced key of that id. Raises KeyError."""
        for key in self.referenced_keys:
            if key.id == identifier:
                return key
        raise KeyError(identifier)
