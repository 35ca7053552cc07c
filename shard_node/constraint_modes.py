"""When constraints are checked in a coordinated transaction.

PostgreSQL holds all foreign keys back there until the node says so, whatever the user declared: other shards may have
to do something first. So it is the node that knows which of them the user wants checked at the end of each statement
and which at the commit. All other constraints keep their modes in PostgreSQL.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import psycopg
from psycopg import sql

from catalog.model import ForeignKey
from crosskey import errors
from shard_node.database import Connection
from shard_node.guards import PIN_CONSTRAINT

Name = tuple[str, str]
"""The schema and name of a constraint, or of several: on other tables there may be more of the same name."""

_OUR_SCHEMA = "crosskey"

_OTHERS = """
SELECT DISTINCT n.nspname, c.conname FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
WHERE c.condeferrable AND c.contype <> 'f' AND n.nspname <> 'crosskey'
"""


@dataclass(frozen=True)
class ConstraintModes:
    """The modes of the foreign keys; never changes.

    `deferrable` has all of them, and whether the user declared them so; `deferred` are those that the user lets wait
    for the commit. If `pinned`, there are pins too, which never do.
    """

    deferrable: Mapping[Name, bool]
    deferred: frozenset[Name]
    pinned: bool

    @cached_property
    def hold_back(self) -> bytes:
        """SQL that makes all wait for the other texts of this class."""
        return _set_constraints(self._with_pins(self.deferrable), "DEFERRED")

    @cached_property
    def check_statement(self) -> bytes:
        """SQL that checks what the end of a statement makes due; empty if nothing ever is."""
        names = self._with_pins(self.deferrable.keys() - self.deferred)
        return _set_constraints(names, "IMMEDIATE") + _set_constraints(names, "DEFERRED")

    @cached_property
    def check_all(self) -> bytes:
        """SQL that checks everything at last; what the last statement made due comes first, as in PostgreSQL."""
        immediate = self._with_pins(self.deferrable.keys() - self.deferred)
        return _set_constraints(immediate, "IMMEDIATE") + _set_constraints(self.deferred, "IMMEDIATE")

    def changed(self, names: Iterable[Name], *, deferred: bool) -> ConstraintModes:
        """The modes after the user set those of the foreign keys among `names`. Raises NotDeferrable."""
        keys = [name for name in names if name in self.deferrable]
        if not deferred:
            return replace(self, deferred=self.deferred - set(keys))
        for name in keys:
            if not self.deferrable[name]:
                raise errors.NotDeferrable(f'constraint "{name[1]}" is not deferrable', sqlstate="42809")
        return replace(self, deferred=self.deferred | set(keys))

    def all_changed(self, *, deferred: bool) -> ConstraintModes:
        """The modes after the user set those of all keys that may be deferred."""
        names = [name for name, deferrable in self.deferrable.items() if deferrable]
        return self.changed(names, deferred=deferred)

    def _with_pins(self, names: Iterable[Name]) -> set[Name]:
        return {*names, (_OUR_SCHEMA, PIN_CONSTRAINT)} if self.pinned else {*names}


NO_MODES = ConstraintModes({}, frozenset(), pinned=False)
"""Where there is no schema yet."""


def declared_modes(foreign_keys: Iterable[ForeignKey], *, pinned: bool) -> ConstraintModes:
    """The modes with which a transaction begins."""
    named: defaultdict[Name, list[ForeignKey]] = defaultdict(list)
    for key in foreign_keys:
        named[key.table.schema, key.name].append(key)
    return ConstraintModes(
        {name: all(key.deferrable for key in keys) for name, keys in named.items()},
        frozenset(name for name, keys in named.items() if all(key.initially_deferred for key in keys)),
        pinned,
    )


async def set_modes(
    connection: Connection, modes: ConstraintModes, constraints: Sequence[str], *, deferred: bool
) -> ConstraintModes:
    """Sets the modes of constraints, `name` or `schema.name`, or of all, and answers those of the foreign keys.

    What becomes due of foreign keys is left to the next check; PostgreSQL checks all others at once. Raises
    UnknownConstraint and NotDeferrable, in PostgreSQL's own words, and what a constraint says.
    """
    if constraints:
        names = [_parsed(constraint) for constraint in constraints]
        changed = modes.changed(names, deferred=deferred)
        others: Collection[Name] = [name for name in names if name not in modes.deferrable]
    else:
        changed = modes.all_changed(deferred=deferred)
        others = await (await connection.execute(_OTHERS)).fetchall()
    with _mode_errors():
        text = _set_constraints(others, "DEFERRED" if deferred else "IMMEDIATE")
        if text:
            await connection.execute(text, prepare=False)
    return changed


def _parsed(constraint: str) -> Name:
    """Raises UnknownConstraint for what no constraint of the user's can be called."""
    schema, _, name = (constraint if "." in constraint else f"public.{constraint}").partition(".")
    if schema == _OUR_SCHEMA:
        raise errors.UnknownConstraint(f'schema "{schema}" does not exist', sqlstate="3F000")
    if not schema or not name or "\0" in constraint:
        raise errors.UnknownConstraint(f'constraint "{constraint}" does not exist', sqlstate="42704")
    return schema, name


@contextmanager
def _mode_errors() -> Iterator[None]:
    """PostgreSQL's errors about the names, which would mean something else elsewhere."""
    try:
        yield
    except (psycopg.errors.UndefinedObject, psycopg.errors.InvalidSchemaName) as error:
        raise errors.UnknownConstraint(error.diag.message_primary or "", sqlstate=error.sqlstate) from error
    except psycopg.errors.WrongObjectType as error:
        raise errors.NotDeferrable(error.diag.message_primary or "", sqlstate=error.sqlstate) from error


def _set_constraints(names: Collection[Name], mode: str) -> bytes:
    if not names:
        return b""
    constraints = sql.SQL(", ").join(sql.Identifier(*name) for name in sorted(names))
    return sql.SQL("SET CONSTRAINTS {} {}; ").format(constraints, sql.SQL(mode)).as_bytes()
