"""Rows that live with a parent which only a claim finds: they are where it is, whatever happens to either."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import crosskey
from crosskey import CrosskeyError, ForeignKeyViolation, UniqueViolation, delete, group, insert, set_constraints, update
from tests.oracle.nested import transact
from tests.oracle.pair import Pair

pytestmark = pytest.mark.searches

SCHEMA = """
CREATE TABLE owners (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE owners IS '@shard_by id';

CREATE TABLE media (
    id bigserial PRIMARY KEY,
    owner_id bigint NOT NULL REFERENCES owners ON DELETE CASCADE ON UPDATE CASCADE,
    total integer NOT NULL DEFAULT 0,
    note text
);
COMMENT ON TABLE media IS '@shard_with owner_id';

CREATE TABLE comments (
    id bigserial PRIMARY KEY,
    media_id bigint NOT NULL REFERENCES media ON DELETE CASCADE ON UPDATE CASCADE,
    place integer,
    note text,
    UNIQUE (media_id, place),
    UNIQUE (media_id, id)
);
COMMENT ON TABLE comments IS '@shard_with media_id';
CREATE FUNCTION count_comments() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN UPDATE media SET total = total - 1 WHERE id = OLD.media_id; END IF;
    IF TG_OP <> 'DELETE' THEN UPDATE media SET total = total + 1 WHERE id = NEW.media_id; END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER count_comments AFTER INSERT OR DELETE OR UPDATE OF media_id ON comments
    FOR EACH ROW EXECUTE FUNCTION count_comments();

CREATE TABLE likes (
    comment_id bigint REFERENCES comments ON DELETE CASCADE ON UPDATE CASCADE,
    user_id bigint,
    note text,
    PRIMARY KEY (comment_id, user_id)
);
COMMENT ON TABLE likes IS '@shard_with comment_id';

-- By two keys with their parents, and with each other.
CREATE TABLE replies (
    media_id bigint REFERENCES media ON DELETE CASCADE ON UPDATE CASCADE,
    id integer,
    comment_id bigint NOT NULL,
    follows integer,
    PRIMARY KEY (media_id, id),
    FOREIGN KEY (media_id, comment_id) REFERENCES comments (media_id, id) ON DELETE CASCADE ON UPDATE CASCADE,
    FOREIGN KEY (media_id, follows) REFERENCES replies (media_id, id) ON DELETE SET NULL (follows) ON UPDATE CASCADE
);
COMMENT ON TABLE replies IS '@shard_with media_id';

-- One row for one, and rows that live with that.
CREATE TABLE details (media_id bigint PRIMARY KEY REFERENCES media ON DELETE CASCADE ON UPDATE CASCADE, text text);
COMMENT ON TABLE details IS '@shard_with media_id';
CREATE TABLE tags (
    media_id bigint REFERENCES details ON DELETE CASCADE ON UPDATE CASCADE,
    tag text,
    PRIMARY KEY (media_id, tag)
);
COMMENT ON TABLE tags IS '@shard_with media_id';

-- References an anchored row from anywhere.
CREATE TABLE mentions (
    id bigint PRIMARY KEY,
    comment_id bigint REFERENCES comments ON DELETE SET NULL ON UPDATE CASCADE
);
COMMENT ON TABLE mentions IS '@shard_by id';

-- Keys that do nothing to their children.
CREATE TABLE plain_notes (id bigint PRIMARY KEY, media_id bigint NOT NULL DEFAULT -1 REFERENCES media);
COMMENT ON TABLE plain_notes IS '@shard_with media_id';
CREATE TABLE late_notes (
    id bigint PRIMARY KEY,
    media_id bigint NOT NULL REFERENCES media DEFERRABLE INITIALLY DEFERRED
);
COMMENT ON TABLE late_notes IS '@shard_with media_id';
CREATE TABLE kept_notes (id bigint PRIMARY KEY, media_id bigint NOT NULL REFERENCES media ON DELETE RESTRICT);
COMMENT ON TABLE kept_notes IS '@shard_with media_id';
CREATE TABLE lent_notes (
    id bigint PRIMARY KEY,
    media_id bigint NOT NULL DEFAULT 1 REFERENCES media ON DELETE SET DEFAULT ON UPDATE SET DEFAULT
);
COMMENT ON TABLE lent_notes IS '@shard_with media_id';
"""

ALL = (
    "lent_notes", "kept_notes", "late_notes", "plain_notes", "mentions", "tags", "details", "replies", "likes",
    "comments", "media", "owners",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _empty(pair: Pair) -> None:
    pair.empty(ALL)


class World:
    """Owners on two shards, and rows below them."""

    def __init__(self, pair: Pair) -> None:
        """Makes an owner on each shard."""
        self.pair = pair
        self.owners = [pair.number(shard) for shard in range(3)]
        pair.insert("owners", *({"id": owner} for owner in self.owners))

    def media(self, shard: int = 0, **values: Any) -> int:
        """A media whose owner is on the shard."""
        media = self.pair.number(2)
        self.pair.insert("media", {"id": media, "owner_id": self.owners[shard], **values})
        return media

    def family(self, shard: int = 0) -> int:
        """A media with rows of all kinds below it; comments have its id times ten and more."""
        media = self.media(shard)
        pair = self.pair
        pair.insert("comments", *({"id": 10 * media + n, "media_id": media, "place": n} for n in range(3)))
        pair.insert("likes", *({"comment_id": 10 * media + n, "user_id": u} for n in range(2) for u in range(2)))
        pair.insert("replies", {"media_id": media, "id": 1, "comment_id": 10 * media + 1})
        pair.insert("replies", {"media_id": media, "id": 2, "comment_id": 10 * media, "follows": 1})
        pair.insert("details", {"media_id": media, "text": "d"})
        pair.insert("tags", {"media_id": media, "tag": "a"}, {"media_id": media, "tag": "b"})
        pair.insert("mentions", *({"id": pair.number(shard), "comment_id": 10 * media} for shard in range(3)))
        return media

    def shard_of(self, table: str, where: str) -> set[int]:
        """The shards that have such rows."""
        return {
            number
            for number, shard in enumerate(self.pair.shards)
            if shard.execute(f"SELECT FROM {table} WHERE {where}").rowcount
        }

    def check_family(self, media: int, shard: int) -> None:
        """Every row below the media is on the shard, and nowhere else."""
        for table in ("comments", "replies", "details", "tags"):
            assert self.shard_of(table, f"media_id = {media}") == {shard}, table
        assert self.shard_of("likes", f"comment_id / 10 = {media}") == {shard}
        self.pair.check_tables()


@pytest.fixture
def world(pair: Pair) -> World:
    """The owners."""
    return World(pair)


@pytest.mark.parametrize("shard", range(3))
def test_rows_live_with_their_parents(world: World, shard: int) -> None:
    world.check_family(world.family(shard), shard)


def test_one_insert_for_many_parents(world: World) -> None:
    media = [world.media(shard) for shard in (0, 1, 2, 0)]
    world.pair.insert("comments", *({"id": n, "media_id": media[n % 4]} for n in range(8)))
    world.pair.insert("likes", *({"comment_id": n, "user_id": 1} for n in range(8)))
    assert [world.shard_of("likes", f"comment_id = {n}") for n in range(4)] == [{0}, {1}, {2}, {0}]


def test_generated_keys(world: World) -> None:
    [media] = world.pair.client.insert("media", {"owner_id": world.owners[1]})
    comments = world.pair.client.insert("comments", [{"media_id": media["id"]}, {"media_id": media["id"]}])
    world.pair.client.insert("likes", [{"comment_id": comment["id"], "user_id": 1} for comment in comments])
    assert world.shard_of("likes", "true") == {1}
    world.pair.client.delete("media", key={"id": media["id"]})
    assert world.shard_of("likes", "true") == set()


@pytest.mark.parametrize("table", ["comments", "plain_notes", "late_notes"])
def test_no_parent(world: World, table: str) -> None:
    media = world.media()
    with pytest.raises(ForeignKeyViolation):
        world.pair.insert(table, {"id": 1, "media_id": media + 1})
    with pytest.raises(ForeignKeyViolation):
        world.pair.insert(table, {"id": 1, "media_id": media}, {"id": 2, "media_id": media + 1})
    world.pair.insert(table, {"id": 1, "media_id": media})
    with pytest.raises(ForeignKeyViolation):
        world.pair.update(table, {"media_id": media + 1}, key={"id": 1})


def test_no_parent_although_its_own_parent_is_there(world: World) -> None:
    media = world.media(1)
    with pytest.raises(ForeignKeyViolation):
        world.pair.insert("tags", {"media_id": media, "tag": "a"})


def test_unique_keys_that_hold_the_parent(world: World) -> None:
    media = world.family(1)
    with pytest.raises(UniqueViolation):
        world.pair.insert("comments", {"id": 1, "media_id": media, "place": 0})
    with pytest.raises(UniqueViolation):
        world.pair.insert("likes", {"comment_id": 10 * media, "user_id": 0})
    other = world.media(2)
    with pytest.raises(UniqueViolation):
        world.pair.insert("comments", {"id": 10 * media, "media_id": other})


@pytest.mark.parametrize("target", range(3))
def test_a_parent_moves(world: World, target: int) -> None:
    media = world.family(0)
    other = world.family(0)
    world.pair.update("media", {"owner_id": world.owners[target]}, key={"id": media})
    world.check_family(media, target)
    world.check_family(other, 0)
    world.pair.insert("comments", {"id": 1, "media_id": media})
    world.pair.insert("likes", {"comment_id": 1, "user_id": 1}, {"comment_id": 10 * media + 2, "user_id": 1})
    world.check_family(media, target)
    world.pair.delete("owners", key={"id": world.owners[target]})


def test_many_parents_move(world: World) -> None:
    media = [world.family(0), world.family(0), world.family(1)]
    world.pair.update("media", {"owner_id": world.owners[2]}, where=crosskey.is_null("owner_id", False))
    for one in media:
        world.check_family(one, 2)


def test_the_root_gets_another_key(world: World) -> None:
    media = world.family(0)
    world.pair.update("owners", {"id": world.pair.number(1)}, key={"id": world.owners[0]})
    world.check_family(media, 1)


def test_a_parent_gets_another_key(world: World) -> None:
    media = world.family(0)
    key = world.pair.number(0)
    world.pair.update("media", {"id": key}, key={"id": media})
    assert world.shard_of("comments", f"media_id = {key}") == {0}
    world.pair.update("media", {"id": media, "owner_id": world.owners[1]}, key={"id": key})
    world.check_family(media, 1)


@pytest.mark.parametrize("target", range(3))
def test_a_child_goes_to_another_parent(world: World, target: int) -> None:
    media, other = world.family(0), world.media(target)
    comment = 10 * media + 2
    world.pair.insert("likes", {"comment_id": comment, "user_id": 7})
    world.pair.insert("replies", {"media_id": media, "id": 9, "comment_id": comment})
    world.pair.update("comments", {"media_id": other}, key={"id": comment})
    assert world.shard_of("comments", f"id = {comment}") == {target}
    assert world.shard_of("likes", f"comment_id = {comment}") == {target}
    assert world.shard_of("replies", f"comment_id = {comment}") == {target}
    with pytest.raises(ForeignKeyViolation):
        world.pair.update("comments", {"media_id": other, "place": 7}, key={"id": 10 * media})


@pytest.mark.parametrize("target", range(3))
def test_a_child_goes_to_no_parent_by_its_default(world: World, target: int) -> None:
    media = world.media(0)
    world.pair.insert("media", {"id": 1, "owner_id": world.owners[target]})
    world.pair.insert("lent_notes", *({"id": n, "media_id": media} for n in range(3)))
    world.pair.delete("media", key={"id": media})
    assert world.shard_of("lent_notes", "media_id = 1") == {target}
    with pytest.raises(ForeignKeyViolation):
        world.pair.delete("media", key={"id": 1})


@pytest.mark.parametrize("target", range(3))
@pytest.mark.parametrize("table", ["comments", "plain_notes", "kept_notes", "late_notes"])
def test_a_parent_goes(world: World, table: str, target: int) -> None:
    media = world.media(target)
    world.pair.insert(table, {"id": 1, "media_id": media}, {"id": 2, "media_id": media})
    for request in (delete("media", key={"id": media}), update("media", {"id": media + 1}, key={"id": media})):
        with refusal_or_not():
            transact(world.pair, request)
    if table != "comments":
        world.pair.delete(table, where={"media_id": media})
        world.pair.delete("media", key={"id": media})


@pytest.mark.parametrize("target", range(3))
@pytest.mark.parametrize("table", ["plain_notes", "late_notes"])
def test_another_parent_comes_in_the_place_of_one(world: World, table: str, target: int) -> None:
    first, second = world.media(0), world.media(target)
    world.pair.insert(table, {"id": 1, "media_id": first}, {"id": 2, "media_id": second})
    spare = world.pair.number(0)
    requests = [
        update("media", {"id": spare}, key={"id": first}),
        update("media", {"id": first}, key={"id": second}),
        update("media", {"id": second}, key={"id": spare}),
    ]
    with refusal_or_not():
        transact(world.pair, *requests)
    with refusal_or_not():
        transact(
            world.pair,
            delete("media", key={"id": first}),
            insert("media", {"id": first, "owner_id": world.owners[target]}),
        )
    world.pair.check_tables()


@pytest.mark.parametrize("target", range(3))
def test_a_parent_that_comes_later(world: World, target: int) -> None:
    media = world.pair.number(0)
    parent = insert("media", {"id": media, "owner_id": world.owners[target]})
    child = insert("late_notes", {"id": 1, "media_id": media})
    transact(world.pair, child, insert("owners", {"id": world.pair.number(1)}), parent)
    assert world.shard_of("late_notes", "true") == {target}
    with pytest.raises(ForeignKeyViolation):
        transact(world.pair, insert("late_notes", {"id": 2, "media_id": media + 1}), parent_of(world, media + 2))
    with pytest.raises(ForeignKeyViolation):
        transact(world.pair, set_constraints(deferred=False), insert("late_notes", {"id": 2, "media_id": media + 1}))
    with pytest.raises(ForeignKeyViolation):
        transact(world.pair, insert("plain_notes", {"id": 2, "media_id": media + 1}), parent_of(world, media + 1))


@pytest.mark.parametrize("target", range(3))
def test_a_family_in_one_transaction(world: World, target: int) -> None:
    media = world.pair.number(0)
    transact(
        world.pair,
        parent_of(world, media, target),
        insert("comments", [{"id": n, "media_id": media, "place": n} for n in range(3)]),
        insert("likes", [{"comment_id": n, "user_id": n} for n in range(3)]),
        update("media", {"owner_id": world.owners[(target + 1) % 3]}, key={"id": media}),
        insert("comments", {"id": 9, "media_id": media}),
        insert("likes", {"comment_id": 9, "user_id": 1}),
    )
    assert world.shard_of("likes", "true") == {(target + 1) % 3}


def test_groups(world: World) -> None:
    media, other = world.family(0), world.media(1)
    moved = update("media", {"owner_id": world.owners[2]}, key={"id": media})
    likes = insert("likes", {"comment_id": 1, "user_id": 1})
    transact(
        world.pair,
        group([moved, insert("media", {"id": media, "owner_id": world.owners[0]})]),
        group([insert("late_notes", {"id": 1, "media_id": 77}), insert("comments", {"id": 1, "media_id": 77})]),
        insert("comments", {"id": 1, "media_id": media}),
        group([insert("comments", {"id": 2, "media_id": 77})]),
        group([update("comments", {"media_id": other}, key={"id": 1}), likes]),
    )
    world.check_family(media, 0)
    assert world.shard_of("likes", "comment_id = 1") == {1}


@pytest.mark.parametrize("shard", range(3))
def test_upserts_on_keys_that_hold_the_parent(world: World, shard: int) -> None:
    media, other = world.family(shard), world.family(1)
    again = crosskey.do_update("note", on=["media_id", "place"])
    rows = [{"id": n, "media_id": one, "place": n, "note": f"{n}"} for n, one in enumerate([media, other] * 3)]
    world.pair.insert("comments", *rows, on_conflict=again)
    world.pair.insert("comments", *rows[:2], on_conflict=crosskey.do_nothing(on=["media_id", "place"]))
    likes = [{"comment_id": 10 * one, "user_id": n, "note": "!"} for one in (media, other) for n in range(4)]
    world.pair.insert("likes", *likes, on_conflict=crosskey.do_update("note", on=["comment_id", "user_id"]))
    with pytest.raises(ForeignKeyViolation):
        world.pair.insert("likes", {"comment_id": 1, "user_id": 1}, on_conflict=crosskey.do_nothing())


@pytest.mark.parametrize("shard", range(3))
def test_upserts_on_claimed_keys(world: World, shard: int) -> None:
    media, other = world.family(shard), world.family(1)
    rows = [{"id": 10 * media + n, "media_id": other, "place": 10 + n} for n in range(6)]
    world.pair.insert("comments", *rows, on_conflict=crosskey.do_update("place", on="id"))
    assert world.shard_of("comments", "place = 11") == {shard}
    assert world.shard_of("comments", "place = 14") == {1}
    moved = crosskey.do_update("media_id", on="id")
    world.pair.insert("comments", {"id": 10 * media + 2, "media_id": other}, on_conflict=moved)
    assert world.shard_of("comments", f"id = {10 * media + 2}") == {1}
    world.pair.insert("comments", *rows, on_conflict=crosskey.do_nothing())


@pytest.mark.parametrize("shard", range(3))
def test_rows_are_found_by_their_parent(world: World, shard: int) -> None:
    media = world.family(shard)
    pair, client = world.pair, world.pair.client
    assert len(pair.rows("comments", {"media_id": media})) == 3
    assert len(pair.rows("likes", {"comment_id": 10 * media})) == 2
    assert client.count("comments", {"media_id": media}) == 3
    assert client.count("comments", {"media_id": media + 1}) == 0
    assert client.get("likes", {"comment_id": 10 * media, "user_id": 1})["user_id"] == "1"
    pages = client.list("comments", {"media_id": media}, order_by=[crosskey.desc("id")], page_size=1)
    assert [row["id"] for row in pages] == [str(10 * media + n) for n in (2, 1, 0)]
    pair.update("comments", {"note": "seen"}, where={"media_id": media})
    assert pair.delete("likes", where={"comment_id": 10 * media}) == 2
    assert pair.delete("comments", where={"media_id": media}) == 3
    assert pair.delete("comments", where={"media_id": media}) == 0


def test_a_page_goes_on_where_its_rows_have_gone(world: World) -> None:
    media = world.family(0)
    pages = iter(world.pair.client.list("comments", {"media_id": media}, page_size=1))
    found = [next(pages)["id"]]
    world.pair.update("media", {"owner_id": world.owners[1]}, key={"id": media})
    found += [row["id"] for row in pages]
    assert found == [str(10 * media + n) for n in range(3)]


def parent_of(world: World, media: int, shard: int = 0) -> Any:
    """The insert of a media."""
    return insert("media", {"id": media, "owner_id": world.owners[shard]})


@contextmanager
def refusal_or_not() -> Iterator[None]:
    """What is refused is refused on both sides, which is all that counts."""
    with suppress(CrosskeyError):
        yield
