"""Where examples are run: both sides, emptied between examples, and inspected at the end of each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import psycopg
from psycopg import sql

from crosskey.catalog.model import Database, TableName
from crosskey.catalog.plan import Claim, Plan, ReferencedKey
from crosskey.catalog.planning import plan_schema
from crosskey.catalog.slots import shard_of_slot, slot_of_values
from crosskey.shard_node.auditing.damage_checks import damage_checks
from crosskey.shard_node.guards.claims import CLAIMING_SHARD
from crosskey.shard_node.guards.pin_places import PIN_SHARD
from tests.oracle.contents import differences, read_contents
from tests.oracle.differential.family import Family
from tests.oracle.differential.judge import Judge
from tests.oracle.pair import POLL_SECONDS, SETTLE_SECONDS, SHARDS, DisagreementError


class Arena:
    """Both sides with the schema of some families."""

    def __init__(self, judge: Judge, families: Sequence[Family]) -> None:
        self.judge = judge
        self.families = families
        [(description,)] = judge.shards[0].execute("SELECT description::text FROM crosskey.schema")
        self._plan = plan_schema(Database.from_json(description.encode()))

    @property
    def claims(self) -> tuple[Claim, ...]:
        """The claims of all families."""
        return self._plan.claims

    @property
    def referenced_keys(self) -> tuple[ReferencedKey, ...]:
        """The referenced keys of all families."""
        return self._plan.referenced_keys

    def clear(self, family: Family) -> None:
        """Empties the family's tables everywhere, with the pins and shadows of its rows."""
        self.judge.numbers.begin_example()
        tables = [TableName("public", table.name) for table in family.tables]
        guards = [key.shadow for key in self._referenced_keys(family)]
        guards += [key.pin for key in self._referenced_keys(family)]
        guards += [claim.claims for claim in self._claims(family)]
        _empty(self.judge.plain.connection, tuple(tables))
        for shard in self.judge.shards:
            _empty(shard, (*tables, *guards))

    def check_tables(self, family: Family) -> None:
        """Raises DisagreementError if a table of the family is not the same on both sides."""
        tables = [self.judge.plain.tables[table.name] for table in family.tables]
        expected = read_contents(self.judge.plain.connection, tables)
        found = differences(expected, [read_contents(shard, tables) for shard in self.judge.shards], tables)
        if found:
            raise DisagreementError("\n".join(found))

    def check_guards(self, family: Family) -> None:
        """Raises DisagreementError for what an audit would find in the family's tables: it takes too long itself."""
        self._wait_until_none_in_doubt()
        part = self._part_of_plan(family)
        found = [
            f"shard {shard}: {check.message} ({keys})"
            for shard, connection in enumerate(self.judge.shards)
            for check in damage_checks(part, shard, SHARDS)
            for count, keys in connection.execute(check.query, ())
            if count
        ]
        found += [why for key in part.referenced_keys for why in self._guards_alone(key)]
        found += [why for claim in part.claims for why in self._claims_alone(claim)]
        if found:
            raise DisagreementError("\n".join(found))

    def _wait_until_none_in_doubt(self) -> None:
        deadline = time.monotonic() + SETTLE_SECONDS
        while any(_prepared(shard) for shard in self.judge.shards):
            if time.monotonic() > deadline:
                raise DisagreementError("prepared transactions are left")
            time.sleep(POLL_SECONDS)

    def _guards_alone(self, key: ReferencedKey) -> Iterable[str]:
        shadows, pins = Counter[str](), Counter[str]()
        parent = self._plan.table(key.parent)
        placing = [key.locator] if key.claim is None else key.claim.columns
        assert parent is not None, f"{key.id} has no parent"
        types = {column.name: column.base_type for column in parent.table.columns}
        columns = sql.SQL(", ").join(map(sql.Identifier, key.columns))
        places = [(key.columns.index(name or ""), types[name or ""]) for name in placing]
        for shard, connection in enumerate(self.judge.shards):
            for row in connection.execute(_select(columns, key.shadow)):
                slot = slot_of_values([(base_type, row[place], None) for place, base_type in places])
                shadows[f"{row} of shard {shard_of_slot(slot, SHARDS)} for shard {shard}"] += 1
            pin_columns = sql.SQL("{}, {}").format(columns, sql.Identifier(PIN_SHARD))
            for pin in connection.execute(_select(pin_columns, key.pin)):
                pins[f"{pin[:-1]} of shard {shard} for shard {pin[-1]}"] += 1
        yield from (f"{key.id}: a shadow without a pin: {one}" for one in (shadows - pins).elements())
        yield from (f"{key.id}: a pin without a shadow: {one}" for one in (pins - shadows).elements())

    def _claims_alone(self, claim: Claim) -> Iterable[str]:
        columns = sql.SQL(", ").join(map(sql.Identifier, claim.columns))
        claim_columns = sql.SQL("{}, {}").format(columns, sql.Identifier(CLAIMING_SHARD))
        values, claims = Counter[str](), Counter[str]()
        for shard, connection in enumerate(self.judge.shards):
            rows = connection.execute(_values(claim))
            values.update(f"{row} of shard {shard}" for row in rows if None not in row)
            claimed = connection.execute(_select(claim_columns, claim.claims))
            claims.update(f"{row[:-1]} of shard {row[-1]}" for row in claimed)
        yield from (f"{claim.id}: a value without a claim: {one}" for one in (values - claims).elements())
        yield from (f"{claim.id}: a claim without a value: {one}" for one in (claims - values).elements())

    def _claims(self, family: Family) -> tuple[Claim, ...]:
        names = {table.name for table in family.tables}
        return tuple(claim for claim in self._plan.claims if claim.table.name in names)

    def _part_of_plan(self, family: Family) -> Plan:
        names = {table.name for table in family.tables}
        return Plan(
            tuple(table for table in self._plan.tables if table.table.name.name in names),
            tuple(key for key in self._plan.keys if key.foreign_key.table.name in names),
            self._referenced_keys(family),
            claims=self._claims(family),
        )

    def _referenced_keys(self, family: Family) -> tuple[ReferencedKey, ...]:
        names = {table.name for table in family.tables}
        return tuple(key for key in self._plan.referenced_keys if key.parent.name in names)


def _empty(connection: psycopg.Connection[Any], tables: tuple[TableName, ...]) -> None:
    """Truncates the tables that have rows: truncating one takes longer than looking."""
    filled = [tables[place] for (place,) in connection.execute(_places_of_filled(tables), prepare=True)]
    if filled:
        names = sql.SQL(", ").join(map(_identifier, filled))
        with connection.transaction():
            # Else a guard of the shard's refuses it.
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute(sql.SQL("TRUNCATE {} CASCADE").format(names))


@cache
def _places_of_filled(tables: tuple[TableName, ...]) -> bytes:
    each = (
        sql.SQL("SELECT {} WHERE EXISTS (SELECT FROM {})").format(place, _identifier(table))
        for place, table in enumerate(tables)
    )
    return sql.SQL(" UNION ALL ").join(each).as_string().encode()


def _identifier(table: TableName) -> sql.Identifier:
    return sql.Identifier(table.schema, table.name)


def _prepared(shard: psycopg.Connection[Any]) -> bool:
    query = "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"
    [(count,)] = shard.execute(query)
    return bool(count)


def _values(claim: Claim) -> sql.Composed:
    """The claimed values that rows have: columns of theirs, or what an index computes of those that it is about."""
    if claim.computed is None:
        return _select(sql.SQL(", ").join(map(sql.Identifier, claim.columns)), claim.table)
    expressions = [sql.SQL(one) for one in claim.computed.expressions]
    predicate = sql.SQL(claim.computed.predicate or "true")
    return sql.SQL("{} WHERE {}").format(_select(sql.SQL(", ").join(expressions), claim.table), predicate)


def _select(columns: sql.Composable, table: TableName) -> sql.Composed:
    return sql.SQL("SELECT {} FROM {}").format(columns, _identifier(table))
