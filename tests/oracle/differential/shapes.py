"""Making families: every shape of foreign keys, with everything else chosen at random."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TypeVar, get_args

from tests.oracle.differential.family import Column, Family, ForeignKey, Generated, Table
from tests.oracle.differential.keys import default_key

Edge = tuple[str, str]
"""A child and the parent that it references."""

SHAPES: dict[str, tuple[Edge, ...]] = {
    "a child": (("b", "a"),),
    "a chain": (("b", "a"), ("c", "b")),
    "a diamond": (("b", "a"), ("c", "a"), ("d", "b"), ("d", "c")),
    "a table that references itself": (("a", "a"), ("b", "a")),
    "a cycle of two tables": (("a", "b"), ("b", "a")),
    "two keys to one parent": (("b", "a"), ("b", "a")),
    "two keys on one column": (("c", "a"), ("c", "b")),
    "two parents": (("c", "a"), ("c", "b")),
    "two keys that share a column": (("c", "a"), ("c", "b")),
    "a diamond within tenants": (("b", "a"), ("c", "a"), ("d", "b"), ("d", "c")),
}
SHARED_PARTS = {"two keys that share a column": "both_part", "a diamond within tenants": "part"}
"""Of shapes whose keys all have one column of their child in common: its name. "part" is the child's own."""
ACTIONS = ("NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT")
TIMINGS = ("NOT DEFERRABLE", "DEFERRABLE INITIALLY IMMEDIATE", "DEFERRABLE INITIALLY DEFERRED")
GENERATED: tuple[Generated, ...] = get_args(Generated)
KEY_TYPES = ("bigint", "bigint", "integer", "text")

Choice = TypeVar("Choice")


@dataclass
class FamilyMaker:
    """Makes families; all 25 pairs of actions and all shapes take their turns."""

    random: Random

    def __post_init__(self) -> None:
        self._numbers = itertools.count()
        self._actions = self._turns(list(itertools.product(ACTIONS, ACTIONS)))
        self._shapes = self._turns(list(SHAPES))

    def family(self) -> Family:
        """A family of the next shape."""
        name, shape = f"f{next(self._numbers)}", next(self._shapes)
        return _Draft(self.random, self._actions, name, shape).family()

    def _turns(self, choices: list[Choice]) -> Iterator[Choice]:
        """Endless rounds of all choices, each in another order."""
        while True:
            yield from self.random.sample(choices, len(choices))


class _Draft:
    """A family in the making."""

    def __init__(self, random: Random, actions: Iterator[tuple[str, str]], name: str, shape: str) -> None:
        self._random = random
        self._actions = actions
        self._name = name
        self._shape = shape
        self._key_type = random.choice(KEY_TYPES)
        self._shared_column = shape == "two keys on one column"
        self._tables: dict[str, Table] = {}

    def family(self) -> Family:
        edges = list(enumerate(SHAPES[self._shape]))
        later = [edge for edge in edges if edge[1][1] >= edge[1][0]]
        for letter in sorted(set(itertools.chain.from_iterable(SHAPES[self._shape]))):
            self._tables[letter] = self._table(letter)
            for place, (child, parent) in edges:
                if child == letter and parent < letter:
                    self._add_key(place, child, parent)
            self._choose_placement(letter)
        for place, (child, parent) in later:
            self._add_key(place, child, parent)
        tables = tuple(replace(table, with_parent=self._lives_with_parent(table)) for table in self._tables.values())
        return Family(self._name, self._shape, self._key_type, tables)

    def _table(self, letter: str) -> Table:
        """The table without its foreign keys, placed by its own id."""
        columns = [Column("id", self._key_type, "key", not_null=True, generated=self._generated())]
        primary_key: tuple[str, ...] = ("id",)
        target = primary_key
        if self._shape in SHARED_PARTS or (not self._shared_column and self._chance(0.5)):
            columns.append(Column("part", "integer", "part", not_null=True))
            primary_key, target = self._random.choice(
                [(("id", "part"), ("id", "part")), (("id",), ("id", "part")), (("id", "part"), ("part", "id"))]
            )
        columns.append(Column("note", "integer", "note"))
        unique_note = self._chance(0.25)
        return Table(f"{self._name}_{letter}", tuple(columns), "id", primary_key, target, (), unique_note)

    def _generated(self) -> Generated | None:
        return self._random.choice(GENERATED) if self._key_type != "text" and self._chance(0.4) else None

    def _add_key(self, place: int, child_letter: str, parent_letter: str) -> None:
        child, parent = self._tables[child_letter], self._tables[parent_letter]
        prefix = "both" if self._shared_column else parent_letter + ("2" if place and self._has(child, parent) else "")
        on_delete, on_update = next(self._actions)
        names = {name: f"{prefix}_{name}" for name in parent.target}
        if self._shape in SHARED_PARTS:
            names["part"] = SHARED_PARTS[self._shape]
        new = {
            names[name]: self._referencing(parent.column(name), names[name], (on_delete, on_update))
            for name in parent.target
        }
        columns = tuple(new)
        may_be_id = len(columns) == 1 and child.primary_key == ("id",) and child.generated is None
        if may_be_id and self._chance(0.1) and child != parent:
            columns, new = ("id",), {}
        known = {column.name for column in child.columns}
        key = ForeignKey(
            f"{child.name}_to_{parent_letter}_{place}",
            columns,
            parent.name,
            parent.target,
            self._random.choice(["SIMPLE", "SIMPLE", "FULL"]),
            on_delete,
            self._listed(columns, on_delete),
            on_update,
            self._random.choice(TIMINGS),
        )
        self._tables[child_letter] = replace(
            child,
            columns=(*child.columns, *(column for column in new.values() if column.name not in known)),
            foreign_keys=(*child.foreign_keys, key),
        )

    @staticmethod
    def _has(child: Table, parent: Table) -> bool:
        return any(key.parent == parent.name for key in child.foreign_keys)

    def _referencing(self, parent: Column, name: str, actions: Sequence[str]) -> Column:
        """The child's column for one of the parent's."""
        default = None
        if "SET DEFAULT" in actions and self._chance(0.75):
            default = "1" if parent.kind == "part" else repr(default_key(self._key_type))
        column_type = "integer" if parent.type == "bigint" and self._chance(0.2) else parent.type
        return Column(name, column_type, parent.kind, not_null=self._chance(0.15), default=default)

    def _listed(self, columns: tuple[str, ...], on_delete: str) -> tuple[str, ...]:
        if on_delete not in ("SET NULL", "SET DEFAULT") or len(columns) == 1 or self._chance(0.3):
            return ()
        return (self._random.choice(columns),)

    def _choose_placement(self, letter: str) -> None:
        table = self._tables[letter]
        is_parent = any(parent == letter for _, parent in SHAPES[self._shape])
        kind = self._random.choices(
            ["own id", "a reference", "part", "everywhere", "no primary key", "elsewhere"],
            [8, 5, 2, 2, 0 if is_parent else 2, 5 if is_parent else 2],
        )[0]
        if kind == "everywhere":
            table = replace(table, shard_key=None)
        elif kind == "part" and any(column.name == "part" for column in table.columns):
            table = replace(table, shard_key="part")
        elif kind == "a reference" and table.foreign_keys:
            table = self._placed_by_reference(table)
        elif kind == "elsewhere":
            # By what no key has: they are all claimed.
            table = replace(table, columns=(*table.columns, Column("place", "integer", "part", not_null=True)))
            table = replace(table, shard_key="place")
        elif kind == "no primary key":
            table = replace(table, primary_key=(), target=())
        self._tables[letter] = table

    def _placed_by_reference(self, table: Table) -> Table:
        """Rows live where a column of a foreign key says: with their parent, if that is what places the parent."""
        column = self._random.choice(self._random.choice(table.foreign_keys).columns)
        columns = tuple(replace(one, not_null=one.not_null or one.name == column) for one in table.columns)
        key = ("id",) if column == "id" else (column, "id")
        return replace(table, columns=columns, shard_key=column, primary_key=key, target=key)

    def _lives_with_parent(self, table: Table) -> bool:
        """Whether to say so, of a table whose shard key names what places a row of a parent."""
        tables = {one.name: one for one in self._tables.values()}
        named = {
            (key.parent, parent_column)
            for key in table.foreign_keys
            for column, parent_column in zip(key.columns, key.parent_columns, strict=True)
            if column == table.shard_key
        }
        return any(tables[parent].shard_key == column for parent, column in named) and self._chance(0.5)

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability
