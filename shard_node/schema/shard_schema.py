"""The schema in force, as the node uses it: looked up by name, with the texts that depend on it alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cached_property

from crosskey import errors
from crosskey.catalog.model import Database, Table, TableName
from crosskey.catalog.plan import Claim, Plan, ReferencedKey, TablePlan
from crosskey.catalog.planning import plan_schema
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.guards.anchored_rows import Anchored, anchored_tables
from crosskey.shard_node.guards.dead_shadows import hiding_table
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.epochs import FIRST_EPOCH
from crosskey.shard_node.schema.constraint_modes import Name, declared_modes, read_others
from crosskey.shard_node.sql_text.key_ends import KeyEnd, find_key_end

_BEGIN = b"""
BEGIN; SET LOCAL synchronous_commit = on; SET LOCAL crosskey.coordinated = 'on';
SELECT set_config('lock_timeout', (500 * (1 + 2 * random())
    * extract(epoch FROM current_setting('lock_timeout')::interval))::integer::text, true);
"""
"""Begins a coordinated transaction: in it, triggers note effects.

Its lock time-out is half to one and a half times that of the connection: of two that wait for each other on different
shards, one gives up early enough for the other to go on.
"""


class ShardSchema:
    """An installed schema; never changes."""

    def __init__(self, database: Database, fingerprint: str, others: Mapping[Name, bool], epoch: int) -> None:
        """`others` are the constraints that read_others answers."""
        self.fingerprint = fingerprint
        self.epoch = epoch
        self.database = database
        self.plan: Plan = plan_schema(database)
        self._tables = {table.name.qualified: hiding_table(self.plan, table) for table in database.tables}
        self._views = {view.name.qualified: view.read_as.table for view in self.plan.views if view.read_as is not None}
        self._sequences = {
            column.sequence.qualified: column.sequence
            for table in database.tables
            for column in table.columns
            if column.sequence is not None
        }
        self._key_ends: dict[tuple[str, str, bool], KeyEnd] = {}
        self.computed_claims = tuple(claim for claim in self.plan.claims if claim.computed is not None)
        self._referenced_by_claim: defaultdict[str, list[ReferencedKey]] = defaultdict(list)
        for key in self.plan.referenced_keys:
            if key.claim is not None:
                self._referenced_by_claim[key.claim.id].append(key)
        self.tells_events = any(table.events for table in self.plan.tables)
        """Whether there is a table whose changes are told as events."""
        self.modes = declared_modes(self.plan, others)
        self.begin = _BEGIN + self.modes.hold_back

    def table(self, qualified_name: str) -> Table:
        """The table of that `schema.name`. Raises UnknownTable."""
        table = self._tables.get(qualified_name)
        if table is None:
            raise errors.UnknownTable(f'relation "{qualified_name}" does not exist', table=qualified_name)
        return table

    def readable(self, qualified_name: str) -> Table:
        """The table of that `schema.name`, or the view, as a table. Raises UnknownTable."""
        view = self._views.get(qualified_name)
        return self.table(qualified_name) if view is None else view

    def sequence(self, qualified_name: str) -> TableName:
        """The sequence of that `schema.name`, which a column draws from. Raises InvalidRequest."""
        sequence = self._sequences.get(qualified_name)
        if sequence is None:
            raise errors.InvalidRequest(f"no column draws from a sequence {qualified_name}")
        return sequence

    def placed_table(self, qualified_name: str) -> TablePlan:
        """The plan of the table of that `schema.name`. Raises UnknownTable."""
        return self.plan.own_table(self.table(qualified_name).name)

    @cached_property
    def local_parents(self) -> Mapping[str, frozenset[str]]:
        """For each table, the tables that it references by local keys, itself left out."""
        parents: dict[str, set[str]] = {name: set() for name in self._tables}
        for key in self.plan.keys:
            child, parent = key.foreign_key.table.qualified, key.foreign_key.parent.qualified
            if key.kind == "local" and child != parent:
                parents[child].add(parent)
        return {child: frozenset(names) for child, names in parents.items()}

    @cached_property
    def followers(self) -> Mapping[str, Sequence[Anchored]]:
        """For each table, those whose rows live with its own and are found by a claim, their followers' too."""
        followers: dict[str, list[Anchored]] = {name: [] for name in self._tables}
        for anchored in anchored_tables(self.plan):
            for name in {anchored.anchor.table.qualified, anchored.anchor.root_table.qualified}:
                followers[name].append(anchored)
        return followers

    def anchored_by_claim(self, identifier: str) -> Sequence[Anchored]:
        """The tables whose rows live with rows that the claim of that id finds."""
        return [anchored for anchored in anchored_tables(self.plan) if anchored.claim.id == identifier]

    def referenced_key(self, identifier: str) -> ReferencedKey:
        """The referenced key of that id. Raises InvalidRequest."""
        try:
            return self.plan.referenced_key(identifier)
        except KeyError:
            raise errors.InvalidRequest(f"there is no referenced key {identifier}") from None

    def key_end(self, end: reads_pb2.KeyEnd) -> KeyEnd:
        """The end of a foreign key that a router names. Raises InvalidRequest if there is no such key."""
        name = (end.table, end.constraint, end.parent)
        found = self._key_ends.get(name)
        if found is None:
            found = find_key_end(self.plan, end.table, end.constraint, at_parent=end.parent)
            self._key_ends[name] = found
        return found

    def referenced_by_claim(self, identifier: str) -> Sequence[ReferencedKey]:
        """The referenced keys for whose parents the claims of that id stand."""
        return self._referenced_by_claim.get(identifier, ())

    def claim(self, identifier: str) -> Claim:
        """The claim of that id. Raises InvalidRequest."""
        try:
            return self.plan.claim(identifier)
        except KeyError:
            raise errors.InvalidRequest(f"there is no claim {identifier}") from None


async def read_schema(connection: Connection) -> ShardSchema | None:
    """The schema in force on this shard, or None if there is none yet."""
    cursor = await connection.execute(
        "SELECT description::text, fingerprint, coalesce((SELECT max(epoch) FROM crosskey.epoch), %s)"
        " FROM crosskey.schema",
        (FIRST_EPOCH,),
    )
    row = await cursor.fetchone()
    if row is None:
        return None
    description, fingerprint, epoch = row
    others = await read_others(connection)
    if await read_epoch(connection) != epoch:
        return await read_schema(connection)
    return ShardSchema(Database.from_json(description.encode()), fingerprint, others, epoch)


async def read_epoch(connection: Connection) -> int:
    """The epoch in force on this shard."""
    cursor = await connection.execute("SELECT coalesce(max(epoch), %s) FROM crosskey.epoch", (FIRST_EPOCH,))
    [(epoch,)] = await cursor.fetchall()
    return int(epoch)


async def wait_for_flip(connection: Connection) -> None:
    """Returns once no flip is prepared on this shard. Raises psycopg.errors.LockNotAvailable if that takes long."""
    # A flip changes the row, and holds it until its outcome is carried out.
    await connection.execute("SELECT FROM crosskey.schema FOR SHARE")


def no_schema() -> errors.SchemaNotLoaded:
    """What is raised where a schema is needed and none is in force."""
    return errors.SchemaNotLoaded(
        "no schema is in force yet", hint="Apply one: `crosskey apply`, or Admin.ApplySchema."
    )
