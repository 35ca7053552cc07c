"""The schema in force as requests see it: tables by their API name, and the shards where rows must be sought."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from crosskey import errors
from crosskey.catalog.generated_keys import columns_to_generate
from crosskey.catalog.model import Column, ForeignKey, TableName
from crosskey.catalog.plan import Claim, KeyPlan, Plan, TablePlan, ViewPlan
from crosskey.catalog.relations import Relation, Relations, ambiguity, find_relations
from crosskey.catalog.slots import shard_of_slot, slot_of_value, slot_of_values
from crosskey.router.planning.acting_keys import Change, acting_keys
from crosskey.router.planning.foreseen_values import Foresight
from crosskey.router.planning.predicates import Checked, CheckedPredicate, LinkedPredicate, simple_predicates
from crosskey.router.planning.rights import allow_relation
from crosskey.router.planning.suggestions import suggest_table
from crosskey.v1 import rows_pb2


@dataclass(frozen=True, slots=True)
class InsertPath:
    """Which steps an insert into a table needs, beyond those that each one needs."""

    generates: bool
    """Values are made before its rows are placed."""
    follows_anchor: bool
    """Its rows live with others that only a claim finds."""
    is_anchor: bool
    """Rows of other tables live with its rows, and find them by a claim."""


@dataclass(frozen=True)
class SchemaView:
    """A schema on a number of shards; `fingerprint` and `epoch` are those that the nodes answer for it.

    `token_key` is the cluster's secret, which page tokens are signed with; every router has the same.
    """

    plan: Plan
    shards: int
    fingerprint: str
    token_key: bytes = field(default=b"", repr=False)
    epoch: int = 0

    @cached_property
    def _by_name(self) -> dict[str, TablePlan]:
        public = {str(table.table.name): table for table in self.plan.tables}
        return {table.table.name.qualified: table for table in self.plan.tables} | public

    @cached_property
    def _columns_to_generate(self) -> dict[str, tuple[Column, ...]]:
        return {table.table.name.qualified: columns_to_generate(table) for table in self.plan.tables}

    @property
    def all_shards(self) -> tuple[int, ...]:
        """Every shard, in order."""
        return tuple(range(self.shards))

    def table(self, name: str) -> TablePlan:
        """The table of that name: `name` in schema public, or `schema.name`.

        Raises UnknownTable, and NotSupported for a view.
        """
        table = self._by_name.get(name)
        if table is None:
            if name in self._views:
                raise errors.NotSupported(
                    f'"{name}" is a view, which is only listed, counted and aggregated',
                    table=name,
                    hint="Name the table whose row it is. A view has no keys, and is not written.",
                )
            message = f'relation "{name}" does not exist'
            hint = suggest_table(name, self._by_name)
            raise errors.UnknownTable(message, table=name or None, sqlstate="42P01", hint=hint)
        return table

    def readable(self, name: str) -> TablePlan:
        """The table of that name, or the view, as a table. Raises UnknownTable, and NotSupported for some views."""
        view = self._views.get(name)
        if view is None:
            return self.table(name)
        if view.read_as is None:
            raise errors.NotSupported(
                f'"{name}" is a view that cannot be read over all shards: {view.why_not}',
                table=name,
                hint="`crosskey plan` and DescribeSchema say of every view whether it is read.",
            )
        return view.read_as

    @cached_property
    def _views(self) -> dict[str, ViewPlan]:
        names = {str(view.name): view for view in self.plan.views}
        return {view.name.qualified: view for view in self.plan.views} | names

    def find_table(self, name: str) -> TablePlan | None:
        """The same, or None."""
        return self._by_name.get(name)

    @cached_property
    def relations(self) -> Relations:
        """What the tables call their relations."""
        return find_relations([table.table for table in self.plan.tables], [key.foreign_key for key in self.plan.keys])

    def relation(self, table: TablePlan, name: str) -> Relation:
        """The relation that a table calls so.

        Raises InvalidRequest if there is none, or if several are called so; PermissionDenied if the caller may not read
        what it leads to.
        """
        named = self.relations.get(table.name, {})
        found = named.get(name)
        if found is None:
            known = ", ".join(f'"{one}"' for one in sorted(named)) or "none"
            raise errors.InvalidRequest(
                f'"{table.table.name}" has no relation "{name}"; its relations are {known}', table=str(table.table.name)
            )
        why_not = ambiguity(table.table, name, found)
        if why_not:
            raise errors.InvalidRequest(
                f'"{name}" names no relation of "{table.name}": {why_not}', table=str(table.name)
            )
        allow_relation(found[0])
        return found[0]

    @cached_property
    def cleans_up(self) -> bool:
        """Whether there are keys with @enforce eventual, so that something may be left to be done after a deletion."""
        return any(key.eventual for key in self.plan.referenced_keys)

    def key_plan(self, key: ForeignKey) -> KeyPlan:
        """How that key is enforced."""
        plan = self.plan.key(key.table, key.name)
        assert plan is not None, f"{key.name} is a key of the schema"
        return plan

    def claim(self, identifier: str) -> Claim:
        """The claim of that id. Raises KeyError."""
        return self.plan.claim(identifier)

    def value_columns(self, claim: Claim) -> Sequence[Column]:
        """The columns of the claim's values."""
        return self._value_columns[claim.id]

    @cached_property
    def _value_columns(self) -> dict[str, list[Column]]:
        return {claim.id: claim.value_columns(self.plan.own_table(claim.table).table) for claim in self.plan.claims}

    def foresight(self, claim: Claim) -> Foresight:
        """What can be told beforehand of the values that an index computes."""
        return self._foresights[claim.id]

    @cached_property
    def _foresights(self) -> dict[str, Foresight]:
        return {
            claim.id: Foresight.of(self.plan.own_table(claim.table).table, claim.computed)
            for claim in self.plan.claims
            if claim.computed is not None
        }

    @cached_property
    def anchor_claims(self) -> frozenset[str]:
        """The ids of the claims by which parents are found that rows live with."""
        return frozenset(lives.anchor.claim for _, lives in self.plan.anchored)

    def claims_of(self, table: TableName) -> Sequence[Claim]:
        """The claims for values of the table's rows."""
        return self.plan.claims_of(table)

    def columns_to_generate(self, table: TablePlan) -> tuple[Column, ...]:
        """The columns whose absent values come from one shard, as crosskey.catalog.generated_keys says."""
        return self._columns_to_generate[table.table.name.qualified]

    def may_act_elsewhere(self, table: TableName, changed: frozenset[str] | None) -> bool:
        """Whether a change of rows may concern other shards: they hold pins, or the rows move there.

        `changed` are the columns that get new values; None if the rows are deleted.
        """
        if changed is not None and not changed:
            return False
        known = self._acting_elsewhere.get((table, changed))
        if known is None:
            acting = acting_keys(self.plan.keys, Change(table, changed))
            moves = changed is not None and self.table(table.qualified).shard_key in changed
            copied = changed is not None and not changed.isdisjoint(self._copied_elsewhere.get(table, ()))
            known = moves or copied or any(one.key.referenced_key is not None for one in acting)
            self._acting_elsewhere[table, changed] = known
        return known

    @cached_property
    def _acting_elsewhere(self) -> dict[tuple[TableName, frozenset[str] | None], bool]:
        """What may_act_elsewhere has answered: a schema's tables and the columns that requests change are few."""
        return {}

    @cached_property
    def _copied_elsewhere(self) -> dict[TableName, frozenset[str]]:
        """The columns of each table that rows on other shards copy; copies of copies are among them."""
        copied: dict[TableName, frozenset[str]] = {}
        for referenced in self.plan.referenced_keys:
            copied[referenced.parent] = copied.get(referenced.parent, frozenset()).union(referenced.copied)
        return copied

    def keys_with_copies(self, table: TableName) -> frozenset[str]:
        """The foreign keys across shards by which rows of the table copy values of their parents."""
        return self._keys_with_copies.get(table, frozenset())

    @cached_property
    def _keys_with_copies(self) -> dict[TableName, frozenset[str]]:
        keys: dict[TableName, frozenset[str]] = {}
        for copy in self.plan.copies:
            if copy.referenced_key is not None:
                keys[copy.table] = keys.get(copy.table, frozenset()) | {copy.constraint}
        return keys

    def insert_path(self, table: TablePlan) -> InsertPath:
        """What an insert into the table goes through."""
        return self._insert_paths[table.table.name.qualified]

    @cached_property
    def _insert_paths(self) -> dict[str, InsertPath]:
        return {table.table.name.qualified: self._insert_path(table) for table in self.plan.tables}

    def _insert_path(self, table: TablePlan) -> InsertPath:
        claims = {claim.id for claim in self.claims_of(table.table.name)}
        return InsertPath(
            generates=bool(self.columns_to_generate(table)),
            follows_anchor=table.anchor is not None,
            is_anchor=not claims.isdisjoint(self.anchor_claims),
        )

    def shards_for_where(self, table: TablePlan, predicates: Sequence[Checked], copy: int = 0) -> tuple[int, ...]:
        """The shards that may hold rows which meet the predicates, in order and never none.

        Where predicates rule out every shard, one is left: PostgreSQL finds nothing there, but checks the values. Of a
        reference table, whose rows are on all shards alike, it is one shard: `copy` modulo the number of shards.
        """
        if table.placement == "reference":
            return (copy % self.shards,)
        possible = set(self.all_shards)
        for predicate in simple_predicates(predicates):
            if predicate.column.name in table.locators:
                possible &= self._shards_of(predicate)
        for one in predicates:
            if isinstance(one, LinkedPredicate) and not one.negated:
                possible &= self._shards_of_linked(table, one)
        return tuple(sorted(possible)) or self.all_shards[:1]

    def shard_of_value(self, column: Column, value: Any) -> int:
        """The shard of the rows with that value in a locator. Raises ValueError if the type takes no such value."""
        return shard_of_slot(slot_of_value(column.base_type, value), self.shards)

    def shard_of_values(self, values: Sequence[tuple[str, object, int | None]]) -> int:
        """The shard of several values together, as slot_of_values takes them. Raises ValueError as that does."""
        return shard_of_slot(slot_of_values(values), self.shards)

    def _shards_of_linked(self, table: TablePlan, linked: LinkedPredicate) -> set[int]:
        """The shards of the keys that a row must have one of; all of them if those do not tell."""
        for number, column in enumerate(linked.columns):
            if column.name in table.locators:
                values = [key[f"k{number}"] for key in linked.keys]
                return self._shards_of(CheckedPredicate(column, rows_pb2.Predicate.IN, values))
        return set(self.all_shards)

    def _shards_of(self, predicate: CheckedPredicate) -> set[int]:
        """The shards of a predicate on a locator; all of them if it does not tell."""
        if predicate.op == rows_pb2.Predicate.EQ:
            values = [predicate.value]
        elif predicate.op == rows_pb2.Predicate.IN:
            values = predicate.value
        else:
            return set(self.all_shards)
        try:
            return {self.shard_of_value(predicate.column, value) for value in values if value is not None}
        except ValueError:
            # Whatever it is, PostgreSQL says so in its own words, or knows a spelling that we do not.
            return set(self.all_shards)
