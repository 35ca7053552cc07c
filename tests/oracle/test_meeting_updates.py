"""Updates whose cascades meet: several of them change one row, and each has effects on other shards."""

from collections.abc import Iterator

import pytest

from crosskey import column, in_
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import SHARDS, Pair

pytestmark = pytest.mark.searches

SCHEMA = """
-- Two keys that share a column, one of them onto a claimed key.
CREATE TABLE shared_parents (id bigint PRIMARY KEY, code integer, UNIQUE (code), UNIQUE (id, code));
COMMENT ON TABLE shared_parents IS '@shard_by id';
CREATE TABLE shared_children (
    id bigint PRIMARY KEY,
    parent bigint,
    code integer REFERENCES shared_parents (code) ON UPDATE CASCADE ON DELETE CASCADE,
    FOREIGN KEY (parent, code) REFERENCES shared_parents (id, code) ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE shared_children IS '@shard_by id';

-- PostgreSQL carries out actions in the order of the keys, and looks at the others in between.
CREATE TABLE other_children (
    id bigint PRIMARY KEY,
    parent bigint,
    code integer,
    FOREIGN KEY (parent, code) REFERENCES shared_parents (id, code) ON UPDATE CASCADE ON DELETE CASCADE,
    FOREIGN KEY (code) REFERENCES shared_parents (code) ON UPDATE CASCADE
);
COMMENT ON TABLE other_children IS '@shard_by id';

-- Both columns follow the same code: `one` at once, `other` in the same turn, in another one, or by a third table.
CREATE TABLE roots (id bigint PRIMARY KEY, code integer UNIQUE);
COMMENT ON TABLE roots IS '@shard_by id';
CREATE TABLE lefts (id bigint PRIMARY KEY, code integer UNIQUE REFERENCES roots (code) ON UPDATE CASCADE);
COMMENT ON TABLE lefts IS '@shard_by id';
CREATE TABLE rights (id bigint PRIMARY KEY, code integer UNIQUE REFERENCES roots (code) ON UPDATE CASCADE);
COMMENT ON TABLE rights IS '@shard_by id';

CREATE TABLE at_once (
    id bigint PRIMARY KEY,
    one integer REFERENCES roots (code) ON UPDATE CASCADE,
    other integer REFERENCES roots (code) ON UPDATE CASCADE,
    UNIQUE (id, one, other),
    UNIQUE (one, other)
);
COMMENT ON TABLE at_once IS '@shard_by id';
CREATE TABLE of_at_once (
    id bigint PRIMARY KEY,
    parent bigint,
    one integer,
    other integer,
    FOREIGN KEY (parent, one, other) REFERENCES at_once (id, one, other) ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE of_at_once IS '@shard_by id';
CREATE TABLE by_claim_of_at_once (
    id bigint PRIMARY KEY,
    one integer,
    other integer,
    FOREIGN KEY (one, other) REFERENCES at_once (one, other) ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE by_claim_of_at_once IS '@shard_by id';

CREATE TABLE in_one_turn (
    id bigint PRIMARY KEY,
    one integer REFERENCES lefts (code) ON UPDATE CASCADE,
    other integer REFERENCES rights (code) ON UPDATE CASCADE,
    UNIQUE (id, one, other),
    UNIQUE (one, other)
);
COMMENT ON TABLE in_one_turn IS '@shard_by id';
CREATE TABLE of_in_one_turn (
    id bigint PRIMARY KEY,
    parent bigint,
    one integer,
    other integer,
    FOREIGN KEY (parent, one, other) REFERENCES in_one_turn (id, one, other) ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE of_in_one_turn IS '@shard_by id';
CREATE TABLE by_claim_of_in_one_turn (
    id bigint PRIMARY KEY,
    one integer,
    other integer,
    FOREIGN KEY (one, other) REFERENCES in_one_turn (one, other) ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE by_claim_of_in_one_turn IS '@shard_by id';

CREATE TABLE in_two_turns (
    id bigint PRIMARY KEY,
    one integer REFERENCES roots (code) ON UPDATE CASCADE,
    other integer REFERENCES lefts (code) ON UPDATE CASCADE,
    UNIQUE (id, one, other),
    UNIQUE (one, other)
);
COMMENT ON TABLE in_two_turns IS '@shard_by id';
CREATE TABLE of_in_two_turns (
    id bigint PRIMARY KEY,
    parent bigint,
    one integer,
    other integer,
    FOREIGN KEY (parent, one, other) REFERENCES in_two_turns (id, one, other) ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE of_in_two_turns IS '@shard_by id';
CREATE TABLE by_claim_of_in_two_turns (
    id bigint PRIMARY KEY,
    one integer,
    other integer,
    FOREIGN KEY (one, other) REFERENCES in_two_turns (one, other) ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE by_claim_of_in_two_turns IS '@shard_by id';

-- Triggers change the row that they are of once more; the first is called before Crosskey's own, the second after them.
CREATE TABLE rounded (id bigint PRIMARY KEY, code integer UNIQUE, UNIQUE (id, code));
COMMENT ON TABLE rounded IS '@shard_by id';
CREATE FUNCTION round_up() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE rounded SET code = code + 1 WHERE id = NEW.id AND code % 4 <> 0;
    RETURN NULL;
END
$$;
CREATE TRIGGER a_round AFTER UPDATE ON rounded FOR EACH ROW WHEN (NEW.code % 2 = 1) EXECUTE FUNCTION round_up();
CREATE TRIGGER z_round AFTER UPDATE ON rounded FOR EACH ROW WHEN (NEW.code % 2 = 0) EXECUTE FUNCTION round_up();
CREATE TRIGGER i_round AFTER INSERT ON rounded FOR EACH ROW EXECUTE FUNCTION round_up();
CREATE TABLE doubled (id bigint PRIMARY KEY, code integer UNIQUE);
COMMENT ON TABLE doubled IS '@shard_by id';
CREATE FUNCTION double() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE doubled SET code = 2 * code WHERE id = NEW.id AND code < 100;
    RETURN NULL;
END
$$;
CREATE TRIGGER a_double AFTER UPDATE ON doubled FOR EACH ROW EXECUTE FUNCTION double();
CREATE TABLE of_doubled (id bigint PRIMARY KEY, code integer REFERENCES doubled (code) ON UPDATE CASCADE);
COMMENT ON TABLE of_doubled IS '@shard_by id';
CREATE TABLE of_rounded (
    id bigint PRIMARY KEY,
    parent bigint,
    code integer REFERENCES rounded (code) ON UPDATE CASCADE,
    FOREIGN KEY (parent, code) REFERENCES rounded (id, code) ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE of_rounded IS '@shard_by id';
"""


@pytest.fixture(scope="module", autouse=True)
def _healthy(pair: Pair) -> Iterator[None]:
    """What the tests leave has every shadow, pin and claim that it needs, and no others."""
    yield
    pair.check_health()


@pytest.mark.parametrize("children", ["shared_children", "other_children"])
def test_two_keys_share_a_column(pair: Pair, child_shard: int, children: str) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    code = parent * 1000
    pair.insert("shared_parents", {"id": parent, "code": code})
    pair.insert(children, {"id": child, "parent": parent, "code": code})
    for new in range(code + 1, code + 4):
        pair.update("shared_parents", {"code": new}, key={"id": parent})
        pair.check_tables()
    pair.delete("shared_parents", key={"id": parent})


def test_both_columns_change_and_the_parent_moves(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    code = parent * 1000
    pair.insert("shared_parents", {"id": parent, "code": code})
    pair.insert("other_children", {"id": child, "parent": parent, "code": code})
    for shard in (1, 2, 0, 0):
        code, moved = code + 1, pair.number(shard)
        pair.update("shared_parents", {"id": moved, "code": code}, key={"id": parent})
        pair.check_tables()
        parent = moved
    pair.delete("shared_parents", key={"id": parent})


@pytest.mark.parametrize("parents", ["at_once", "in_one_turn", "in_two_turns"])
def test_a_row_changes_twice(pair: Pair, child_shard: int, parents: str) -> None:
    codes = []
    for root_shard in range(SHARDS):
        parent = pair.number(PARENT_SHARD)
        codes.append(parent * 1000)
        pair.insert("roots", {"id": pair.number(root_shard), "code": codes[-1]})
        pair.insert("lefts", {"id": pair.number(1), "code": codes[-1]})
        pair.insert("rights", {"id": pair.number(2), "code": codes[-1]})
        pair.insert(parents, {"id": parent, "one": codes[-1], "other": codes[-1]})
        references = {"one": codes[-1], "other": codes[-1]}
        pair.insert(f"of_{parents}", {"id": pair.number(child_shard), "parent": parent, **references})
        pair.insert(f"by_claim_of_{parents}", {"id": pair.number(child_shard), **references})
    for _ in range(3):
        pair.update("roots", {"code": column("code") + 1}, where=in_("code", codes))
        pair.check_tables()
        codes = [code + 1 for code in codes]
    assert pair.delete(parents, where=in_("one", codes)) == SHARDS
    pair.check_tables()
    # Nothing keeps a value that rows had in between.
    pair.insert(parents, *[{"id": pair.number(0), "one": code, "other": code} for code in codes])


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_trigger_changes_the_row_once_more(pair: Pair, child_shard: int, step: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    code = parent * 1000
    pair.insert("rounded", {"id": parent, "code": code})
    pair.insert("of_rounded", {"id": child, "parent": parent, "code": code})
    pair.update("rounded", {"code": code + step}, key={"id": parent})


def test_a_trigger_changes_a_row_that_was_just_inserted(pair: Pair) -> None:
    first, second = pair.number(0), pair.number(1)
    code = first * 1000
    pair.insert("rounded", {"id": first, "code": code + 1})
    # Nothing keeps the value that the first row had for a moment.
    pair.update("rounded", {"code": code + 8}, key={"id": first})
    pair.insert("rounded", {"id": second, "code": code + 1})


def test_nothing_keeps_a_value_that_a_row_had_for_a_moment(pair: Pair) -> None:
    first, second = pair.number(0), pair.number(1)
    pair.insert("doubled", {"id": first, "code": 1000})
    for code in range(60, 66):
        pair.update("doubled", {"code": code}, key={"id": first})
    for code in range(60, 66):
        pair.insert("doubled", {"id": pair.number(1), "code": code})
    pair.insert("doubled", {"id": second, "code": 1000})


def test_keys_of_many_parents_shift(pair: Pair, child_shard: int) -> None:
    """Each takes the place of another one, and their claims are on different shards."""
    first = pair.number(0) * 1000
    codes = range(first, first + 12)
    pair.insert("doubled", *[{"id": pair.number(PARENT_SHARD), "code": code} for code in codes])
    pair.insert("of_doubled", *[{"id": pair.number(child_shard), "code": code} for code in codes])
    pair.update("doubled", {"code": column("code") - 1}, where=in_("code", list(codes)))
    pair.check_tables()
