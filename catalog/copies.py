"""Copies: columns that have the value of a column of the row's parent, by `@copy fk_column.parent_column`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from crosskey.catalog.model import Column, Database, ForeignKey, Table, TableName, UniqueKey
from crosskey.catalog.plan import Copy, CopyKind, KeyPlan, TablePlan
from crosskey.catalog.refusals import Refusal, refuse_table
from crosskey.catalog.tags import Tag, parse_tags

_FORM: Final = "write @copy fk_column.parent_column, and snapshot or snapshot overridable behind it if it is one"
_KINDS: Final[Mapping[str, tuple[CopyKind, bool]]] = {
    "": ("live", False),
    "live": ("live", False),
    "snapshot": ("snapshot", False),
    "snapshot overridable": ("snapshot", True),
}
"""What may stand behind what is copied: the kind of copy, and whether a client may give a value of its own."""

_JSON: Final = frozenset({"json", "jsonb"})


@dataclass(frozen=True, slots=True)
class _Wish:
    """A tag that is well-formed: the column is to be a copy by way of a foreign key's column."""

    table: Table
    column: Column
    by: str
    parent_column: str
    kind: CopyKind
    overridable: bool

    def refuse(self, why: str) -> Refusal:
        """A refusal that names the copy."""
        named = f"@copy {self.by}.{self.parent_column}"
        return refuse_table(self.table, f'column "{self.column.name}": {named}: {why}', column=self.column.name)


def plan_copies(
    database: Database, tables: Mapping[TableName, TablePlan], keys: Sequence[KeyPlan]
) -> tuple[tuple[Copy, ...], list[Refusal]]:
    """The copies, by table and column, and every reason why one cannot be kept.

    Copies of tables and along keys that were refused themselves are left out: nothing more is to be said of them.
    """
    copies: list[Copy] = []
    refusals: list[Refusal] = []
    for wish in _read_tags(database, refusals):
        planned = _plan_copy(wish, database, tables, keys)
        if isinstance(planned, Copy):
            copies.append(planned)
        else:
            refusals += planned
    refusals += _refuse_circles(copies, tables)
    return tuple(sorted(copies, key=lambda copy: (copy.table, copy.column))), refusals


def _read_tags(database: Database, refusals: list[Refusal]) -> Iterator[_Wish]:
    for table in database.tables:
        for column in table.columns:
            tags = [tag for tag in parse_tags(column.comment) if tag.name == "copy"]
            if len(tags) > 1:
                why = f'column "{column.name}": it has {len(tags)} tags @copy; keep one'
                refusals.append(refuse_table(table, why, column=column.name))
            elif tags:
                wish = _read(table, column, tags[0])
                if isinstance(wish, _Wish):
                    yield wish
                else:
                    refusals.append(wish)


def _read(table: Table, column: Column, tag: Tag) -> _Wish | Refusal:
    copied, _, words = tag.argument.partition(" ")
    by, dot, parent_column = copied.partition(".")
    kind = _KINDS.get(" ".join(words.split()))
    if not (by and dot and parent_column):
        why = f"@copy names no column of a parent, but {tag.argument!r}; {_FORM}"
    elif kind is None:
        known = ", ".join(word for word in _KINDS if word)
        why = f"@copy {copied}: {words.strip()!r} is no kind of copy; the kinds are {known}"
    else:
        return _Wish(table, column, by, parent_column, *kind)
    return refuse_table(table, f'column "{column.name}": {why}', column=column.name)


def _plan_copy(
    wish: _Wish, database: Database, tables: Mapping[TableName, TablePlan], keys: Sequence[KeyPlan]
) -> Copy | tuple[Refusal, ...]:
    key = _key_by(wish, database.foreign_keys)
    if isinstance(key, Refusal):
        return (key,)
    planned = next((one for one in keys if one.foreign_key is key), None)
    child, parent = tables.get(key.table), tables.get(key.parent)
    if planned is None or child is None or parent is None:
        return ()
    source = parent.table.column(wish.parent_column)
    if source is None:
        return (wish.refuse(f'"{key.parent}" has no column "{wish.parent_column}"'),)
    refusals = (
        *_refuse_key(wish, key, planned, parent),
        *_refuse_source(wish, key, source),
        *_refuse_place(wish, child, database.foreign_keys, crossing=planned.kind == "cross-shard"),
    )
    return refusals or Copy(
        wish.table.name,
        wish.column.name,
        key.name,
        key.parent,
        wish.parent_column,
        wish.kind,
        wish.overridable,
        planned.referenced_key,
    )


def _key_by(wish: _Wish, keys: Sequence[ForeignKey]) -> ForeignKey | Refusal:
    """The foreign key that is meant: the one of this column alone, else the only one that it is part of."""
    own = [key for key in keys if key.table == wish.table.name and wish.by in key.columns]
    alone = [key for key in own if key.columns == (wish.by,)]
    found = alone or own
    if not found:
        return wish.refuse(f'no foreign key of the table is on "{wish.by}"')
    if len(found) > 1:
        named = ", ".join(f'"{key.name}"' for key in found)
        return wish.refuse(f"it does not tell which of the foreign keys {named} is meant")
    return found[0]


def _refuse_key(wish: _Wish, key: ForeignKey, planned: KeyPlan, parent: TablePlan) -> Iterator[Refusal]:
    if key.period:
        yield wish.refuse(f'"{key.name}" has PERIOD, so that a row has no one parent')
    if planned.kind == "cross-shard" and not set(key.parent_columns) & set(parent.locators):
        why = f'rows of "{key.parent}" are found by the claim on their key, which has no other columns of theirs'
        yield wish.refuse(f"{why}; reference what places the row, or what carries its slot")


def _refuse_source(wish: _Wish, key: ForeignKey, source: Column) -> Iterator[Refusal]:
    named = f'"{key.parent}.{source.name}"'
    if source.name in key.parent_columns:
        yield wish.refuse(f"{named} is part of the key itself, which the row has already")
        return
    if source.generated:
        yield wish.refuse(f"{named} is GENERATED; copy the columns that it is computed from")
    copied = wish.column
    if (source.type, source.collation) != (copied.type, copied.collation):
        types = [f"{one.type} COLLATE {one.collation}" if one.collation else one.type for one in (source, copied)]
        yield wish.refuse(f"{named} is {types[0]}, and the copy is {types[1]}; give both the same type")


def _refuse_place(wish: _Wish, child: TablePlan, keys: Sequence[ForeignKey], *, crossing: bool) -> Iterator[Refusal]:
    """What a column is that cannot be a copy as well."""
    name, column = wish.column.name, wish.column
    if child.placement == "reference":
        yield wish.refuse("the table is @reference, and nothing but a request writes that on all shards alike")
    if column.generated or column.identity:
        yield wish.refuse("it is GENERATED, and so has a value already")
    elif column.default is not None:
        yield wish.refuse("it has a DEFAULT, which would be taken for a value that the client gives; leave it out")
    if name == child.shard_key:
        yield wish.refuse("it is the shard key")
    unique = [key.name for key in wish.table.unique_keys if name in (*key.columns, *_reads(key))]
    own = [key.name for key in keys if key.table == wish.table.name and name in key.columns]
    for constraint in [*unique, *own]:
        yield wish.refuse(f'it is part of the key "{constraint}"')
    if crossing and column.base_type in _JSON:
        why = f"{column.type} does not cross shards as a copy: its own null and NULL would be one"
        yield wish.refuse(f"{why}; copy a text")
    if crossing and column.domain:
        why = f"{column.type} is a domain, which may refuse the NULL that the row has until its parent has been found"
        yield wish.refuse(f"{why}; use the type below it, and a CHECK")


def _reads(key: UniqueKey) -> tuple[str, ...]:
    return () if key.computed is None else key.computed.reads


def _refuse_circles(copies: Sequence[Copy], tables: Mapping[TableName, TablePlan]) -> Iterator[Refusal]:
    """Copies of copies end at a column that is none."""
    source = {(copy.table, copy.column): (copy.parent, copy.parent_column) for copy in copies}
    for start in source:
        seen = [start]
        while (following := source.get(seen[-1])) is not None and following not in seen:
            seen.append(following)
        if following == start:
            path = " of ".join(f"{table}.{column}" for table, column in [*seen, start])
            why = f'column "{start[1]}": it is a copy of itself: {path}'
            yield refuse_table(tables[start[0]].table, why, column=start[1])
