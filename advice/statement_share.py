"""Which share of the statements that a database runs would find all their rows on one shard."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from crosskey.advice.statement_reading import NotRead, Place, StatementShape, read_statement
from crosskey.advice.survey import Statement
from crosskey.catalog.claim_rules import claimed_keys
from crosskey.catalog.model import Database, TableName
from crosskey.catalog.plan import Claim, Plan, TablePlan

Reach = Literal["single-shard", "by-claim", "many-shards"]


class CountedShape(msgspec.Struct, frozen=True):
    """A statement that was read, its text, and how often it was run."""

    query: str
    shape: StatementShape
    calls: int


class ReadStatements(msgspec.Struct, frozen=True):
    """The statements on the tables of a schema; `calls_not_read` are those of statements that were not seen through."""

    shapes: tuple[CountedShape, ...] = ()
    calls_not_read: int = 0


class ManyShards(msgspec.Struct, frozen=True):
    """A statement whose rows may be on several shards."""

    query: str
    calls: int


class StatementShare(msgspec.Struct, frozen=True):
    """Calls of statements by where their rows would be, and the most frequent ones that ask several shards.

    `single_shard` find all rows on one shard by what places them; `by_claim` through the claim of a unique value.
    """

    single_shard: int
    by_claim: int
    many_shards: int
    not_read: int
    most_frequent: tuple[ManyShards, ...] = ()

    @property
    def read(self) -> int:
        """The calls of all statements that were seen through."""
        return self.single_shard + self.by_claim + self.many_shards


MOST_FREQUENT = 5
"""As many as one would look at."""


def read_statements(statements: Iterable[Statement], database: Database) -> ReadStatements:
    """Reads all statements on tables of this schema."""
    shapes: list[CountedShape] = []
    not_read = 0
    for statement in statements:
        try:
            shape = read_statement(statement.query, database)
        except NotRead:
            not_read += statement.calls
            continue
        if shape is not None:
            shapes.append(CountedShape(statement.query, shape, statement.calls))
    return ReadStatements(tuple(shapes), not_read)


def share_statements(statements: ReadStatements, plan: Plan) -> StatementShare:
    """Judges each statement by the plan."""
    tables = {planned.table.name: planned for planned in plan.tables}
    calls: dict[Reach, int] = {"single-shard": 0, "by-claim": 0, "many-shards": 0}
    scattered: list[ManyShards] = []
    for counted in statements.shapes:
        reach = _reach(counted.shape, tables, plan.claims)
        calls[reach] += counted.calls
        if reach == "many-shards":
            scattered.append(ManyShards(counted.query, counted.calls))
    scattered.sort(key=lambda statement: (-statement.calls, statement.query))
    return StatementShare(
        calls["single-shard"],
        calls["by-claim"],
        calls["many-shards"],
        statements.calls_not_read,
        tuple(scattered[:MOST_FREQUENT]),
    )


def names_locator(shape: StatementShape, plan: TablePlan) -> bool:
    """Whether a statement gives a value that places its row, for each use of the table in it."""
    used = {alias for alias, name in shape.tables.items() if name == plan.table.name}
    return used <= {place.alias for place, _ in shape.given if place.column in plan.colocating}


def names_claim(shape: StatementShape, plan: TablePlan) -> bool:
    """Whether a statement on this table alone gives a claimed value, and no value that places its row."""
    if len(shape.tables) > 1 or names_locator(shape, plan):
        return False
    given = {place.column for place, _ in shape.given}
    return any(given >= set(key.columns) for key in claimed_keys(plan) if key.computed is None)


def _reach(shape: StatementShape, tables: dict[TableName, TablePlan], claims: tuple[Claim, ...]) -> Reach:
    written = next(iter(shape.tables.values()))
    if shape.verb != "select" and tables[written].placement == "reference":
        return "many-shards"
    sharded = {alias: tables[name] for alias, name in shape.tables.items() if tables[name].placement == "sharded"}
    if _on_one_shard(shape, sharded):
        return "single-shard"
    if len(sharded) == 1 and _claimed(shape, *sharded.items(), claims=claims):
        return "by-claim"
    return "many-shards"


def _on_one_shard(shape: StatementShape, sharded: dict[str, TablePlan]) -> bool:
    """Whether all sharded tables hang together by what places their rows, and one value places one of them."""
    if not sharded:
        return True
    groups = _Groups()
    for left, right in shape.equal:
        groups.join(left, right)
    for place, value in shape.given:
        groups.join(place, value)
    locators = [Place(alias, column) for alias, plan in sharded.items() for column in plan.colocating]
    for alias, plan in sharded.items():
        for column in plan.colocating:
            # All locators of one row lead to one shard.
            groups.join(Place(alias, column), Place(alias, plan.colocating[0]))
    placed = {groups.of(place) for place in locators}
    return len(placed) == 1 and any(groups.of(value) in placed for _, value in shape.given)


def _claimed(shape: StatementShape, *sharded: tuple[str, TablePlan], claims: tuple[Claim, ...]) -> bool:
    [(alias, plan)] = sharded
    given = {place.column for place, _ in shape.given if place.alias == alias}
    own = [claim for claim in claims if claim.table == plan.table.name and claim.computed is None]
    return any(given >= set(claim.columns) for claim in own)


class _Groups:
    """Columns and values that are known to be equal, or to tell one slot."""

    def __init__(self) -> None:
        self._representative: dict[Place | str, Place | str] = {}

    def of(self, member: Place | str) -> Place | str:
        """The one that speaks for a member's group."""
        representative = self._representative.get(member, member)
        return member if representative == member else self.of(representative)

    def join(self, one: Place | str, other: Place | str) -> None:
        """Make one group of two."""
        self._representative[self.of(one)] = self.of(other)
