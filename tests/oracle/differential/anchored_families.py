"""Families whose rows live with parents that only claims find, with actions and timings chosen at random."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.oracle.differential.family import Column, Family, ForeignKey, Table
from tests.oracle.differential.keys import default_key
from tests.oracle.differential.shapes import ACTIONS, KEY_TYPES, TIMINGS


def anchored_families(random: Random, count: int) -> Iterator[Family]:
    """Families with names of their own: by turns one below another, and beside each other below one parent."""
    for number in range(count):
        yield _Maker(random, f"anchored{number}").family(beside=number % 2 == 1)


class _Maker:
    """Makes one family."""

    def __init__(self, random: Random, name: str) -> None:
        self._random = random
        self._name = name
        self._key_type = random.choice(KEY_TYPES)

    def family(self, *, beside: bool) -> Family:
        parent = self._parent()
        tables = [parent, *(self._beside(parent) if beside else self._below(parent))]
        return Family(
            self._name, "anchored rows beside" if beside else "anchored rows below", self._key_type, tuple(tables)
        )

    def _parent(self) -> Table:
        """Placed by what no key has, so that its key is claimed."""
        columns = (*self._own_columns(), Column("place", "integer", "part", not_null=True))
        return Table(f"{self._name}_a", columns, "place", ("id",), ("id",), (), self._random.random() < 0.25)

    def _below(self, parent: Table) -> Iterator[Table]:
        """A child, its child, and a row of anywhere that references the first."""
        child = self._anchored("b", self._key("b", "a", ("a_id",), parent))
        yield child
        yield self._anchored("c", self._key("c", "b", ("b_id",), child))
        elsewhere = self._anchored("d", self._key("d", "b", ("b_id",), child))
        columns = *self._own_columns(), Column("b_id", self._key_type, "key")
        yield Table(elsewhere.name, columns, "id", ("id",), ("id",), elsewhere.foreign_keys)

    def _beside(self, parent: Table) -> Iterator[Table]:
        """Two children of one parent, of which one references the other by what both have of it."""
        first = self._anchored("b", self._key("b", "a", ("a_id",), parent), primary_key=("a_id", "id"))
        yield first
        keys = self._key("c", "a", ("a_id",), parent), self._key("c", "b", ("a_id", "b_id"), first)
        second = self._anchored("c", *keys)
        yield Table(
            second.name,
            (*second.columns, Column("b_id", self._key_type, "key")),
            "a_id",
            second.primary_key,
            second.target,
            keys,
            with_parent=True,
        )

    def _anchored(self, letter: str, *keys: ForeignKey, primary_key: tuple[str, ...] = ("id",)) -> Table:
        column = keys[0].columns[0]
        default = repr(default_key(self._key_type)) if self._random.random() < 0.5 else None
        columns = (*self._own_columns(), Column(column, self._key_type, "key", not_null=True, default=default))
        unique_note = self._random.random() < 0.25
        return Table(
            f"{self._name}_{letter}", columns, column, primary_key, primary_key, keys, unique_note, with_parent=True
        )

    def _own_columns(self) -> tuple[Column, ...]:
        return Column("id", self._key_type, "key", not_null=True), Column("note", "integer", "note")

    def _key(self, child: str, parent: str, columns: tuple[str, ...], table: Table) -> ForeignKey:
        choose = self._random.choice
        return ForeignKey(
            f"{self._name}_{child}_to_{parent}",
            columns,
            table.name,
            table.target,
            choose(["SIMPLE", "FULL"]),
            choose(ACTIONS),
            (),
            choose(ACTIONS),
            choose(TIMINGS),
        )
