"""Relations: foreign keys, and join tables, seen by name from either side.

A name is derived from the foreign key alone, or given by a tag in the constraint's comment, so that it never changes
because another table is added. Where two relations of a table have one name, or a column has it, the name stands for
neither: whoever uses it is told which tag tells them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import permutations
from typing import Final, Literal

import msgspec

from crosskey.catalog.model import Database, ForeignKey, Table, TableName
from crosskey.catalog.refusals import Refusal, refuse_key
from crosskey.catalog.tags import parse_tags

Kind = Literal["belongs to", "has one", "has many", "many to many"]

RELATION_TAGS: Final = ("relation", "inverse", "through")
"""The name from the child, the name from the parent, and the name of what the key leads to from the other side of a
join table."""

RESERVED: Final = "crosskey_"
"""How names begin that answers have beside those of columns and relations."""

_SUFFIXES: Final = ("_id", "Id")


class Relation(msgspec.Struct, frozen=True):
    """What rows of `table` have under a name: rows of `target`.

    It goes along `key`: from the child to its parent, or from the parent to its children; of a join table, to that and
    on along `far_key` to the other parent. `tag` is the one that names it, on the constraint `named_by`; `given` says
    whether it does.
    """

    name: str
    kind: Kind
    table: TableName
    target: TableName
    key: ForeignKey
    far_key: ForeignKey | None
    tag: str
    given: bool

    @property
    def many(self) -> bool:
        """Whether it leads to a list of rows."""
        return self.kind in ("has many", "many to many")

    @property
    def named_by(self) -> ForeignKey:
        """The key whose comment may name it."""
        return self.far_key or self.key

    @property
    def path(self) -> str:
        """The constraints that it goes along, for people."""
        keys = [self.key] if self.far_key is None else [self.key, self.far_key]
        return " and ".join(f'"{key.name}" of "{key.table}"' for key in keys)


Relations = Mapping[TableName, Mapping[str, Sequence[Relation]]]
"""For each table, what each name stands for: more than one relation if it is ambiguous."""


def find_relations(tables: Iterable[Table], keys: Iterable[ForeignKey]) -> Relations:
    """The relations of all tables, by name. Keys with PERIOD are none: they name rows that overlap, not one row."""
    by_name = {table.name: table for table in tables}
    found: dict[TableName, dict[str, list[Relation]]] = {name: {} for name in by_name}
    plain = [key for key in keys if not key.period and key.table in by_name and key.parent in by_name]
    for relation in _all_relations(by_name, plain):
        found[relation.table].setdefault(relation.name, []).append(relation)
    return found


def ambiguity(table: Table, name: str, relations: Sequence[Relation]) -> str:
    """Why a name stands for no relation, and what to do, in a sentence; empty if it stands for one."""
    tags = " or ".join(sorted({f"@{one.tag}" for one in relations}))
    if table.column(name) is not None:
        return f"it is also a column; name the relation along {relations[0].path} by {tags} in the constraint's comment"
    if len(relations) == 1:
        return ""
    paths = "; ".join(one.path for one in relations)
    return f"it is ambiguous between those along {paths}; tell them apart by {tags} in the constraints' comments"


def refuse_names(database: Database) -> Iterator[Refusal]:
    """Tags that give no name, one that is reserved, or one that is taken on purpose by another tag or by a column."""
    for key in database.foreign_keys:
        for tag, name in _given_names(key).items():
            if not name or " " in name or name.startswith(RESERVED):
                yield refuse_key(key, f"@{tag} takes one name, which does not begin with {RESERVED}, not {name!r}")
    tables = {table.name: table for table in database.tables}
    for table, names in find_relations(database.tables, database.foreign_keys).items():
        for name, relations in names.items():
            yield from _refuse_taken(tables[table], name, [one for one in relations if one.given])


def _refuse_taken(table: Table, name: str, given: Sequence[Relation]) -> Iterator[Refusal]:
    for one in given[1:]:
        why = f'@{one.tag} {name}: that is what "{table.name}" calls the relation along {given[0].path} already'
        yield refuse_key(one.named_by, f"{why}; choose another name")
    if given and table.column(name) is not None:
        yield refuse_key(given[0].named_by, f'@{given[0].tag} {name}: "{table.name}" has a column of that name')


def _all_relations(tables: Mapping[TableName, Table], keys: Sequence[ForeignKey]) -> Iterator[Relation]:
    by_child: dict[TableName, list[ForeignKey]] = {}
    for key in keys:
        by_child.setdefault(key.table, []).append(key)
        yield _relation("belongs to", key, None, "relation", name_of_parent(key))
        kind: Kind = "has one" if _is_unique(tables[key.table], key) else "has many"
        yield _relation(kind, key, None, "inverse", key.table.name)
    for child, own in by_child.items():
        for key, far in permutations(own, 2):
            if _joins(tables[child], key, far):
                yield _relation("many to many", key, far, "through", _name_of_far(key, far))


def _relation(kind: Kind, key: ForeignKey, far: ForeignKey | None, tag: str, derived: str) -> Relation:
    given = _given_names(far or key).get(tag)
    table = key.table if kind == "belongs to" else key.parent
    target = far.parent if far is not None else key.parent if kind == "belongs to" else key.table
    return Relation(given or derived, kind, table, target, key, far, tag, given is not None)


def name_of_parent(key: ForeignKey) -> str:
    """What a child calls its parent if no tag says it: `author` for `author_id`, else the parent table's name."""
    differing = [own for own, named in zip(key.columns, key.parent_columns, strict=True) if own != named]
    column = (differing or key.columns)[-1]
    stem = next((column.removesuffix(suffix) for suffix in _SUFFIXES if column.endswith(suffix)), "")
    return stem or key.parent.name


def _name_of_far(key: ForeignKey, far: ForeignKey) -> str:
    """What one side of a join table calls the other: its table; of a table joined with itself, what the key says."""
    if key.parent != far.parent:
        return far.parent.name
    return _given_names(far).get("relation") or name_of_parent(far)


def _given_names(key: ForeignKey) -> dict[str, str]:
    return {tag.name: tag.argument for tag in parse_tags(key.comment) if tag.name in RELATION_TAGS}


def _is_unique(table: Table, key: ForeignKey) -> bool:
    """Whether a parent has one child at most."""
    return any(one.plain and set(one.columns) <= set(key.columns) for one in table.unique_keys)


def _joins(table: Table, key: ForeignKey, far: ForeignKey) -> bool:
    """Whether a unique key of the table consists of the two foreign keys."""
    one, other = set(key.columns), set(far.columns)
    if one <= other or other <= one:
        return False
    return any(unique.plain and set(unique.columns) == one | other for unique in table.unique_keys)
