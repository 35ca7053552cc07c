"""When constraints are checked in a coordinated transaction.

PostgreSQL holds all foreign keys, and the unique keys of claims, back there until the node says so, whatever the user
declared: other shards may have to do something first. So it is the node that knows which of them the user wants checked
at the end of each statement and which at the commit. All other constraints keep their modes in PostgreSQL.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import psycopg
from psycopg import sql

from crosskey import errors
from crosskey.catalog.model import ForeignKey
from crosskey.catalog.plan import Plan
from crosskey.shard_node.guards.shadow_tables import PIN_CONSTRAINT
from crosskey.shard_node.postgres.database import Connection

Name = tuple[str, str]
"""The schema and name of a constraint, or of several: on other tables there may be more of the same name."""

_OUR_SCHEMA = "crosskey"

_OTHERS = """
SELECT DISTINCT n.nspname, c.conname, c.condeferred
FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
WHERE c.condeferrable AND c.contype <> 'f' AND n.nspname !~ '^crosskey'
"""


@dataclass(frozen=True)
class ConstraintModes:
    """The modes of all constraints that may wait for the commit; never changes.

    `keys` has all foreign keys, and whether the user declared them DEFERRABLE, `others` all else that was declared so:
    unique keys, exclusions, triggers. `deferred` are those of both that wait for the commit. If `pinned`, there are
    pins too, which never do. `claims` has the constraints of claims, which do if the unique key does whose name they
    have.
    """

    keys: Mapping[Name, bool]
    others: frozenset[Name]
    deferred: frozenset[Name]
    pinned: bool
    claims: Mapping[Name, Name]

    @cached_property
    def hold_back(self) -> bytes:
        """SQL that makes all foreign keys and claims wait for the other texts of this class."""
        return _set_constraints([*sorted(self.claims.values()), *self._with_pins(self.keys)], "DEFERRED")

    @cached_property
    def check_statement(self) -> bytes:
        """SQL that checks the keys that the end of a statement makes due; empty if there are none."""
        names = [*self._immediate_claims, *self._with_pins(self.keys.keys() - self.deferred)]
        return _set_constraints(names, "IMMEDIATE") + _set_constraints(names, "DEFERRED")

    @cached_property
    def check_others(self) -> bytes:
        """SQL that checks all but keys that wait for the commit; empty if there are none. Triggers may write rows."""
        return _set_constraints(sorted(self.deferred & self.others), "IMMEDIATE")

    @cached_property
    def check_keys(self) -> bytes:
        """SQL that checks all keys at last: what the last statement made due comes first, as in PostgreSQL."""
        immediate = [*self._immediate_claims, *self._with_pins(self.keys.keys() - self.deferred)]
        deferred = [*self._claims(self.deferred), *sorted(self.deferred & self.keys.keys())]
        return _set_constraints(immediate, "IMMEDIATE") + _set_constraints(deferred, "IMMEDIATE")

    def changed(self, names: Iterable[Name], *, deferred: bool) -> ConstraintModes:
        """The modes after the user set some. Raises NotDeferrable for a foreign key."""
        if not deferred:
            return replace(self, deferred=self.deferred - set(names))
        for name in names:
            if not self.keys.get(name, True):
                raise errors.NotDeferrable(f'constraint "{name[1]}" is not deferrable', sqlstate="42809")
        return replace(self, deferred=self.deferred | set(names))

    def all_changed(self, *, deferred: bool) -> ConstraintModes:
        """The modes after the user set all that may be set."""
        keys = {name for name, deferrable in self.keys.items() if deferrable}
        return self.changed(keys | self.others, deferred=deferred)

    @property
    def _immediate_claims(self) -> list[Name]:
        return self._claims(self.claims.keys() - self.deferred)

    def _claims(self, names: Set[Name]) -> list[Name]:
        """The constraints of claims for unique keys. They come first: PostgreSQL checks unique keys before others."""
        return [self.claims[name] for name in sorted(self.claims.keys() & names)]

    def _with_pins(self, names: Iterable[Name]) -> list[Name]:
        return sorted({*names, (_OUR_SCHEMA, PIN_CONSTRAINT)} if self.pinned else {*names})


NO_MODES = ConstraintModes({}, frozenset(), frozenset(), pinned=False, claims={})
"""Where there is no schema yet."""


async def read_others(connection: Connection) -> dict[Name, bool]:
    """All that is DEFERRABLE on this shard and no foreign key, and whether it is INITIALLY DEFERRED."""
    cursor = await connection.execute(_OTHERS)
    return {(schema, name): deferred for schema, name, deferred in await cursor.fetchall()}


def declared_modes(plan: Plan, others: Mapping[Name, bool]) -> ConstraintModes:
    """The modes with which a transaction begins; `others` as `read_others` answers them."""
    named: defaultdict[Name, list[ForeignKey]] = defaultdict(list)
    for key in plan.keys:
        named[key.foreign_key.table.schema, key.foreign_key.name].append(key.foreign_key)
    deferred_keys = {name for name, keys in named.items() if all(key.initially_deferred for key in keys)}
    deferred_others = {name for name, deferred in others.items() if deferred}
    return ConstraintModes(
        {name: all(key.deferrable for key in keys) for name, keys in named.items()},
        frozenset(others),
        frozenset(deferred_keys | deferred_others),
        pinned=bool(plan.referenced_keys),
        claims={
            (claim.table.schema, claim.constraint): (claim.claims.schema, claim.constraint) for claim in plan.claims
        },
    )


async def set_modes(
    connection: Connection, modes: ConstraintModes, constraints: Sequence[str], *, deferred: bool
) -> ConstraintModes:
    """Sets the modes of constraints, `name` or `schema.name`, or of all, and answers the new ones.

    What becomes due of foreign keys is left to the next check; PostgreSQL checks all others at once. Raises
    UnknownConstraint and NotDeferrable, in PostgreSQL's own words, and what a constraint says.
    """
    if constraints:
        names = [_parsed(constraint) for constraint in constraints]
        changed = modes.changed(names, deferred=deferred)
    else:
        names = sorted(modes.others)
        changed = modes.all_changed(deferred=deferred)
    # In the order of the request, so that of several faults PostgreSQL names the first.
    others = [name for name in names if name not in modes.keys]
    text = _set_constraints(others, "DEFERRED" if deferred else "IMMEDIATE")
    if text:
        with _mode_errors():
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


def _set_constraints(names: Sequence[Name], mode: str) -> bytes:
    if not names:
        return b""
    constraints = sql.SQL(", ").join(sql.Identifier(*name) for name in names)
    return sql.SQL("SET CONSTRAINTS {} {}; ").format(constraints, sql.SQL(mode)).as_bytes()
