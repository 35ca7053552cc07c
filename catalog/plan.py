"""Where each table's rows live and how each foreign key is enforced: the result of planning a schema."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Literal, TypeAlias, TypeVar

import msgspec

from crosskey.catalog.key_values import value_columns
from crosskey.catalog.model import Column, Computed, Equality, ForeignKey, Table, TableName
from crosskey.catalog.naming import shorten

Placement = Literal["sharded", "reference"]
CopyKind = Literal["live", "snapshot"]


class Anchor(msgspec.Struct, frozen=True, cache_hash=True):
    """The row that a row of this table lives with, where only a claim tells its shard.

    `table` and `column` are what the shard key references, by the foreign key called `constraint`. `root_table` and
    `root_column` are the claimed key where the values of `column` come from in the end: the same, unless the parent is
    anchored itself. `claim` is the Claim.id of that key.

    For example, `tags.details_id` references `details.media_id`, and that references `media.id`, which is claimed. The
    anchor of a tag has `details.media_id` as table and column, and `media.id` as root.
    """

    constraint: str
    table: TableName
    column: str
    root_table: TableName
    root_column: str
    claim: str


class BySlot(msgspec.Struct, frozen=True):
    """Rows live on the shard of their key's slot; `slot_column` is a uuid that carries that too, if there is one."""

    key: Column
    slot_column: Column | None = None


class WithAnchor(msgspec.Struct, frozen=True):
    """Rows live with their anchor, which they name by `key`."""

    key: Column
    anchor: Anchor


class OnAllShards(msgspec.Struct, frozen=True):
    """Every shard has the same rows: a reference table."""


Residence: TypeAlias = BySlot | WithAnchor | OnAllShards
"""Where the rows of a table live."""


class TablePlan(msgspec.Struct, frozen=True, cache_hash=True, dict=True):
    """Where a table's rows live.

    `shard_key` is the column that places a row, None for a reference table. It does so by its slot, unless there is an
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
    def name(self) -> TableName:
        """The table's name."""
        return self.table.name

    @cached_property
    def lives(self) -> Residence:
        """Where its rows live, with the columns that tell."""
        if self.shard_key is None:
            return OnAllShards()
        key = self.table.own_column(self.shard_key)
        if self.anchor is not None:
            return WithAnchor(key, self.anchor)
        return BySlot(key, None if self.slot_column is None else self.table.own_column(self.slot_column))

    @property
    def shard_key_column(self) -> Column:
        """The column that places a row; only for a sharded table. Raises KeyError for another one."""
        return self.table.own_column(self.shard_key or "")

    @cached_property
    def locators(self) -> tuple[str, ...]:
        """The columns whose value alone tells a row's slot."""
        if self.anchor is not None:
            return ()
        return tuple(column for column in (self.shard_key, self.slot_column) if column is not None)

    @property
    def colocating(self) -> tuple[str, ...]:
        """The columns of which rows with equal values are on one shard.

        They are the locators. Of an anchored table it is the shard key: of two comments with one `media_id` both live
        with that media, though the number does not tell where.
        """
        return self.locators if self.anchor is None or self.shard_key is None else (self.shard_key,)

    def origin(self, column: str) -> tuple[TableName, str] | None:
        """The claimed key whose values the column has, if it names the anchor; None for any other column.

        A row and the row of that key with the same value are on one shard: a comment by its `media_id` and the media
        by its `id`.
        """
        if self.anchor is None or column != self.shard_key:
            return None
        return self.anchor.root_table, self.anchor.root_column

    def origin_or_self(self, column: str) -> tuple[TableName, str]:
        """The origin of a column that names the anchor; of any other, the column itself."""
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


class ViewPlan(msgspec.Struct, frozen=True, cache_hash=True):
    """A view: as what table it is read, or why it is not.

    The table is of the kind 'v'. Its primary key are the columns that tell its rows apart, and may be NULL, if any do;
    its locators are those that tell the shard of a row, if any do.
    """

    name: TableName
    read_as: TablePlan | None
    why_not: str = ""


class Plan(msgspec.Struct, frozen=True, cache_hash=True, dict=True):
    """The plan of a schema, each list sorted by name; `catches_errors` is that of the Database.

    What is looked up is found by an index, made when it is first asked for.
    """

    tables: tuple[TablePlan, ...]
    keys: tuple[KeyPlan, ...]
    referenced_keys: tuple[ReferencedKey, ...]
    catches_errors: bool = False
    claims: tuple[Claim, ...] = ()
    views: tuple[ViewPlan, ...] = ()
    copies: tuple[Copy, ...] = ()

    def table(self, name: TableName) -> TablePlan | None:
        """The plan of that table, or None."""
        return self._tables.get(name)

    def own_table(self, name: TableName) -> TablePlan:
        """The plan of that table, where there must be one: a key's, for example. Raises KeyError."""
        return self._tables[name]

    @cached_property
    def _tables(self) -> Mapping[TableName, TablePlan]:
        return {table.name: table for table in self.tables}

    def key(self, table: TableName, constraint: str) -> KeyPlan | None:
        """The foreign key that a table has under that name, or None."""
        return self._keys.get((table, constraint))

    @cached_property
    def _keys(self) -> Mapping[tuple[TableName, str], KeyPlan]:
        return {(key.foreign_key.table, key.foreign_key.name): key for key in self.keys}

    def keys_of(self, table: TableName) -> Sequence[KeyPlan]:
        """The foreign keys of a table's own rows."""
        return self._keys_of.get(table, ())

    @cached_property
    def _keys_of(self) -> Mapping[TableName, Sequence[KeyPlan]]:
        return _grouped(self.keys, lambda key: key.foreign_key.table)

    def keys_by(self, referenced: ReferencedKey) -> Sequence[KeyPlan]:
        """The foreign keys across shards that reference that key."""
        return self._keys_by.get(referenced.id, ())

    @cached_property
    def _keys_by(self) -> Mapping[str | None, Sequence[KeyPlan]]:
        return _grouped(self.keys, lambda key: key.referenced_key)

    def referenced_key(self, identifier: str) -> ReferencedKey:
        """The referenced key of that id. Raises KeyError."""
        return self._referenced_keys[identifier]

    @cached_property
    def _referenced_keys(self) -> Mapping[str, ReferencedKey]:
        return {key.id: key for key in self.referenced_keys}

    def referenced_keys_of(self, parent: TableName) -> Sequence[ReferencedKey]:
        """The keys of a table by which rows on other shards reference its own."""
        return self._referenced_keys_of.get(parent, ())

    @cached_property
    def _referenced_keys_of(self) -> Mapping[TableName, Sequence[ReferencedKey]]:
        return _grouped(self.referenced_keys, lambda key: key.parent)

    def claim(self, identifier: str) -> Claim:
        """The claim of that id. Raises KeyError."""
        return self._claims[identifier]

    @cached_property
    def _claims(self) -> Mapping[str, Claim]:
        return {claim.id: claim for claim in self.claims}

    def claims_of(self, table: TableName) -> Sequence[Claim]:
        """The claims for values of a table's rows."""
        return self._claims_of.get(table, ())

    @cached_property
    def _claims_of(self) -> Mapping[TableName, Sequence[Claim]]:
        return _grouped(self.claims, lambda claim: claim.table)

    @cached_property
    def anchored(self) -> tuple[tuple[TablePlan, WithAnchor], ...]:
        """The tables whose rows live with anchors."""
        found = ((table, table.lives) for table in self.tables)
        return tuple((table, lives) for table, lives in found if isinstance(lives, WithAnchor))


Item = TypeVar("Item")
Group = TypeVar("Group", bound=Hashable)


def _grouped(items: Iterable[Item], group: Callable[[Item], Group]) -> Mapping[Group, Sequence[Item]]:
    groups: defaultdict[Group, list[Item]] = defaultdict(list)
    for item in items:
        groups[group(item)].append(item)
    return {name: tuple(those) for name, those in groups.items()}
