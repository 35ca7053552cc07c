"""ON DELETE: each action does what it does on one PostgreSQL, wherever parents and children live."""

import itertools

import pytest

from crosskey import ForeignKeyViolation, NotNullViolation, in_
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import SHARDS, Pair, shard_of

THIRD_SHARD = 2

# Parents that columns have as their default: one that exists, on a shard of its own, and one that never does.
DEFAULT_PARENT, MISSING_PARENT = itertools.islice((n for n in itertools.count(10**9) if shard_of("int8", n) == 2), 2)

SCHEMA = f"""
CREATE TABLE parents (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE parents IS '@shard_by id';

CREATE TABLE pinning (id bigint PRIMARY KEY, parent bigint REFERENCES parents);
COMMENT ON TABLE pinning IS '@shard_by id';

CREATE TABLE restricting (id bigint PRIMARY KEY, parent bigint REFERENCES parents ON DELETE RESTRICT);
COMMENT ON TABLE restricting IS '@shard_by id';

CREATE TABLE cascading (id bigint PRIMARY KEY, parent bigint REFERENCES parents ON DELETE CASCADE);
COMMENT ON TABLE cascading IS '@shard_by id';

CREATE TABLE clearing (id bigint PRIMARY KEY, parent bigint REFERENCES parents ON DELETE SET NULL);
COMMENT ON TABLE clearing IS '@shard_by id';

CREATE TABLE clearing_not_null (id bigint PRIMARY KEY, parent bigint NOT NULL REFERENCES parents ON DELETE SET NULL);
COMMENT ON TABLE clearing_not_null IS '@shard_by id';

CREATE TABLE defaulting (
    id bigint PRIMARY KEY,
    parent bigint DEFAULT {DEFAULT_PARENT} REFERENCES parents ON DELETE SET DEFAULT
);
COMMENT ON TABLE defaulting IS '@shard_by id';

CREATE TABLE defaulting_to_nobody (
    id bigint PRIMARY KEY,
    parent bigint DEFAULT {MISSING_PARENT} REFERENCES parents ON DELETE SET DEFAULT
);
COMMENT ON TABLE defaulting_to_nobody IS '@shard_by id';

CREATE TABLE defaulting_to_null (id bigint PRIMARY KEY, parent bigint REFERENCES parents ON DELETE SET DEFAULT);
COMMENT ON TABLE defaulting_to_null IS '@shard_by id';

CREATE TABLE couples (a bigint, b integer, PRIMARY KEY (a, b));
COMMENT ON TABLE couples IS '@shard_by a';

CREATE TABLE clearing_half (
    id bigint PRIMARY KEY,
    a bigint,
    b integer,
    FOREIGN KEY (a, b) REFERENCES couples ON DELETE SET NULL (b)
);
COMMENT ON TABLE clearing_half IS '@shard_by id';

CREATE TABLE defaulting_half (
    id bigint PRIMARY KEY,
    a bigint,
    b integer DEFAULT 0,
    FOREIGN KEY (a, b) REFERENCES couples ON DELETE SET DEFAULT (b)
);
COMMENT ON TABLE defaulting_half IS '@shard_by id';

-- A chain: each level goes with the one above it.
CREATE TABLE branches (id bigint PRIMARY KEY, parent bigint REFERENCES parents ON DELETE CASCADE);
COMMENT ON TABLE branches IS '@shard_by id';
CREATE TABLE twigs (id bigint PRIMARY KEY, branch bigint REFERENCES branches ON DELETE CASCADE);
COMMENT ON TABLE twigs IS '@shard_by id';
CREATE TABLE leaves (id bigint PRIMARY KEY, twig bigint REFERENCES twigs ON DELETE CASCADE);
COMMENT ON TABLE leaves IS '@shard_by id';
CREATE TABLE nests (id bigint PRIMARY KEY, twig bigint REFERENCES twigs);
COMMENT ON TABLE nests IS '@shard_by id';

-- Two tables whose rows take each other along.
CREATE TABLE hens (id bigint PRIMARY KEY, egg bigint);
COMMENT ON TABLE hens IS '@shard_by id';
CREATE TABLE eggs (id bigint PRIMARY KEY, hen bigint REFERENCES hens ON DELETE CASCADE);
COMMENT ON TABLE eggs IS '@shard_by id';
ALTER TABLE hens ADD FOREIGN KEY (egg) REFERENCES eggs ON DELETE CASCADE;

-- A diamond: the bottom goes with the left, and waits for nobody but the right.
CREATE TABLE lefts (id bigint PRIMARY KEY, parent bigint REFERENCES parents ON DELETE CASCADE);
COMMENT ON TABLE lefts IS '@shard_by id';
CREATE TABLE rights (id bigint PRIMARY KEY, parent bigint REFERENCES parents ON DELETE CASCADE);
COMMENT ON TABLE rights IS '@shard_by id';
CREATE TABLE bottoms (
    id bigint PRIMARY KEY,
    l bigint REFERENCES lefts ON DELETE CASCADE,
    r bigint REFERENCES rights
);
COMMENT ON TABLE bottoms IS '@shard_by id';
"""


@pytest.fixture(scope="module", autouse=True)
def _default_parent(pair: Pair) -> None:
    pair.insert("parents", {"id": DEFAULT_PARENT})


@pytest.fixture
def parent(pair: Pair) -> int:
    """A new parent on PARENT_SHARD."""
    number = pair.number(PARENT_SHARD)
    pair.insert("parents", {"id": number})
    return number


def add_child(pair: Pair, table: str, shard: int, **references: int) -> int:
    """Inserts a row with those references on that shard; returns its id."""
    number = pair.number(shard)
    pair.insert(table, {"id": number, **references})
    return number


@pytest.mark.parametrize("children", ["pinning", "restricting"])
def test_no_action_and_restrict_keep_the_parent(pair: Pair, child_shard: int, parent: int, children: str) -> None:
    child = add_child(pair, children, child_shard, parent=parent)
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": parent})
    pair.delete(children, key={"id": child})
    assert pair.delete("parents", key={"id": parent}) == 1


def test_cascade_takes_the_children(pair: Pair, child_shard: int, parent: int) -> None:
    for _ in range(3):
        add_child(pair, "cascading", child_shard, parent=parent)
    assert pair.delete("parents", key={"id": parent}) == 1
    assert pair.rows("cascading", {"parent": parent}) == []


def test_set_null_clears_the_reference(pair: Pair, child_shard: int, parent: int) -> None:
    child = add_child(pair, "clearing", child_shard, parent=parent)
    pair.delete("parents", key={"id": parent})
    assert pair.rows("clearing", {"id": child}) == [{"id": str(child), "parent": None}]


def test_set_null_of_a_column_that_refuses_it(pair: Pair, child_shard: int, parent: int) -> None:
    add_child(pair, "clearing_not_null", child_shard, parent=parent)
    with pytest.raises(NotNullViolation):
        pair.delete("parents", key={"id": parent})


def test_set_default_names_a_parent_on_a_third_shard(pair: Pair, child_shard: int, parent: int) -> None:
    child = add_child(pair, "defaulting", child_shard, parent=parent)
    pair.delete("parents", key={"id": parent})
    assert pair.rows("defaulting", {"id": child}) == [{"id": str(child), "parent": str(DEFAULT_PARENT)}]


def test_set_default_when_no_such_parent_exists(pair: Pair, child_shard: int, parent: int) -> None:
    add_child(pair, "defaulting_to_nobody", child_shard, parent=parent)
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": parent})


def test_set_default_when_the_default_itself_goes(pair: Pair, child_shard: int) -> None:
    child = add_child(pair, "defaulting", child_shard, parent=DEFAULT_PARENT)
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": DEFAULT_PARENT})
    pair.delete("defaulting", key={"id": child})


def test_set_default_without_a_default_is_set_null(pair: Pair, child_shard: int, parent: int) -> None:
    child = add_child(pair, "defaulting_to_null", child_shard, parent=parent)
    pair.delete("parents", key={"id": parent})
    assert pair.rows("defaulting_to_null", {"id": child}) == [{"id": str(child), "parent": None}]


def test_set_null_of_some_columns(pair: Pair, child_shard: int) -> None:
    a = pair.number(PARENT_SHARD)
    pair.insert("couples", {"a": a, "b": 1})
    child = add_child(pair, "clearing_half", child_shard, a=a, b=1)
    pair.delete("couples", key={"a": a, "b": 1})
    assert pair.rows("clearing_half", {"id": child}) == [{"id": str(child), "a": str(a), "b": None}]


def test_set_default_of_some_columns(pair: Pair, child_shard: int) -> None:
    a = pair.number(PARENT_SHARD)
    pair.insert("couples", {"a": a, "b": 1}, {"a": a, "b": 0})
    child = add_child(pair, "defaulting_half", child_shard, a=a, b=1)
    pair.delete("couples", key={"a": a, "b": 1})
    assert pair.rows("defaulting_half", {"id": child}) == [{"id": str(child), "a": str(a), "b": 0}]
    with pytest.raises(ForeignKeyViolation):
        pair.delete("couples", key={"a": a, "b": 0})


def test_all_actions_at_once_over_all_shards(pair: Pair, parent: int) -> None:
    tables = ("cascading", "clearing", "defaulting")
    for table, shard in itertools.product(tables, range(SHARDS)):
        pair.insert(table, *[{"id": pair.number(shard), "parent": parent} for _ in range(3)])
    pair.delete("parents", key={"id": parent})
    for table in tables:
        assert pair.rows(table, {"parent": parent}) == []


def test_one_restricting_child_saves_the_children_of_all_shards(pair: Pair, parent: int) -> None:
    for shard in range(SHARDS):
        add_child(pair, "cascading", shard, parent=parent)
        add_child(pair, "clearing", shard, parent=parent)
    add_child(pair, "restricting", 2, parent=parent)
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": parent})
    assert len(pair.rows("cascading", {"parent": parent})) == SHARDS


def test_delete_of_many_parents_over_all_shards(pair: Pair) -> None:
    parents = [pair.number(shard) for shard in range(SHARDS) for _ in range(4)]
    pair.insert("parents", *[{"id": number, "name": "many"} for number in parents])
    rows = [{"id": pair.number(number % SHARDS), "parent": number} for number in parents * 2]
    pair.insert("cascading", *rows)
    pair.insert("clearing", *rows)
    assert pair.delete("parents", where={"name": "many"}) == len(parents)
    assert pair.rows("cascading", in_("parent", parents)) == []


def test_a_parent_comes_back(pair: Pair, child_shard: int, parent: int) -> None:
    add_child(pair, "cascading", child_shard, parent=parent)
    pair.delete("parents", key={"id": parent})
    with pytest.raises(ForeignKeyViolation):
        add_child(pair, "cascading", child_shard, parent=parent)
    pair.insert("parents", {"id": parent})
    child = add_child(pair, "cascading", child_shard, parent=parent)
    assert pair.rows("cascading", {"parent": parent}) == [{"id": str(child), "parent": str(parent)}]


@pytest.mark.parametrize("shards", [(0, 0, 0), (1, 2, 0), (2, 2, 1)], ids=str)
def test_a_cascade_of_three_levels(pair: Pair, parent: int, shards: tuple[int, int, int]) -> None:
    branch = add_child(pair, "branches", shards[0], parent=parent)
    twig = add_child(pair, "twigs", shards[1], branch=branch)
    add_child(pair, "leaves", shards[2], twig=twig)
    pair.delete("parents", key={"id": parent})
    assert pair.rows("leaves", {"twig": twig}) == []


@pytest.mark.parametrize("shards", [(0, 0, 0), (1, 2, 0), (2, 2, 1)], ids=str)
def test_the_end_of_a_cascade_refuses_all_of_it(pair: Pair, parent: int, shards: tuple[int, int, int]) -> None:
    branch = add_child(pair, "branches", shards[0], parent=parent)
    twig = add_child(pair, "twigs", shards[1], branch=branch)
    nest = add_child(pair, "nests", shards[2], twig=twig)
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": parent})
    pair.delete("nests", key={"id": nest})
    pair.delete("parents", key={"id": parent})


@pytest.mark.parametrize("egg_shard", [0, 1])
def test_a_cascade_in_a_circle(pair: Pair, egg_shard: int) -> None:
    hen, egg = pair.number(PARENT_SHARD), pair.number(egg_shard)
    pair.insert("hens", {"id": hen})
    pair.insert("eggs", {"id": egg, "hen": hen})
    pair.update("hens", {"egg": egg}, key={"id": hen})
    assert pair.delete("eggs", key={"id": egg}) == 1
    assert pair.rows("hens", {"id": hen}) == []


@pytest.mark.parametrize("shards", [(0, 0, 0), (1, 2, 0), (2, 1, 1), (1, 1, 2)], ids=str)
def test_a_diamond_is_checked_when_all_has_gone(pair: Pair, parent: int, shards: tuple[int, int, int]) -> None:
    left = add_child(pair, "lefts", shards[0], parent=parent)
    right = add_child(pair, "rights", shards[1], parent=parent)
    bottom = add_child(pair, "bottoms", shards[2], l=left, r=right)
    assert pair.delete("parents", key={"id": parent}) == 1
    assert pair.rows("bottoms", {"id": bottom}) == []


@pytest.mark.parametrize("shards", [(0, 0, 0), (1, 2, 0), (2, 1, 1)], ids=str)
def test_a_diamond_without_its_left_side_is_refused(pair: Pair, parent: int, shards: tuple[int, int, int]) -> None:
    stranger = pair.number(2)
    pair.insert("parents", {"id": stranger})
    left = add_child(pair, "lefts", shards[0], parent=stranger)
    right = add_child(pair, "rights", shards[1], parent=parent)
    add_child(pair, "bottoms", shards[2], l=left, r=right)
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": parent})
    pair.delete("parents", key={"id": stranger})
    pair.delete("parents", key={"id": parent})
