"""Changes of a shard key: the row moves to its new shard, and every key acts as on one PostgreSQL."""

import itertools

import pytest

from crosskey import ForeignKeyViolation, NotNullViolation, UniqueViolation, delete, in_, insert, update
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import SHARDS, Pair, shard_of

DEFAULT_PARENT = next(n for n in itertools.count(10**9) if shard_of("int8", n) == 2)


def _children(name: str, clause: str) -> str:
    """Children by a key that crosses shards, and children that live with their parent."""
    return f"""
CREATE TABLE {name} (id bigint PRIMARY KEY, parent bigint DEFAULT {DEFAULT_PARENT} REFERENCES parents {clause});
COMMENT ON TABLE {name} IS '@shard_by id';
CREATE TABLE {name}_beside (
    parent bigint NOT NULL DEFAULT {DEFAULT_PARENT} REFERENCES parents {clause},
    place integer,
    PRIMARY KEY (parent, place)
);
COMMENT ON TABLE {name}_beside IS '@shard_by parent';
"""


SCHEMA = f"""
CREATE TABLE parents (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE parents IS '@shard_by id';
{_children("pinning", "")}
{_children("restricting", "ON UPDATE RESTRICT")}
{_children("following", "ON UPDATE CASCADE")}
{_children("clearing", "ON UPDATE SET NULL")}
{_children("defaulting", "ON UPDATE SET DEFAULT")}
{_children("waiting", "DEFERRABLE INITIALLY DEFERRED")}

-- Children that go to their default's parent, and what references them.
CREATE TABLE staying (
    parent bigint DEFAULT {DEFAULT_PARENT} REFERENCES parents ON DELETE SET DEFAULT,
    place bigint,
    PRIMARY KEY (parent, place)
);
COMMENT ON TABLE staying IS '@shard_by parent';
CREATE TABLE staying_notes (id bigint PRIMARY KEY, parent bigint, place bigint,
    FOREIGN KEY (parent, place) REFERENCES staying ON UPDATE CASCADE);
COMMENT ON TABLE staying_notes IS '@shard_by id';

-- References to rows that move along: from another shard, and from beside.
CREATE TABLE notes (id bigint PRIMARY KEY, parent bigint, place integer,
    FOREIGN KEY (parent, place) REFERENCES following_beside ON UPDATE CASCADE ON DELETE CASCADE);
COMMENT ON TABLE notes IS '@shard_by id';
CREATE TABLE marks (parent bigint NOT NULL, place integer, mark text,
    FOREIGN KEY (parent, place) REFERENCES following_beside ON UPDATE CASCADE ON DELETE SET NULL (place));
COMMENT ON TABLE marks IS '@shard_by parent';

-- Rows that count those that live beside them.
CREATE TABLE threads (id bigint PRIMARY KEY, replies integer NOT NULL DEFAULT 0);
COMMENT ON TABLE threads IS '@shard_by id';
CREATE TABLE replies (thread bigint REFERENCES threads ON UPDATE CASCADE, place integer, PRIMARY KEY (thread, place));
COMMENT ON TABLE replies IS '@shard_by thread';
CREATE FUNCTION count_replies() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        UPDATE threads SET replies = replies + 1 WHERE id = NEW.thread;
    ELSE
        UPDATE threads SET replies = replies - 1 WHERE id = OLD.thread;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_replies AFTER INSERT OR DELETE ON replies FOR EACH ROW EXECUTE FUNCTION count_replies();

CREATE TABLE people (id bigint PRIMARY KEY, boss bigint REFERENCES people ON UPDATE CASCADE ON DELETE SET NULL);
COMMENT ON TABLE people IS '@shard_by id';
"""

SHARDS_AFTER = pytest.mark.parametrize("new_shard", [1, 2])


@pytest.fixture(scope="module", autouse=True)
def _default_parent(pair: Pair) -> None:
    pair.insert("parents", {"id": DEFAULT_PARENT})


@pytest.fixture
def parent(pair: Pair) -> int:
    """A new parent on PARENT_SHARD."""
    number = pair.number(PARENT_SHARD)
    pair.insert("parents", {"id": number, "name": "moving"})
    return number


def child_of(pair: Pair, table: str, shard: int, parent: int) -> dict[str, int]:
    """A child, inserted on that shard, or beside its parent."""
    row = {"place": 1, "parent": parent} if table.endswith("_beside") else {"id": pair.number(shard), "parent": parent}
    pair.insert(table, row)
    return row


@SHARDS_AFTER
def test_a_row_without_children_moves(pair: Pair, parent: int, new_shard: int) -> None:
    new = pair.number(new_shard)
    assert pair.update("parents", {"id": new}, key={"id": parent}) == [{"id": str(new), "name": "moving"}]
    assert pair.client.get("parents", id=new)["name"] == "moving"
    child_of(pair, "pinning", 1, new)
    with pytest.raises(ForeignKeyViolation):
        child_of(pair, "pinning", 1, parent)


@SHARDS_AFTER
def test_a_row_moves_with_what_its_triggers_count(pair: Pair, new_shard: int) -> None:
    old, new = pair.number(PARENT_SHARD), pair.number(new_shard)
    pair.insert("threads", {"id": old})
    pair.insert("replies", *({"thread": old, "place": place} for place in range(3)))
    pair.update("threads", {"id": new}, key={"id": old})
    assert pair.rows("threads", {"id": new}) == [{"id": str(new), "replies": 3}]


@SHARDS_AFTER
@pytest.mark.parametrize("children", ["pinning", "restricting", "waiting"])
@pytest.mark.parametrize("beside", ["", "_beside"])
def test_no_action_and_restrict_keep_the_key(
    pair: Pair, child_shard: int, parent: int, new_shard: int, children: str, beside: str
) -> None:
    child_of(pair, children + beside, child_shard, parent)
    with pytest.raises(ForeignKeyViolation):
        pair.update("parents", {"id": pair.number(new_shard)}, key={"id": parent})


@pytest.mark.parametrize("new_shard", [PARENT_SHARD, 1, 2])
def test_cascade_follows_the_key(pair: Pair, child_shard: int, parent: int, new_shard: int) -> None:
    new = pair.number(new_shard)
    child = child_of(pair, "following", child_shard, parent)
    child_of(pair, "following_beside", child_shard, parent)
    pair.update("parents", {"id": new}, key={"id": parent})
    assert pair.rows("following", {"id": child["id"]}) == [{"id": str(child["id"]), "parent": str(new)}]
    assert pair.rows("following_beside", {"parent": new}) == [{"parent": str(new), "place": 1}]


@SHARDS_AFTER
def test_set_null_clears_the_reference(pair: Pair, child_shard: int, parent: int, new_shard: int) -> None:
    child_of(pair, "clearing", child_shard, parent)
    pair.update("parents", {"id": pair.number(new_shard)}, key={"id": parent})


@SHARDS_AFTER
def test_set_null_of_a_shard_key(pair: Pair, parent: int, new_shard: int) -> None:
    child_of(pair, "clearing_beside", PARENT_SHARD, parent)
    with pytest.raises(NotNullViolation):
        pair.update("parents", {"id": pair.number(new_shard)}, key={"id": parent})


@SHARDS_AFTER
def test_set_default_names_another_parent(pair: Pair, child_shard: int, parent: int, new_shard: int) -> None:
    child_of(pair, "defaulting", child_shard, parent)
    pair.insert("defaulting_beside", {"parent": parent, "place": parent})
    pair.update("parents", {"id": pair.number(new_shard)}, key={"id": parent})
    assert len(pair.rows("defaulting_beside", {"parent": DEFAULT_PARENT, "place": parent})) == 1


@SHARDS_AFTER
def test_rows_move_with_everything_beside_them(pair: Pair, child_shard: int, parent: int, new_shard: int) -> None:
    new, note = pair.number(new_shard), pair.number(child_shard)
    pair.insert("following_beside", *[{"parent": parent, "place": place} for place in (1, 2)])
    pair.insert("marks", *[{"parent": parent, "place": place, "mark": "!"} for place in (1, 2, None)])
    pair.insert("notes", {"id": note, "parent": parent, "place": 2})
    pair.update("parents", {"id": new}, key={"id": parent})
    assert pair.rows("notes", {"id": note}) == [{"id": str(note), "parent": str(new), "place": 2}]
    pair.delete("following_beside", where={"parent": new})
    assert pair.rows("notes", {"id": note}) == []
    assert len(pair.rows("marks", {"parent": new})) == 2


@SHARDS_AFTER
def test_a_child_moves_and_keeps_its_parent(pair: Pair, child_shard: int, parent: int, new_shard: int) -> None:
    child, new = child_of(pair, "pinning", child_shard, parent), pair.number(new_shard)
    pair.update("pinning", {"id": new}, key={"id": child["id"]})
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": parent})
    pair.delete("pinning", key={"id": new})
    pair.delete("parents", key={"id": parent})


@SHARDS_AFTER
def test_a_child_beside_its_parent_goes_to_another(pair: Pair, parent: int, new_shard: int) -> None:
    child_of(pair, "pinning_beside", PARENT_SHARD, parent)
    new = pair.number(new_shard)
    with pytest.raises(ForeignKeyViolation):
        pair.update("pinning_beside", {"parent": new}, key={"parent": parent, "place": 1})
    pair.insert("parents", {"id": new})
    pair.update("pinning_beside", {"parent": new}, key={"parent": parent, "place": 1})
    pair.delete("parents", key={"id": parent})
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": new})


def test_a_move_to_a_key_that_is_taken(pair: Pair, child_shard: int, parent: int) -> None:
    taken = pair.number(child_shard)
    pair.insert("parents", {"id": taken})
    with pytest.raises(UniqueViolation):
        pair.update("parents", {"id": taken}, key={"id": parent})


def test_delete_set_default_of_a_shard_key(pair: Pair) -> None:
    parents = [pair.number(shard) for shard in range(SHARDS)]
    pair.insert("parents", *[{"id": parent, "name": "leaving"} for parent in parents])
    pair.insert("staying", *[{"parent": parent, "place": parent} for parent in parents])
    pair.insert("staying_notes", *[{"id": pair.number(2), "parent": parent, "place": parent} for parent in parents])
    pair.delete("parents", where={"name": "leaving"})
    assert len(pair.rows("staying", {"parent": DEFAULT_PARENT})) == SHARDS
    assert len(pair.rows("staying_notes", {"parent": DEFAULT_PARENT})) == SHARDS


@SHARDS_AFTER
def test_a_row_that_references_itself_moves(pair: Pair, new_shard: int) -> None:
    person, new = pair.number(PARENT_SHARD), pair.number(new_shard)
    pair.insert("people", {"id": person, "boss": person})
    pair.update("people", {"id": new}, key={"id": person})
    assert pair.rows("people", {"id": new}) == [{"id": str(new), "boss": str(new)}]
    pair.delete("people", key={"id": new})


@SHARDS_AFTER
def test_a_boss_moves_and_a_worker_moves(pair: Pair, child_shard: int, new_shard: int) -> None:
    boss, new = pair.number(PARENT_SHARD), pair.number(new_shard)
    workers = [pair.number(child_shard), pair.number(2)]
    pair.insert("people", {"id": boss}, *[{"id": worker, "boss": boss} for worker in workers])
    pair.update("people", {"id": new}, key={"id": boss})
    moved = pair.number(new_shard)
    pair.update("people", {"id": moved}, key={"id": workers[0]})
    pair.delete("people", key={"id": new})
    assert [row["boss"] for row in pair.rows("people", in_("id", [moved, workers[1]]))] == [None, None]


@SHARDS_AFTER
def test_moves_in_a_transaction(pair: Pair, child_shard: int, parent: int, new_shard: int) -> None:
    new, newer = pair.number(new_shard), pair.number((new_shard + 1) % SHARDS)
    child = pair.number(child_shard)
    pair.transact(
        insert("following", {"id": child, "parent": parent}),
        update("parents", {"id": new}, key={"id": parent}),
        insert("following", {"id": pair.number(2), "parent": new}),
        update("parents", {"id": newer, "name": "moved"}, key={"id": new}),
        insert("parents", {"id": parent}),
        delete("following", key={"id": child}),
    )
    assert len(pair.rows("following", {"parent": newer})) == 1


@SHARDS_AFTER
def test_a_deferred_key_finds_what_moved_into_place(pair: Pair, child_shard: int, parent: int, new_shard: int) -> None:
    other = pair.number(new_shard)
    pair.insert("parents", {"id": other})
    child_of(pair, "waiting", child_shard, parent)
    pair.transact(
        update("parents", {"id": pair.number(1)}, key={"id": parent}),
        update("parents", {"id": parent}, key={"id": other}),
    )
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": parent})
