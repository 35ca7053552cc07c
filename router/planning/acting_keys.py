"""Which foreign keys act when rows go or change their keys, and what they do, through every cascade: pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from crosskey.catalog.model import Action, ForeignKey, TableName
from crosskey.catalog.plan import KeyPlan


@dataclass(frozen=True, slots=True)
class Change:
    """What happens to rows of a table: `columns` change, or the rows are deleted if it is None."""

    table: TableName
    columns: frozenset[str] | None = None

    @property
    def deletes(self) -> bool:
        """Whether the rows are deleted."""
        return self.columns is None

    def reaches(self, key: ForeignKey) -> bool:
        """Whether it can take a parent from rows that name one by this key."""
        return key.parent == self.table and (self.columns is None or not self.columns.isdisjoint(key.parent_columns))


@dataclass(frozen=True, slots=True)
class ActingKey:
    """A foreign key whose parents are deleted, or else get another key."""

    key: KeyPlan
    parent_deleted: bool

    @property
    def action(self) -> Action:
        """What the user's clause says for this case."""
        foreign_key = self.key.foreign_key
        return foreign_key.on_delete if self.parent_deleted else foreign_key.on_update


def acting_keys(keys: Sequence[KeyPlan], change: Change) -> list[ActingKey]:
    """The keys, of all those of a schema, that a change can set off, nearest first and each once a case."""
    found: dict[ActingKey, None] = {}
    changes = deque([change])
    while changes:
        current = changes.popleft()
        for acting in _set_off(keys, current):
            if acting not in found:
                found[acting] = None
                changes.extend(_consequence(acting, current))
    return list(found)


def _set_off(keys: Iterable[KeyPlan], change: Change) -> list[ActingKey]:
    return [ActingKey(key, change.deletes) for key in keys if change.reaches(key.foreign_key)]


def _consequence(acting: ActingKey, change: Change) -> Iterable[Change]:
    """What the action does to the children."""
    foreign_key = acting.key.foreign_key
    if acting.action in ("SET NULL", "SET DEFAULT"):
        listed = foreign_key.on_delete_columns if acting.parent_deleted else ()
        yield Change(foreign_key.table, frozenset(listed or foreign_key.columns))
    elif acting.action == "CASCADE":
        yield Change(foreign_key.table, _followed_columns(foreign_key, change))


def _followed_columns(foreign_key: ForeignKey, change: Change) -> frozenset[str] | None:
    """The child's columns that follow the parent's; None if the child is deleted with it."""
    if change.columns is None:
        return None
    pairs = zip(foreign_key.columns, foreign_key.parent_columns, strict=True)
    return frozenset(column for column, parent_column in pairs if parent_column in change.columns)
