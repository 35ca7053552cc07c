"""Every shape of foreign key: composite, MATCH SIMPLE and FULL, NULLs, several keys at once, self-references."""

import itertools

import pytest

from crosskey import ForeignKeyViolation, in_
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import SHARDS, Pair

SCHEMA = """
CREATE TABLE pairs (a bigint, b integer, label text, PRIMARY KEY (a, b), UNIQUE (b, a));
COMMENT ON TABLE pairs IS '@shard_by a';

CREATE TABLE simple (id bigint PRIMARY KEY, a bigint, b integer, FOREIGN KEY (a, b) REFERENCES pairs ON DELETE CASCADE);
COMMENT ON TABLE simple IS '@shard_by id';

CREATE TABLE fully (id bigint PRIMARY KEY, a bigint, b integer,
    FOREIGN KEY (a, b) REFERENCES pairs MATCH FULL ON DELETE SET NULL);
COMMENT ON TABLE fully IS '@shard_by id';

-- The same key with its columns the other way round, onto another unique constraint.
CREATE TABLE turned (id bigint PRIMARY KEY, a bigint, b integer,
    FOREIGN KEY (b, a) REFERENCES pairs (b, a) ON DELETE CASCADE);
COMMENT ON TABLE turned IS '@shard_by id';

-- Part of this key is the child's own shard key; it is local if that names the parent's, and crosses shards if not.
CREATE TABLE beside (a bigint NOT NULL, b integer, note text, FOREIGN KEY (a, b) REFERENCES pairs ON DELETE CASCADE);
COMMENT ON TABLE beside IS '@shard_by a';
CREATE TABLE across (a bigint, b integer NOT NULL, note text, FOREIGN KEY (a, b) REFERENCES pairs ON DELETE CASCADE);
COMMENT ON TABLE across IS '@shard_by b';

CREATE TABLE users (id bigint PRIMARY KEY, email text, UNIQUE (id, email));
COMMENT ON TABLE users IS '@shard_by id';

-- Three keys to one parent, each with an action of its own.
CREATE TABLE letters (
    id bigint PRIMARY KEY,
    sender bigint NOT NULL REFERENCES users ON DELETE CASCADE,
    recipient bigint REFERENCES users ON DELETE SET NULL,
    courier bigint REFERENCES users
);
COMMENT ON TABLE letters IS '@shard_by id';

-- A reference to a unique key that holds the shard key and more.
CREATE TABLE logins (id bigint PRIMARY KEY, user_id bigint, email text,
    FOREIGN KEY (user_id, email) REFERENCES users (id, email) ON DELETE CASCADE);
COMMENT ON TABLE logins IS '@shard_by id';

CREATE TABLE groups (id bigint PRIMARY KEY);
COMMENT ON TABLE groups IS '@shard_by id';

-- Two keys on one column: it names a user and a group of one number.
CREATE TABLE founders (id bigint PRIMARY KEY, number bigint,
    FOREIGN KEY (number) REFERENCES users ON DELETE CASCADE,
    FOREIGN KEY (number) REFERENCES groups ON DELETE SET NULL);
COMMENT ON TABLE founders IS '@shard_by id';

CREATE TABLE people (
    id bigint PRIMARY KEY,
    name text DEFAULT 'nobody',
    mentor bigint REFERENCES people ON DELETE CASCADE,
    friend bigint REFERENCES people ON DELETE SET NULL
);
COMMENT ON TABLE people IS '@shard_by id';

-- No primary key at all.
CREATE TABLE visits (place bigint NOT NULL, visitor bigint REFERENCES users ON DELETE CASCADE);
COMMENT ON TABLE visits IS '@shard_by place';
"""


@pytest.fixture
def a(pair: Pair) -> int:
    """The shard key of three new pairs on PARENT_SHARD, with b = 1, 2 and 3."""
    number = pair.number(PARENT_SHARD)
    pair.insert("pairs", *[{"a": number, "b": b} for b in (1, 2, 3)])
    return number


@pytest.fixture
def user(pair: Pair) -> int:
    """A new user on PARENT_SHARD."""
    return add_user(pair, PARENT_SHARD)


def add_user(pair: Pair, shard: int) -> int:
    number = pair.number(shard)
    pair.insert("users", {"id": number, "email": f"{number}@example.org"})
    return number


@pytest.mark.parametrize("table", ["simple", "fully", "turned"])
def test_a_composite_key(pair: Pair, child_shard: int, a: int, table: str) -> None:
    first, second = pair.number(child_shard), pair.number(child_shard)
    pair.insert(table, {"id": first, "a": a, "b": 1}, {"id": second, "a": a, "b": 2})
    with pytest.raises(ForeignKeyViolation):
        pair.insert(table, {"id": pair.number(child_shard), "a": a, "b": 4})
    pair.delete("pairs", key={"a": a, "b": 1})
    assert len(pair.rows(table, {"a": a})) == 1


def test_match_simple_lets_partial_nulls_be(pair: Pair, child_shard: int, a: int) -> None:
    children = [pair.number(child_shard) for _ in range(3)]
    missing = pair.number(PARENT_SHARD)
    pair.insert("simple", {"id": children[0], "a": a}, {"id": children[1], "b": 1}, {"id": children[2], "a": missing})
    pair.delete("pairs", where={"a": a})
    assert len(pair.rows("simple", in_("id", children))) == 3


def test_match_full_refuses_partial_nulls(pair: Pair, child_shard: int, a: int) -> None:
    for partial in ({"a": a}, {"b": 1}, {"a": a, "b": None}):
        with pytest.raises(ForeignKeyViolation):
            pair.insert("fully", {"id": pair.number(child_shard), **partial})
    pair.insert("fully", {"id": pair.number(child_shard)}, {"id": pair.number(child_shard), "a": None, "b": None})


def test_match_full_refuses_an_update_to_partial_nulls(pair: Pair, child_shard: int, a: int) -> None:
    child = pair.number(child_shard)
    pair.insert("fully", {"id": child, "a": a, "b": 1})
    with pytest.raises(ForeignKeyViolation):
        pair.update("fully", {"b": None}, key={"id": child})
    pair.update("fully", {"a": None, "b": None}, key={"id": child})
    pair.delete("pairs", where={"a": a})


def test_a_key_that_holds_the_shard_keys_of_both(pair: Pair, a: int) -> None:
    pair.insert("beside", {"a": a, "b": 1}, {"a": a, "b": 1}, {"a": a})
    with pytest.raises(ForeignKeyViolation):
        pair.insert("beside", {"a": a, "b": 4})
    assert pair.delete("pairs", key={"a": a, "b": 1}) == 1
    assert len(pair.rows("beside", {"a": a})) == 1


def test_a_key_that_holds_the_shard_key_of_the_child_only(pair: Pair, a: int) -> None:
    pair.insert("across", *[{"a": a, "b": b} for b in (1, 2, 3, 1)])
    with pytest.raises(ForeignKeyViolation):
        pair.insert("across", {"a": a, "b": 4})
    pair.delete("pairs", key={"a": a, "b": 1})
    assert len(pair.rows("across", {"a": a})) == 2


def test_a_key_onto_a_unique_constraint(pair: Pair, child_shard: int, user: int) -> None:
    child = pair.number(child_shard)
    pair.insert("logins", {"id": child, "user_id": user, "email": f"{user}@example.org"})
    with pytest.raises(ForeignKeyViolation):
        pair.insert("logins", {"id": pair.number(child_shard), "user_id": user, "email": "wrong@example.org"})
    pair.delete("users", key={"id": user, "email": f"{user}@example.org"})
    assert pair.rows("logins", {"id": child}) == []


def test_several_keys_to_one_parent(pair: Pair, child_shard: int, user: int) -> None:
    other = add_user(pair, 2)
    letters = [pair.number(child_shard) for _ in range(2)]
    pair.insert(
        "letters",
        {"id": letters[0], "sender": user, "recipient": user, "courier": other},
        {"id": letters[1], "sender": other, "recipient": user},
    )
    with pytest.raises(ForeignKeyViolation):
        pair.delete("users", key={"id": other})
    pair.delete("users", key={"id": user})
    assert [row["recipient"] for row in pair.rows("letters", in_("id", letters))] == [None]
    pair.delete("users", key={"id": other})


def test_a_row_whose_keys_act_differently_on_one_parent(pair: Pair, child_shard: int, user: int) -> None:
    pair.insert("letters", {"id": pair.number(child_shard), "sender": user, "recipient": user, "courier": user})
    assert pair.delete("users", key={"id": user}) == 1


def test_two_keys_on_one_column(pair: Pair, child_shard: int, user: int) -> None:
    with pytest.raises(ForeignKeyViolation):
        pair.insert("founders", {"id": pair.number(child_shard), "number": user})
    pair.insert("groups", {"id": user})
    children = [pair.number(child_shard) for _ in range(2)]
    pair.insert("founders", *[{"id": child, "number": user} for child in children])
    pair.delete("groups", key={"id": user})
    assert {row["number"] for row in pair.rows("founders", in_("id", children))} == {None}
    pair.delete("users", key={"id": user})


def test_a_table_without_a_primary_key(pair: Pair, child_shard: int, user: int) -> None:
    place = pair.number(child_shard)
    pair.insert("visits", {"place": place, "visitor": user}, {"place": place, "visitor": user}, {"place": place})
    pair.delete("users", key={"id": user})
    assert pair.rows("visits", {"place": place}) == [{"place": str(place), "visitor": None}]


def test_duplicates_within_a_request(pair: Pair, child_shard: int, user: int) -> None:
    rows = [{"id": pair.number(child_shard), "sender": user, "recipient": user} for _ in range(20)]
    pair.insert("letters", *rows)
    assert pair.delete("users", key={"id": user}) == 1


def test_one_row_of_many_names_nobody(pair: Pair, user: int) -> None:
    rows = [{"id": pair.number(number % SHARDS), "sender": user} for number in range(12)]
    rows[7]["sender"] = pair.number(1)
    with pytest.raises(ForeignKeyViolation):
        pair.insert("letters", *rows)
    assert pair.rows("letters", {"sender": user}) == []


def test_many_rows_with_mixed_columns(pair: Pair) -> None:
    users = [add_user(pair, shard) for shard in range(SHARDS)]
    shapes: list[dict[str, object]] = [{"recipient": users[0]}, {}, {"courier": users[1]}, {"recipient": None}]
    rows = [
        {"id": pair.number(number % SHARDS), "sender": users[number % 2], **shapes[number % 4]} for number in range(24)
    ]
    stored = pair.insert("letters", *rows)
    assert [row["id"] for row in stored] == [str(row["id"]) for row in rows]


def test_mixed_columns_with_defaults(pair: Pair) -> None:
    rows = [{"id": pair.number(number % SHARDS)} | ({"name": str(number)} if number % 2 else {}) for number in range(9)]
    assert [row["name"] for row in pair.insert("people", *rows)][:3] == ["nobody", "1", "nobody"]


def test_a_row_that_references_itself(pair: Pair) -> None:
    person = pair.number(1)
    pair.insert("people", {"id": person, "mentor": person, "friend": person})
    assert pair.delete("people", key={"id": person}) == 1


@pytest.mark.parametrize("named", [True, False], ids=["one statement", "two statements on a shard"])
def test_children_before_parents_in_one_request(pair: Pair, child_shard: int, named: bool) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    name = {} if named else {"name": "somebody"}
    pair.insert("people", {"id": child, "mentor": parent}, {"id": parent, **name})
    assert pair.delete("people", key={"id": parent}) == 1
    assert pair.rows("people", {"id": child}) == []


def test_a_circle_over_all_shards_in_one_request(pair: Pair) -> None:
    people = [pair.number(number % SHARDS) for number in range(7)]
    mentors = people[1:] + people[:1]
    pair.insert("people", *[{"id": one, "mentor": mentor} for one, mentor in zip(people, mentors, strict=True)])
    pair.delete("people", key={"id": people[3]})
    assert pair.rows("people", in_("id", people)) == []


def test_a_tree_in_one_request_with_one_missing_parent(pair: Pair) -> None:
    people = [pair.number(number % SHARDS) for number in range(6)]
    rows = [{"id": one, "mentor": people[place // 2]} for place, one in enumerate(people)]
    rows[5]["mentor"] = pair.number(2)
    with pytest.raises(ForeignKeyViolation):
        pair.insert("people", *rows)
    pair.insert("people", *rows[:5])
    pair.update("people", {"friend": people[4]}, where=in_("id", people))
    pair.delete("people", key={"id": people[4]})
    assert {row["friend"] for row in pair.rows("people", in_("id", people))} == {None}


def test_a_long_line_of_mentors(pair: Pair) -> None:
    people = [pair.number(number % SHARDS) for number in range(10)]
    pair.insert("people", {"id": people[0]})
    for mentor, student in itertools.pairwise(people):
        pair.insert("people", {"id": student, "mentor": mentor})
    assert pair.delete("people", key={"id": people[0]}) == 1
    assert pair.rows("people", in_("id", people)) == []
