"""The schema as PostgreSQL described it: tables, columns, keys.

A node fills these from `pg_catalog` and sends them as JSON; everything else in the catalog is computed from them.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Final, Literal

import msgspec

from crosskey.catalog.view_queries import Query

Action = Literal["NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT"]
Match = Literal["SIMPLE", "FULL", "PARTIAL"]

_NEXT_NUMBER: Final = re.compile(r"nextval\('(?:[^']|'')*'::regclass\)")
_INTEGERS: Final = frozenset({"int2", "int4", "int8"})


class TableName(msgspec.Struct, frozen=True, cache_hash=True, order=True):
    """A table's name, or a sequence's, exactly as PostgreSQL stores it (no quotes)."""

    schema: str
    name: str

    def __str__(self) -> str:
        """`name` in schema public, else `schema.name`: the form that the API uses."""
        return self.name if self.schema == "public" else f"{self.schema}.{self.name}"

    @property
    def qualified(self) -> str:
        """`schema.name`, the form that router and node use between them."""
        return f"{self.schema}.{self.name}"


class Column(msgspec.Struct, frozen=True, cache_hash=True):
    """A column of a table.

    `type` is the type as PostgreSQL prints it (`format_type`), with its modifier; `base_type` is the name of the type
    below all domains without modifier (`int4`, `uuid`, `varchar`, `_int8` for an array).
    """

    name: str
    type: str
    base_type: str
    not_null: bool
    default: str | None = None
    generated: bool = False
    identity: Literal["", "ALWAYS", "BY DEFAULT"] = ""
    max_length: int | None = None
    """Of varchar(n) and char(n): n."""
    domain: bool = False
    """Whether `type` is a domain, which may refuse values of the type below."""
    deterministic_collation: bool = True
    """False only for text columns whose collation calls unequal texts equal."""
    collation: str | None = None
    """The collation as SQL, where it is another than the database's."""
    comment: str | None = None
    sequence: TableName | None = None
    """The sequence that an identity column or the default draws from; of several, the first by name."""
    draws_unseen: bool = False
    """Whether the default draws from a sequence that it does not name: in a function, or by a name that it computes."""
    oddly_ordered: bool = False
    """Whether `<` and `>` are not what orders the type: hstore's have other names, an extension any schema."""

    @property
    def draws(self) -> bool:
        """Whether an absent value is drawn from a sequence, in whatever way."""
        return self.sequence is not None or self.draws_unseen

    @property
    def counts(self) -> bool:
        """Whether an absent value is the next number of `sequence`, as it is: `serial`, identity, `nextval(..)`."""
        if self.sequence is None or self.base_type not in _INTEGERS:
            return False
        return self.identity != "" or _NEXT_NUMBER.fullmatch(self.default or "") is not None


class Computed(msgspec.Struct, frozen=True, cache_hash=True):
    """What an index that is partial, or over expressions, keeps unique: values that PostgreSQL computes of a row.

    `columns` describe these values as if they were columns. `expressions` are the SQL of each, over those columns of
    the table that are called in `reads`. A row that does not meet the `predicate` has no value; where there is none,
    every row has one. `shown` is how PostgreSQL's messages name the key: `shop, lower(email)`.
    """

    columns: tuple[Column, ...]
    expressions: tuple[str, ...]
    reads: tuple[str, ...]
    shown: str
    predicate: str = ""
    alike: bool = True
    """Whether it compares values as a plain key of these types does, by no operator class or collation of its own."""
    of_whole_rows: bool = False
    """Whether it reads rows as such, as in `f(patrons.*)`."""


class UniqueKey(msgspec.Struct, frozen=True, cache_hash=True):
    """A PRIMARY KEY, a UNIQUE constraint, or a unique index.

    `columns` are the plain key columns; `plain` is False for an index that is partial or over expressions, which then
    may have fewer columns than keys, and for one that compares as a type of an extension's does. Of the former,
    `computed` tells what is unique; of the latter, `by_equals` that one row at most has given values for all columns.
    """

    name: str
    columns: tuple[str, ...]
    primary: bool = False
    constraint: bool = True
    plain: bool = True
    by_equals: bool = False
    computed: Computed | None = None
    nulls_not_distinct: bool = False
    without_overlaps: bool = False
    """Whether rows conflict that overlap in its last column, a range."""
    deferrable: bool = False
    initially_deferred: bool = False

    @property
    def names_rows(self) -> bool:
        """Whether a value for each of the columns selects one row at most."""
        return self.plain or self.by_equals


class Exclusion(msgspec.Struct, frozen=True, cache_hash=True):
    """An EXCLUDE constraint; `equal_columns` are the columns compared with `=`."""

    name: str
    equal_columns: tuple[str, ...]


class Equality(msgspec.Struct, frozen=True, cache_hash=True):
    """An operator by which a key compares two columns, as SQL: `OPERATOR(schema.=)`.

    `left` and `right` are the types that values are cast to for it; empty where it takes the column's own.
    """

    operator: str = "OPERATOR(pg_catalog.=)"
    left: str = ""
    right: str = ""


class ForeignKey(msgspec.Struct, frozen=True, cache_hash=True):
    """A foreign key, its columns paired in order with the parent's."""

    name: str
    table: TableName
    columns: tuple[str, ...]
    parent: TableName
    parent_columns: tuple[str, ...]
    match: Match = "SIMPLE"
    on_delete: Action = "NO ACTION"
    on_update: Action = "NO ACTION"
    on_delete_columns: tuple[str, ...] = ()
    """The column list of SET NULL or SET DEFAULT; empty means all columns."""
    deferrable: bool = False
    initially_deferred: bool = False
    validated: bool = True
    """False for NOT VALID and NOT ENFORCED."""
    period: bool = False
    """True for a temporal key (PERIOD), whose last pair is compared by overlap."""
    equalities: tuple[Equality, ...] = ()
    """What finds the parent of a child, column by column: the parent's value is on the left."""
    parent_equalities: tuple[Equality, ...] = ()
    """What tells whether two parents are the same, column by column."""
    by_default: bool = True
    """Whether the parent's columns are compared by the default operator classes of their types."""
    comment: str | None = None


class TriggerWrite(msgspec.Struct, frozen=True):
    """A table that a trigger's function writes, as far as its own text tells; `inserts` if it inserts rows into it."""

    trigger: str
    table: TableName
    inserts: bool = False


class Table(msgspec.Struct, frozen=True, cache_hash=True, dict=True):
    """A table; `kind` is pg_class.relkind ('r', 'p' for a partitioned table, 'f' for a foreign one).

    The partitions of one are no tables of their own.
    """

    name: TableName
    columns: tuple[Column, ...]
    unique_keys: tuple[UniqueKey, ...] = ()
    exclusions: tuple[Exclusion, ...] = ()
    comment: str | None = None
    kind: str = "r"
    inherits: bool = False
    """Whether it is a parent or child of table inheritance, partitions left aside."""
    unlogged: bool = False
    acts_on_new_rows: bool = False
    """Whether a trigger fires after each row that is inserted, and so may change it once more."""
    acts_on_inserts: bool = False
    """Whether any trigger fires when rows are inserted."""
    acts_after_rows: bool = False
    """Whether a trigger fires after each row that is written, and so may change it once more."""
    trigger_writes: tuple[TriggerWrite, ...] = ()
    partition_key: tuple[str, ...] = ()
    """The columns that tell the partition of a row."""
    keys_of_partitions: tuple[str, ...] = ()
    """Keys that single partitions have by themselves, or others have onto them: `events_2024_key of events_2024`."""

    @property
    def is_view(self) -> bool:
        """Whether it stands for a view that requests read."""
        return self.kind == "v"

    @property
    def partitioned(self) -> bool:
        """Whether its rows are in partitions."""
        return self.kind == "p"

    @property
    def written_by_triggers(self) -> frozenset[TableName]:
        """The tables that a write to this one may write too."""
        return frozenset(write.table for write in self.trigger_writes)

    def column(self, name: str) -> Column | None:
        """The column of that name, or None."""
        return self._columns_by_name.get(name)

    def own_column(self, name: str) -> Column:
        """The column of that name, where there must be one. Raises KeyError."""
        return self._columns_by_name[name]

    @cached_property
    def _columns_by_name(self) -> dict[str, Column]:
        return {column.name: column for column in self.columns}

    @cached_property
    def primary_key(self) -> tuple[str, ...]:
        """The primary key's columns; empty if there is none."""
        return next((key.columns for key in self.unique_keys if key.primary), ())


class OtherComment(msgspec.Struct, frozen=True):
    """A comment on anything but a table, column or foreign key; `object` is PostgreSQL's description of that."""

    object: str
    comment: str


class View(msgspec.Struct, frozen=True):
    """A view that is not materialized; its query is None if nobody could read it.

    `calls` are functions in it that may read tables, as far as can be told.
    """

    name: TableName
    columns: tuple[Column, ...]
    query: Query | None
    calls: tuple[str, ...] = ()


class Database(msgspec.Struct, frozen=True):
    """All tables and foreign keys of a schema, each sorted by name."""

    tables: tuple[Table, ...]
    foreign_keys: tuple[ForeignKey, ...] = ()
    other_comments: tuple[OtherComment, ...] = ()
    catches_errors: bool = False
    """Whether a function may catch an error of a statement in it, as `EXCEPTION WHEN` does."""
    views: tuple[TableName, ...] = ()
    """Views and materialized views: each shard has them, over its own rows."""
    view_queries: tuple[View, ...] = ()
    """What views read that are not materialized."""

    def to_json(self) -> bytes:
        """The description as JSON."""
        return msgspec.json.encode(self)

    @staticmethod
    def from_json(text: bytes) -> Database:
        """The description of that JSON. Raises msgspec.ValidationError if it is none."""
        return msgspec.json.decode(text, type=Database)
