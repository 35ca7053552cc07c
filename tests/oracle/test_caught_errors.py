"""Functions of the user's that catch errors never catch one that only means that other shards must be asked."""

import pytest

from crosskey import ForeignKeyViolation, in_
from crosskey.exact_json import Row
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import SHARDS, Pair

SCHEMA = """
CREATE TABLE users (id bigint PRIMARY KEY, boss bigint REFERENCES users ON DELETE SET NULL ON UPDATE CASCADE);
COMMENT ON TABLE users IS '@shard_by id';
CREATE TABLE posts (
    id bigint PRIMARY KEY,
    author bigint REFERENCES users ON DELETE CASCADE ON UPDATE CASCADE,
    words text NOT NULL DEFAULT ''
);
COMMENT ON TABLE posts IS '@shard_by id';
CREATE TABLE comments (
    post bigint NOT NULL REFERENCES posts ON DELETE CASCADE ON UPDATE CASCADE,
    author bigint REFERENCES users ON DELETE SET NULL
);
COMMENT ON TABLE comments IS '@shard_by post';

CREATE TABLE "100% new" ("a""%s" text COLLATE "C" PRIMARY KEY, "old" integer);
COMMENT ON TABLE "100% new" IS '@shard_by a"%s';
CREATE TABLE "row's" ("new" bigint PRIMARY KEY, "%(k)s" varchar(9) REFERENCES "100% new" ON DELETE CASCADE);
COMMENT ON TABLE "row's" IS '@shard_by new';

-- A key that is known by its claim.
CREATE TABLE members (id bigint PRIMARY KEY, number bigint NOT NULL UNIQUE);
COMMENT ON TABLE members IS '@shard_by id';
CREATE TABLE visits (
    id bigint PRIMARY KEY,
    member bigint REFERENCES members (number) ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE visits IS '@shard_by id';

-- Lives with a parent that only the claim finds.
CREATE TABLE badges (
    id bigint PRIMARY KEY,
    member bigint NOT NULL REFERENCES members (number) ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE badges IS '@shard_with member';

-- A trigger that sends a row elsewhere, by its name the last but for Crosskey's own.
CREATE FUNCTION forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.words LIKE 'to %' THEN NEW.id := substr(NEW.words, 4); END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER zzz BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION forward();

-- The two ends are of different types.
CREATE TABLE marks (id bigint, code char(4), PRIMARY KEY (id, code));
COMMENT ON TABLE marks IS '@shard_by id';
CREATE TABLE marked (id bigint PRIMARY KEY, mark bigint, code text, FOREIGN KEY (mark, code) REFERENCES marks);
COMMENT ON TABLE marked IS '@shard_by id';

-- Each row is tried out as a statement, and says whether that failed.
CREATE TABLE attempts (id bigint PRIMARY KEY, kind text, subject bigint, other bigint, words text, failed boolean);
COMMENT ON TABLE attempts IS '@shard_by id';
CREATE FUNCTION attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.failed := false;
    CASE NEW.kind
        WHEN 'post' THEN INSERT INTO posts VALUES (NEW.subject, NEW.other, NEW.words);
        WHEN 'comment' THEN INSERT INTO comments VALUES (NEW.subject, NEW.other);
        WHEN 'author' THEN UPDATE posts SET author = NEW.other WHERE id = NEW.subject;
        WHEN 'move' THEN UPDATE posts SET id = NEW.other WHERE id = NEW.subject;
        WHEN 'delete' THEN DELETE FROM users WHERE id = NEW.subject;
        WHEN 'rename' THEN UPDATE users SET id = NEW.other WHERE id = NEW.subject;
        WHEN 'visit' THEN INSERT INTO visits VALUES (NEW.subject, NEW.other);
        WHEN 'badge' THEN INSERT INTO badges VALUES (NEW.subject, NEW.other);
        WHEN 'pass on' THEN UPDATE badges SET member = NEW.other WHERE id = NEW.subject;
        WHEN 'leave' THEN DELETE FROM members WHERE id = NEW.subject;
        WHEN 'renumber' THEN UPDATE members SET number = NEW.other WHERE id = NEW.subject;
        WHEN 'mark' THEN INSERT INTO marked VALUES (NEW.subject, NEW.other, NEW.words);
        WHEN 'odd' THEN INSERT INTO "row's" VALUES (NEW.subject, NEW.other);
        WHEN 'odd delete' THEN DELETE FROM "100% new" WHERE "a""%s" = NEW.subject::text;
    END CASE;
    RETURN NEW;
EXCEPTION
    WHEN foreign_key_violation OR check_violation THEN
        NEW.failed := true;
        RETURN NEW;
    WHEN OTHERS THEN
        NEW.failed := true;
        RETURN NEW;
END $$;
CREATE TRIGGER attempt BEFORE INSERT ON attempts FOR EACH ROW EXECUTE FUNCTION attempt();

-- A trigger that fires at the commit.
CREATE TABLE late_attempts (id bigint PRIMARY KEY, author bigint);
COMMENT ON TABLE late_attempts IS '@shard_by id';
CREATE FUNCTION attempt_late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO posts VALUES (NEW.id, NEW.author);
    RETURN NULL;
EXCEPTION
    WHEN OTHERS THEN RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER attempt AFTER INSERT ON late_attempts DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION attempt_late();
"""


def row_of_attempt(
    pair: Pair, shard: int, kind: str, subject: int, other: int | None = None, *, words: str | None = ""
) -> Row:
    """A row that tries a statement out in a trigger on that shard."""
    return {"id": pair.number(shard), "kind": kind, "subject": subject, "other": other, "words": words}


def attempt(
    pair: Pair, shard: int, kind: str, subject: int, other: int | None = None, *, words: str | None = ""
) -> bool:
    """Tries a statement out in a trigger on that shard; answers whether it was done."""
    [stored] = pair.insert("attempts", row_of_attempt(pair, shard, kind, subject, other, words=words))
    return not stored["failed"]


@pytest.fixture
def user(pair: Pair) -> int:
    """A new user on PARENT_SHARD."""
    number = pair.number(PARENT_SHARD)
    pair.insert("users", {"id": number})
    return number


def add_post(pair: Pair, shard: int, author: int) -> int:
    post = pair.number(shard)
    pair.insert("posts", {"id": post, "author": author})
    return post


def test_a_first_reference(pair: Pair, child_shard: int, user: int) -> None:
    for _ in range(2):
        assert attempt(pair, child_shard, "post", pair.number(child_shard), user)
    assert len(pair.rows("posts", {"author": user})) == 2


def test_a_first_reference_by_an_update(pair: Pair, child_shard: int, user: int) -> None:
    other = pair.number(2)
    pair.insert("users", {"id": other})
    post = add_post(pair, child_shard, user)
    assert attempt(pair, child_shard, "author", post, other)
    assert pair.delete("users", key={"id": user}) == 1
    assert pair.rows("posts", {"id": post})[0]["author"] == str(other)


def test_a_first_reference_beside_later_ones(pair: Pair, child_shard: int, user: int) -> None:
    known = pair.number(2)
    pair.insert("users", {"id": known})
    add_post(pair, child_shard, known)
    authors = [known, user, known]
    attempts = [row_of_attempt(pair, child_shard, "post", pair.number(child_shard), author) for author in authors]
    pair.insert("attempts", *attempts)
    assert len(pair.rows("posts", in_("author", [known, user]))) == 4


def test_a_first_reference_by_columns_of_other_types(pair: Pair, child_shard: int) -> None:
    mark = pair.number(PARENT_SHARD)
    pair.insert("marks", {"id": mark, "code": "k"})
    for words in ("k", "k "):
        assert attempt(pair, child_shard, "mark", pair.number(child_shard), mark, words=words)
    assert len(pair.rows("marked", {"mark": mark})) == 2


def test_a_reference_at_the_commit(pair: Pair, child_shard: int, user: int) -> None:
    attempt_id = pair.number(child_shard)
    pair.insert("late_attempts", {"id": attempt_id, "author": user})
    assert len(pair.rows("posts", {"id": attempt_id})) == 1


def test_a_delete_of_a_pinned_parent(pair: Pair, child_shard: int, user: int) -> None:
    post = add_post(pair, child_shard, user)
    pair.insert("comments", {"post": post, "author": user})
    worker = pair.number(child_shard)
    pair.insert("users", {"id": worker, "boss": user})
    assert attempt(pair, PARENT_SHARD, "delete", user)
    assert pair.rows("posts", {"id": post}) == []
    assert pair.rows("users", {"id": worker}) == [{"id": str(worker), "boss": None}]


@pytest.mark.parametrize("new_shard", range(SHARDS))
def test_a_new_key_of_a_pinned_parent(pair: Pair, child_shard: int, user: int, new_shard: int) -> None:
    post, new = add_post(pair, child_shard, user), pair.number(new_shard)
    assert attempt(pair, PARENT_SHARD, "rename", user, new)
    assert pair.rows("posts", {"id": post})[0]["author"] == str(new)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_row_of_another_shard(pair: Pair, child_shard: int, user: int, shard: int) -> None:
    post, sent, moved = (pair.number(shard) for _ in range(3))
    assert attempt(pair, child_shard, "post", post, user)
    assert attempt(pair, child_shard, "post", pair.number(child_shard), user, words=f"to {sent}")
    assert attempt(pair, child_shard, "move", add_post(pair, child_shard, user), moved)
    assert len(pair.rows("posts", in_("id", [post, sent, moved]))) == 3


def test_a_cascade_to_a_shard_key(pair: Pair, child_shard: int, user: int) -> None:
    post, new = add_post(pair, child_shard, user), pair.number(2)
    pair.insert("comments", {"post": post, "author": user})
    assert attempt(pair, child_shard, "move", post, new)
    assert pair.rows("comments", {"post": new}) == [{"post": str(new), "author": str(user)}]


def test_errors_that_every_shard_can_tell_are_caught(pair: Pair, child_shard: int, user: int) -> None:
    post = add_post(pair, child_shard, user)
    assert not attempt(pair, child_shard, "post", post, user)
    assert not attempt(pair, child_shard, "post", pair.number(child_shard), user, words=None)
    assert not attempt(pair, child_shard, "nonsense", post)


@pytest.mark.parametrize("claim_shard", range(SHARDS))
def test_parents_that_are_known_by_their_claims(pair: Pair, child_shard: int, claim_shard: int) -> None:
    member, number, new = pair.number(PARENT_SHARD), pair.number(claim_shard), pair.number(1)
    pair.insert("members", {"id": member, "number": number})
    visit = pair.number(child_shard)
    assert attempt(pair, child_shard, "visit", visit, number)
    assert attempt(pair, PARENT_SHARD, "renumber", member, new)
    assert pair.rows("visits", {"id": visit}) == [{"id": str(visit), "member": str(new)}]
    assert attempt(pair, PARENT_SHARD, "leave", member)
    assert pair.rows("visits", {"id": visit}) == []


def test_names_of_every_kind(pair: Pair, child_shard: int) -> None:
    parent, child = pair.text(PARENT_SHARD, ""), pair.number(child_shard)
    pair.insert("100% new", {'a"%s': parent})
    assert attempt(pair, child_shard, "odd", child, int(parent))
    assert attempt(pair, PARENT_SHARD, "odd delete", int(parent))
    assert pair.rows("row's", {"new": child}) == []


def test_no_reference_needs_no_shadow(pair: Pair, child_shard: int) -> None:
    assert attempt(pair, child_shard, "post", pair.number(child_shard), None)


def test_a_parent_that_is_truly_missing_is_no_error_to_catch(pair: Pair, child_shard: int) -> None:
    post = pair.number(child_shard)
    row = row_of_attempt(pair, child_shard, "post", post, pair.number(PARENT_SHARD))
    with pytest.raises(ForeignKeyViolation):
        pair.client.insert("attempts", row)
    assert list(pair.client.list("posts", {"id": post})) == []


@pytest.mark.parametrize("member_shard", range(SHARDS))
def test_a_row_that_lives_with_a_parent_elsewhere(pair: Pair, child_shard: int, member_shard: int) -> None:
    first, second, badge = pair.number(1), pair.number(2), pair.number(0)
    pair.insert("members", {"id": pair.number(member_shard), "number": first})
    pair.insert("members", {"id": pair.number(PARENT_SHARD), "number": second})
    assert attempt(pair, child_shard, "badge", badge, first)
    assert attempt(pair, member_shard, "pass on", badge, second)
    assert attempt(pair, PARENT_SHARD, "pass on", badge, first)
