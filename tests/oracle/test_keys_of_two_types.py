"""Foreign keys whose two ends are of different types: over every pair that PostgreSQL lets a key join, every action."""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import psycopg
import pytest

import crosskey
from crosskey import ForeignKeyViolation, in_
from crosskey.local_cluster.postgres import PostgresServer
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.joinable_types import SAMPLES, JoinablePair, candidates, joinable, name_objects, types_of
from tests.oracle.pair import SHARDS, Pair
from tests.oracle.plain import plain_postgres
from tests.oracle.shared_pairs import start_pair

REFUSING = ("NO ACTION", "RESTRICT", "DEFERRED")
CHANGING = ("CASCADE", "SET NULL", "SET DEFAULT")
"""What keys do ON DELETE and ON UPDATE; a deferred one has no action, and waits for the commit."""

NAMING_PAIRS = 8

PATIENCE_SECONDS = 120.0
"""For what goes through all shadows of the schema."""

# The schema is large, and a busy machine takes long to install it.
pytestmark = [pytest.mark.searches, pytest.mark.timeout(300)]

SAME_TESTS = 20
"""Keys of which each test that takes a request a key takes as many."""

EXAMPLES = """
CREATE TABLE claimed (id bigint PRIMARY KEY, a text, c char(5), UNIQUE (a, c));
COMMENT ON TABLE claimed IS '@shard_by id';
CREATE TABLE claimants (
    id bigint PRIMARY KEY,
    a text,
    c text,
    FOREIGN KEY (a, c) REFERENCES claimed (a, c) ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE claimants IS '@shard_by id';

CREATE TABLE kinds (code char(4) PRIMARY KEY);
COMMENT ON TABLE kinds IS '@reference';
CREATE TABLE things (id bigint PRIMARY KEY, kind text REFERENCES kinds);
COMMENT ON TABLE things IS '@shard_by id';
"""
"""A key onto a claimed one, and one onto a reference table."""


class Key(NamedTuple):
    """A foreign key of the table `children_N`, onto `parents_N`, by its columns `p_M` and `v_M`."""

    table: int
    place: int
    action: str
    types: JoinablePair

    @property
    def parents(self) -> str:
        """The parents' table."""
        return f"parents_{self.table}"

    @property
    def children(self) -> str:
        """The children's table."""
        return f"children_{self.table}"

    def child(self, number: int, parent: int, value: str) -> dict[str, Any]:
        """A row that references a parent by this key alone."""
        return {"id": number, f"p_{self.place}": parent, f"v_{self.place}": value}

    def ddl(self) -> str:
        """The columns and the constraint."""
        place = self.place
        action = "NO ACTION" if self.action == "DEFERRED" else self.action
        deferred = " DEFERRABLE INITIALLY DEFERRED" if self.action == "DEFERRED" else ""
        return (
            f", p_{place} bigint, v_{place} {self.types.child}, FOREIGN KEY (p_{place}, v_{place})"
            f" REFERENCES {self.parents} ON DELETE {action} ON UPDATE {action}{deferred}"
        )


class World(NamedTuple):
    """Both sides, the keys of the schema, and for each key a shard key of parents that only its children reference."""

    pair: Pair
    keys: list[Key]
    parents: dict[Key, int]
    random: random.Random
    claimed_texts: list[str]

    def some(self, keys: list[Key]) -> list[Key]:
        """A few of the keys, others each time."""
        return self.random.sample(keys, min(SAME_TESTS, len(keys)))


@pytest.fixture(scope="module")
def seed() -> int:
    chosen = secrets.randbelow(10**9)
    print(f"seed {chosen}")  # noqa: T201  # shown with a failure
    return chosen


@pytest.fixture(scope="module")
def types(postgres: list[PostgresServer]) -> str:
    """The DDL of the types."""
    with psycopg.connect(postgres[0].dsn(), autocommit=True) as connection:
        return types_of(connection)


@pytest.fixture(scope="module")
def keys(postgres: list[PostgresServer], types: str, seed: int) -> list[Key]:
    """For each pair of types a key, with any of the actions; of the pairs that name objects for a few."""
    chosen = random.Random(seed)
    with plain_postgres(postgres[0].dsn(), "joinable_types", types) as plain:
        every = candidates(plain.connection)
        some = chosen.sample([pair for pair in every if name_objects(pair)], NAMING_PAIRS)
        pairs = list(joinable(plain.connection, (pair for pair in every if not name_objects(pair) or pair in some)))
    keys = []
    for table, (_, of_parent) in enumerate(itertools.groupby(pairs, key=lambda pair: pair.parent)):
        keys += [Key(table, place, chosen.choice(REFUSING + CHANGING), types) for place, types in enumerate(of_parent)]
    return keys


@pytest.fixture(scope="module")
def world(
    postgres: list[PostgresServer], tmp_path_factory: pytest.TempPathFactory, types: str, keys: list[Key], seed: int
) -> Iterator[World]:
    """Both sides with parents of all values, and children that reference them in all ways."""
    tables = [_tables(list(of_table)) for _, of_table in itertools.groupby(keys, lambda key: key.table)]
    schema = "".join([types, *tables, EXAMPLES])
    with ExitStack() as lifetime:
        pair = start_pair(postgres, tmp_path_factory.mktemp("two_types"), schema, lifetime)
        texts = [pair.text(shard) for shard in range(SHARDS)]
        world = World(pair, keys, {key: pair.number(PARENT_SHARD) for key in keys}, random.Random(seed), texts)
        for _, of_table in itertools.groupby(keys, lambda key: key.table):
            _write(world, list(of_table))
        _write_examples(pair, world.claimed_texts)
        yield world


@pytest.fixture(scope="module")
def pair(world: World) -> Pair:
    return world.pair


@pytest.fixture
def claimed_texts(world: World) -> list[str]:
    """Texts of claimed keys, each claimed on another shard."""
    return world.claimed_texts


def _tables(keys: list[Key]) -> str:
    table, parent_type = keys[0].table, keys[0].types.parent
    return f"""
CREATE TABLE parents_{table} (id bigint, v {parent_type}, PRIMARY KEY (id, v));
COMMENT ON TABLE parents_{table} IS '@shard_by id';
CREATE TABLE children_{table} (id bigint PRIMARY KEY {"".join(key.ddl() for key in keys)});
COMMENT ON TABLE children_{table} IS '@shard_by id';
"""


def _write(world: World, keys: list[Key]) -> None:
    pair = world.pair
    values = _unequal(pair, keys[0].types.parent)
    pair.insert(keys[0].parents, *[{"id": world.parents[key], "v": value} for key in keys for value in values])
    rows = [
        key.child(_number(world), world.parents[key], value)
        for key in keys
        # Of several that refuse a delete, any may be named.
        for value in world.random.sample(key.types.accepted, 1 if key.action in REFUSING else len(key.types.accepted))
    ]
    world.random.shuffle(rows)
    # Rows of one insert have the same columns, or they would be inserted in groups.
    columns = dict.fromkeys(name for row in rows for name in row)
    pair.insert(keys[0].children, *[{name: row.get(name) for name in columns} for row in rows])


def _write_examples(pair: Pair, texts: list[str]) -> None:
    pair.insert("claimed", *[{"id": pair.number(shard), "a": a, "c": "k"} for shard, a in enumerate(texts)])
    spaces = [(a, " " * shard, shard) for a in texts for shard in range(SHARDS)]
    pair.insert("claimants", *[{"id": pair.number(shard), "a": a, "c": f"k{some}"} for a, some, shard in spaces])
    pair.insert("kinds", {"code": "k"})
    pair.insert("things", *[{"id": pair.number(shard), "kind": "k "} for shard in range(SHARDS)])


def _number(world: World) -> int:
    """A new shard key of a child, beside its parent or not."""
    return world.pair.number(world.random.randrange(SHARDS))


def _unequal(pair: Pair, type_name: str) -> list[str]:
    """The samples of a type that are not equal to an earlier one."""
    found: list[str] = []
    with pair.plain.connection.transaction(force_rollback=True):
        pair.plain.connection.execute(f"CREATE TEMP TABLE seen (v {type_name} UNIQUE)".encode())
        for sample in SAMPLES[type_name]:
            cursor = pair.plain.connection.execute("INSERT INTO seen VALUES (%s) ON CONFLICT DO NOTHING", [sample])
            found += [sample] * cursor.rowcount
    return found


def _refusing_parents(world: World, key: Key) -> int:
    """How many parents a key's children hold; of several, any may be named by the refusal of a delete.

    Up to version 17, PostgreSQL lets a child whose collation tells no case hold each of two parents whose does.
    """
    connection = world.pair.plain.connection
    one = f"DELETE FROM {key.parents} WHERE id = %s AND v = %s::{key.types.parent}".encode()
    held = 0
    for value in _unequal(world.pair, key.types.parent):
        try:
            with connection.transaction(force_rollback=True):
                connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
                connection.execute(one, (world.parents[key], value))
        except psycopg.errors.IntegrityError:
            held += 1
    return held


def test_there_are_pairs_of_all_kinds(keys: list[Key]) -> None:
    pairs = {(key.types.parent, key.types.child) for key in keys}
    assert len(pairs) > 80 + NAMING_PAIRS
    assert {
        ("character(4)", "text"),
        ("text", "character(6)"),
        ("smallint", "bigint"),
        ("date", "timestamp with time zone"),
        ("cidr", "inet"),
        ("real", "double precision"),
        ("spot", "place"),
        ("numeric(4,2)", "small"),
        ("small", "numeric(4,2)"),
    } <= pairs
    assert all(key.types.accepted for key in keys)


def test_what_is_referenced_is_neither_dropped_nor_damaged(world: World) -> None:
    assert world.pair.client.with_timeout(PATIENCE_SECONDS).drop_unused_shadows() == 0
    world.pair.check_tables()
    assert world.pair.client.with_timeout(PATIENCE_SECONDS).audit() == []


def test_what_references_nothing_is_refused(world: World) -> None:
    for key in world.some([key for key in world.keys if key.types.refused]):
        row = key.child(_number(world), world.parents[key], world.random.choice(key.types.refused))
        with pytest.raises(crosskey.CrosskeyError):
            world.pair.insert(key.children, row)


def test_a_parent_that_is_back_by_the_commit_keeps_its_children(world: World) -> None:
    for key in world.some([key for key in world.keys if key.action == "DEFERRED"]):
        gone = crosskey.requests.delete(key.parents, where=in_("id", [world.parents[key]]))
        rows = [{"id": world.parents[key], "v": value} for value in _unequal(world.pair, key.types.parent)]
        world.pair.transact(gone, crosskey.requests.insert(key.parents, rows))


def test_new_keys_of_parents(world: World) -> None:
    refusing = {key.table for key in world.keys if key.action == "CASCADE" and not key.types.follows}
    for key in world.some([key for key in world.keys if key.action in CHANGING and key.table not in refusing]):
        new = world.pair.number(world.random.randrange(SHARDS))
        world.pair.update(key.parents, {"id": new}, where=in_("id", [world.parents[key]]))
        world.parents[key] = new
    world.pair.check_tables()


def test_deletes_of_parents(world: World) -> None:
    for key in world.some([key for key in world.keys if key.action in REFUSING and _refusing_parents(world, key) == 1]):
        with pytest.raises(ForeignKeyViolation):
            world.pair.delete(key.parents, where=in_("id", [world.parents[key]]))
    for _, of_table in itertools.groupby(world.keys, lambda key: key.table):
        acting = [key for key in of_table if key.action not in REFUSING]
        if acting:
            world.pair.delete(acting[0].parents, where=in_("id", [world.parents[key] for key in acting]))


def test_a_claimed_key(pair: Pair, claimed_texts: list[str]) -> None:
    with pytest.raises(ForeignKeyViolation):
        pair.insert("claimants", {"id": pair.number(0), "a": claimed_texts[0], "c": "another key"})
    for a in claimed_texts:
        new = pair.text(1)
        pair.update("claimed", {"a": new}, where={"a": a})
        assert len(pair.rows("claimants", {"a": new})) == SHARDS
        pair.delete("claimed", where={"a": new})
    assert pair.rows("claimants") == []


def test_a_reference_table(pair: Pair) -> None:
    with pytest.raises(ForeignKeyViolation):
        pair.delete("kinds", key={"code": "k"})
