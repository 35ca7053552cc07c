"""Updates: of a child's reference, and of referenced keys with each ON UPDATE action."""

import itertools

import pytest

from crosskey import (
    ForeignKeyViolation,
    NotNullViolation,
    UniqueViolation,
    delete,
    ge,
    in_,
    insert,
    is_null,
    lt,
    ne,
    update,
)
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import SHARDS, Pair, shard_of

DEFAULT_PARENT = next(n for n in itertools.count(10**9) if shard_of("int8", n) == 2)


def _children(name: str, clause: str) -> str:
    return f"""
CREATE TABLE {name} (id bigint PRIMARY KEY, a bigint DEFAULT {DEFAULT_PARENT}, b integer DEFAULT 0,
    FOREIGN KEY (a, b) REFERENCES pairs {clause});
COMMENT ON TABLE {name} IS '@shard_by id';
"""


SCHEMA = f"""
CREATE TABLE pairs (a bigint, b integer, label text, PRIMARY KEY (a, b));
COMMENT ON TABLE pairs IS '@shard_by a';
{_children("pinning", "")}
{_children("restricting", "ON UPDATE RESTRICT")}
{_children("following", "ON UPDATE CASCADE ON DELETE CASCADE")}
{_children("clearing", "ON UPDATE SET NULL")}
{_children("clearing_fully", "MATCH FULL ON UPDATE SET NULL")}
{_children("defaulting", "ON UPDATE SET DEFAULT")}
{_children("deferring", "DEFERRABLE INITIALLY DEFERRED")}

-- A chain: the key of the one above is part of the key.
CREATE TABLE following_on (id bigint PRIMARY KEY, a bigint, b integer, UNIQUE (id, b),
    FOREIGN KEY (a, b) REFERENCES pairs ON UPDATE CASCADE);
COMMENT ON TABLE following_on IS '@shard_by id';
CREATE TABLE following_last (id bigint PRIMARY KEY, above bigint, b integer NOT NULL,
    FOREIGN KEY (above, b) REFERENCES following_on (id, b) ON UPDATE CASCADE);
COMMENT ON TABLE following_last IS '@shard_by id';

CREATE TABLE writers (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE writers IS '@shard_by id';
CREATE TABLE articles (
    id bigint PRIMARY KEY,
    author bigint NOT NULL REFERENCES writers ON DELETE CASCADE,
    editor bigint REFERENCES writers,
    score integer NOT NULL DEFAULT 0
);
COMMENT ON TABLE articles IS '@shard_by id';
"""

ALL_CHILDREN = ["pinning", "restricting", "following", "clearing", "clearing_fully", "defaulting", "deferring"]


@pytest.fixture(scope="module", autouse=True)
def _default_parent(pair: Pair) -> None:
    pair.insert("pairs", {"a": DEFAULT_PARENT, "b": 0})


@pytest.fixture
def a(pair: Pair) -> int:
    """The shard key of two new pairs on PARENT_SHARD, with b = 1 and 2."""
    number = pair.number(PARENT_SHARD)
    pair.insert("pairs", {"a": number, "b": 1}, {"a": number, "b": 2})
    return number


def add_writer(pair: Pair, shard: int) -> int:
    number = pair.number(shard)
    pair.insert("writers", {"id": number, "name": f"writer {number}"})
    return number


def test_a_child_gets_another_parent(pair: Pair, child_shard: int) -> None:
    writers = [add_writer(pair, shard) for shard in range(SHARDS)]
    article = pair.number(child_shard)
    pair.insert("articles", {"id": article, "author": writers[0], "editor": writers[0]})
    for author, editor in itertools.permutations(writers, 2):
        pair.update("articles", {"author": author, "editor": editor}, key={"id": article})
    with pytest.raises(ForeignKeyViolation):
        pair.update("articles", {"author": pair.number(2)}, key={"id": article})
    with pytest.raises(NotNullViolation):
        pair.update("articles", {"author": None}, key={"id": article})
    pair.update("articles", {"author": writers[1], "editor": None}, key={"id": article})
    assert pair.delete("writers", where=in_("id", writers[::2])) == 2


def test_many_children_get_another_parent(pair: Pair) -> None:
    writers = [add_writer(pair, shard) for shard in range(SHARDS)]
    articles = [pair.number(number % SHARDS) for number in range(12)]
    pair.insert(
        "articles", *[{"id": article, "author": writers[0], "score": place} for place, article in enumerate(articles)]
    )
    assert len(pair.update("articles", {"author": writers[1]}, where=[in_("id", articles), lt("score", 6)])) == 6
    with pytest.raises(ForeignKeyViolation):
        pair.update("articles", {"editor": pair.number(1)}, where=in_("id", articles))
    assert pair.update("articles", {"score": 1}, where=[in_("id", articles), is_null("editor", False)]) == []
    assert pair.delete("articles", where=[in_("id", articles), ge("score", 3), ne("author", writers[0])]) == 3
    pair.delete("writers", where=in_("id", writers))
    assert pair.rows("articles", in_("id", articles)) == []


def test_an_update_of_other_columns_checks_nothing(pair: Pair, child_shard: int, a: int) -> None:
    pair.insert("restricting", {"id": pair.number(child_shard), "a": a, "b": 1})
    pair.update("pairs", {"label": "new", "b": 1}, key={"a": a, "b": 1})


@pytest.mark.parametrize("children", ["pinning", "restricting", "deferring"])
def test_no_action_and_restrict_keep_the_key(pair: Pair, child_shard: int, a: int, children: str) -> None:
    child = pair.number(child_shard)
    pair.insert(children, {"id": child, "a": a, "b": 1})
    with pytest.raises(ForeignKeyViolation):
        pair.update("pairs", {"b": 3}, key={"a": a, "b": 1})
    pair.update("pairs", {"b": 3}, key={"a": a, "b": 2})
    pair.delete(children, key={"id": child})
    pair.update("pairs", {"b": 4}, key={"a": a, "b": 1})


def test_cascade_follows_the_key(pair: Pair, child_shard: int, a: int) -> None:
    child = pair.number(child_shard)
    pair.insert("following", {"id": child, "a": a, "b": 1})
    for b in (3, 4):
        pair.update("pairs", {"b": b}, where={"a": a, "b": b - 1 if b == 4 else 1})
        assert pair.rows("following", {"a": a}) == [{"id": str(child), "a": str(a), "b": b}]
    pair.delete("pairs", key={"a": a, "b": 4})
    assert pair.rows("following", {"a": a}) == []


def test_cascade_follows_through_a_chain(pair: Pair, child_shard: int, a: int) -> None:
    middle, last = pair.number(child_shard), pair.number(2)
    pair.insert("following_on", {"id": middle, "a": a, "b": 1})
    pair.insert("following_last", {"id": last, "above": middle, "b": 1})
    pair.update("pairs", {"b": 5}, key={"a": a, "b": 1})
    assert pair.rows("following_last", {"id": last}) == [{"id": str(last), "above": str(middle), "b": 5}]


@pytest.mark.parametrize("children", ["clearing", "clearing_fully"])
def test_set_null_clears_the_reference(pair: Pair, child_shard: int, a: int, children: str) -> None:
    child = pair.number(child_shard)
    pair.insert(children, {"id": child, "a": a, "b": 1})
    pair.update("pairs", {"b": 3}, key={"a": a, "b": 1})
    assert len(pair.rows(children, {"id": child})) == 1
    pair.delete("pairs", where={"a": a})


def test_set_default_names_a_parent_on_a_third_shard(pair: Pair, child_shard: int, a: int) -> None:
    child = pair.number(child_shard)
    pair.insert("defaulting", {"id": child, "a": a, "b": 1})
    pair.update("pairs", {"b": 3}, key={"a": a, "b": 1})
    assert pair.rows("defaulting", {"id": child}) == [{"id": str(child), "a": str(DEFAULT_PARENT), "b": 0}]
    with pytest.raises(ForeignKeyViolation):
        pair.update("pairs", {"b": 1}, key={"a": DEFAULT_PARENT, "b": 0})


def test_an_update_to_a_key_that_is_taken(pair: Pair, child_shard: int, a: int) -> None:
    pair.insert("following", {"id": pair.number(child_shard), "a": a, "b": 1})
    with pytest.raises(UniqueViolation):
        pair.update("pairs", {"b": 2}, key={"a": a, "b": 1})


def test_one_update_of_keys_on_all_shards(pair: Pair) -> None:
    keys = [pair.number(shard) for shard in range(SHARDS)]
    pair.insert("pairs", *[{"a": key, "b": 1, "label": "wide"} for key in keys])
    for table, key in itertools.product(("following", "clearing", "defaulting"), keys):
        pair.insert(table, *[{"id": pair.number(shard), "a": key, "b": 1} for shard in range(SHARDS)])
    assert len(pair.update("pairs", {"b": 7}, where={"label": "wide"})) == SHARDS
    assert len(pair.rows("following", {"b": 7})) == SHARDS**2


@pytest.mark.parametrize("children", ALL_CHILDREN)
def test_a_key_moves_on_and_another_takes_its_place(pair: Pair, child_shard: int, a: int, children: str) -> None:
    pair.insert(children, {"id": pair.number(child_shard), "a": a, "b": 1})
    writes = [update("pairs", {"b": 3}, key={"a": a, "b": 1}), update("pairs", {"b": 1}, key={"a": a, "b": 2})]
    if children in ("pinning", "restricting"):
        with pytest.raises(ForeignKeyViolation):
            pair.transact(*writes)
    else:
        pair.transact(*writes)
        pair.rows(children, {"a": a})


def test_a_key_goes_away_and_comes_back(pair: Pair, child_shard: int, a: int) -> None:
    pair.insert("deferring", {"id": pair.number(child_shard), "a": a, "b": 1})
    pair.transact(
        update("pairs", {"b": 3}, key={"a": a, "b": 1}),
        update("pairs", {"b": 1}, key={"a": a, "b": 3}),
    )
    pair.transact(update("pairs", {"b": 3}, key={"a": a, "b": 1}), insert("pairs", {"a": a, "b": 1}))
    with pytest.raises(ForeignKeyViolation):
        pair.transact(delete("pairs", key={"a": a, "b": 1}))


def test_children_in_the_same_transaction_follow(pair: Pair, child_shard: int, a: int) -> None:
    child = pair.number(child_shard)
    pair.transact(
        insert("following", {"id": child, "a": a, "b": 1}),
        update("pairs", {"b": 3}, key={"a": a, "b": 1}),
        insert("following", {"id": pair.number(child_shard), "a": a, "b": 3}),
        update("pairs", {"b": 4}, key={"a": a, "b": 3}),
        update("following", {"b": 2}, key={"id": child}),
    )
    assert sorted(str(row["b"]) for row in pair.rows("following", {"a": a})) == ["2", "4"]
