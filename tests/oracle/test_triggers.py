"""The user's own triggers: what they change and insert is checked like everything else."""

import pytest

from crosskey import (
    CheckViolation,
    CrosskeyError,
    ForeignKeyViolation,
    RaisedByDatabase,
    UniqueViolation,
    group,
    in_,
    insert,
)
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.nested import transact
from tests.oracle.pair import AUDIT_SECONDS, SHARDS, Pair

SCHEMA = """
CREATE TABLE users (id bigint PRIMARY KEY, replaced_by bigint, name text);
COMMENT ON TABLE users IS '@shard_by id';

-- A BEFORE trigger that keeps a child from what a foreign key's action would do to it.
CREATE TABLE keepsakes (
    id bigint PRIMARY KEY,
    owner bigint REFERENCES users ON DELETE CASCADE ON UPDATE CASCADE,
    kept boolean
);
COMMENT ON TABLE keepsakes IS '@shard_by id';
CREATE TABLE keepsakes_beside (
    owner bigint REFERENCES users ON DELETE CASCADE ON UPDATE CASCADE,
    id bigint,
    kept boolean,
    PRIMARY KEY (owner, id)
);
COMMENT ON TABLE keepsakes_beside IS '@shard_by owner';
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.kept AND pg_trigger_depth() > 1 THEN RETURN NULL; END IF;
    RETURN coalesce(NEW, OLD);
END $$;
CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON keepsakes FOR EACH ROW EXECUTE FUNCTION keep();
CREATE TRIGGER keep BEFORE UPDATE OR DELETE ON keepsakes_beside FOR EACH ROW EXECUTE FUNCTION keep();

-- A BEFORE trigger that puts another parent in place of the one given.
CREATE TABLE posts (id bigint PRIMARY KEY, author bigint REFERENCES users ON DELETE CASCADE, wanted bigint);
COMMENT ON TABLE posts IS '@shard_by id';
CREATE FUNCTION choose_author() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.wanted IS NOT NULL THEN NEW.author := NEW.wanted; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER choose BEFORE INSERT OR UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION choose_author();

-- An AFTER trigger that notes each post beside it; the note names the author, wherever that is.
CREATE TABLE notes (post bigint NOT NULL, author bigint REFERENCES users ON DELETE SET NULL, what text);
COMMENT ON TABLE notes IS '@shard_by post';
CREATE FUNCTION note_post() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO notes VALUES (coalesce(NEW.id, OLD.id), NEW.author, TG_OP);
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT OR UPDATE OR DELETE ON posts FOR EACH ROW EXECUTE FUNCTION note_post();

-- A statement trigger with transition tables of its own, and one that fires at the commit.
CREATE TABLE totals (room bigint NOT NULL, added bigint, first_author bigint REFERENCES users);
COMMENT ON TABLE totals IS '@shard_by room';
CREATE TABLE messages (room bigint NOT NULL, author bigint REFERENCES users ON DELETE CASCADE, body text);
COMMENT ON TABLE messages IS '@shard_by room';
CREATE FUNCTION count_messages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO totals SELECT room, count(*), min(author) FROM added GROUP BY room;
    RETURN NULL;
END $$;
CREATE TRIGGER count_all AFTER INSERT ON messages REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION count_messages();
CREATE FUNCTION refuse_rude() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.body = 'rude' THEN RAISE EXCEPTION 'rude message in room %', NEW.room USING ERRCODE = 'P0042'; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON messages DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION refuse_rude();

-- Triggers of a parent: one that refuses, one that clears away what it finds beside it.
CREATE TABLE rooms (id bigint PRIMARY KEY, locked boolean NOT NULL DEFAULT false);
COMMENT ON TABLE rooms IS '@shard_by id';
CREATE TABLE visits (id bigint PRIMARY KEY, room bigint REFERENCES rooms ON DELETE CASCADE);
COMMENT ON TABLE visits IS '@shard_by id';
CREATE TABLE visit_notes (visit bigint NOT NULL, reader bigint REFERENCES users ON DELETE CASCADE);
COMMENT ON TABLE visit_notes IS '@shard_by visit';
CREATE FUNCTION keep_locked() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.locked THEN RAISE EXCEPTION 'room % is locked', OLD.id; END IF;
    RETURN OLD;
END $$;
CREATE TRIGGER keep BEFORE DELETE ON rooms FOR EACH ROW EXECUTE FUNCTION keep_locked();
CREATE FUNCTION clear_notes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM visit_notes WHERE visit = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER clear AFTER DELETE ON visits FOR EACH ROW EXECUTE FUNCTION clear_notes();

-- A trigger that brings a deleted row back; by its name it fires before PostgreSQL checks the keys.
CREATE TABLE phoenixes (id bigint PRIMARY KEY, lives integer NOT NULL DEFAULT 1);
COMMENT ON TABLE phoenixes IS '@shard_by id';
CREATE TABLE feathers (id bigint PRIMARY KEY, phoenix bigint REFERENCES phoenixes);
COMMENT ON TABLE feathers IS '@shard_by id';
CREATE FUNCTION rise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.lives > 0 THEN INSERT INTO phoenixes VALUES (OLD.id, OLD.lives - 1); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER "At once" AFTER DELETE ON phoenixes FOR EACH ROW EXECUTE FUNCTION rise();

-- Triggers whose rows belong to other shards: one writes them, one changes where its own row belongs.
CREATE TABLE followers (user_id bigint NOT NULL, follow bigint NOT NULL, who bigint REFERENCES users);
COMMENT ON TABLE followers IS '@shard_by user_id';
CREATE TABLE follows (id bigint PRIMARY KEY, user_id bigint REFERENCES users ON DELETE CASCADE, who bigint);
COMMENT ON TABLE follows IS '@shard_by id';
CREATE FUNCTION note_follower() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO followers VALUES (NEW.user_id, NEW.id, NEW.who);
    RETURN NULL;
END $$;
CREATE TRIGGER note AFTER INSERT ON follows FOR EACH ROW EXECUTE FUNCTION note_follower();

CREATE TABLE parcels (id bigint PRIMARY KEY, forwarded_to bigint, owner bigint REFERENCES users ON DELETE CASCADE);
COMMENT ON TABLE parcels IS '@shard_by id';
CREATE FUNCTION forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.forwarded_to IS NOT NULL THEN NEW.id := NEW.forwarded_to; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER forward BEFORE INSERT OR UPDATE ON parcels FOR EACH ROW EXECUTE FUNCTION forward();

-- A trigger that drops rows silently.
CREATE TABLE spam (id bigint PRIMARY KEY, author bigint REFERENCES users, body text);
COMMENT ON TABLE spam IS '@shard_by id';
CREATE FUNCTION drop_spam() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.body = 'spam' THEN RETURN NULL; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER drop_it BEFORE INSERT ON spam FOR EACH ROW EXECUTE FUNCTION drop_spam();

-- A trigger that raises what it is told to, at once or at the commit, and others that fail by themselves.
CREATE TABLE complaints (id bigint PRIMARY KEY, code text, late boolean NOT NULL DEFAULT false);
COMMENT ON TABLE complaints IS '@shard_by id';
CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.code IS NOT NULL AND NEW.late = (TG_WHEN = 'AFTER') THEN
        RAISE EXCEPTION 'complaint %', NEW.code USING ERRCODE = NEW.code, HINT = 'Calm down.';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER complain BEFORE INSERT ON complaints FOR EACH ROW EXECUTE FUNCTION complain();
CREATE CONSTRAINT TRIGGER complain_late AFTER INSERT ON complaints DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION complain();

CREATE SEQUENCE untouched;
CREATE TABLE mishaps (id bigint PRIMARY KEY, what text);
COMMENT ON TABLE mishaps IS '@shard_by id';
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    number bigint;
BEGIN
    CASE NEW.what
        WHEN 'two rows' THEN number := (SELECT generate_series(1, 2));
        WHEN 'no value yet' THEN number := currval('untouched');
        WHEN 'no cursor' THEN EXECUTE 'FETCH FROM nowhere';
        ELSE
    END CASE;
    RETURN NEW;
END $$;
CREATE TRIGGER fail BEFORE INSERT ON mishaps FOR EACH ROW EXECUTE FUNCTION fail();
CREATE FUNCTION change_in_passing() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE mishaps SET what = 'changed' WHERE id = OLD.id;
    RETURN OLD;
END $$;
CREATE TRIGGER change BEFORE DELETE ON mishaps FOR EACH ROW EXECUTE FUNCTION change_in_passing();
"""

# Where PostgreSQL itself gives them they mean a race, a lost connection, a time-out, or nothing that was foreseen.
RAISED = ("55000", "55P03", "40001", "08000", "57014", "57P01", "53300", "25P04", "42501", "2F005", "XX000", "22012")


def add_user(pair: Pair, shard: int) -> int:
    number = pair.number(shard)
    pair.insert("users", {"id": number})
    return number


def test_a_trigger_chooses_another_parent(pair: Pair, child_shard: int) -> None:
    given, chosen = add_user(pair, 2), add_user(pair, PARENT_SHARD)
    post = pair.number(child_shard)
    [stored] = pair.insert("posts", {"id": post, "author": given, "wanted": chosen})
    assert stored["author"] == str(chosen)
    pair.delete("users", key={"id": given})
    with pytest.raises(ForeignKeyViolation):
        pair.update("posts", {"wanted": pair.number(PARENT_SHARD)}, key={"id": post})
    pair.update("posts", {"wanted": add_user(pair, 1)}, key={"id": post})
    pair.delete("users", key={"id": chosen})
    assert len(pair.rows("posts", {"id": post})) == 1


def test_a_trigger_inserts_a_row_with_a_reference(pair: Pair, child_shard: int) -> None:
    author = add_user(pair, PARENT_SHARD)
    posts = [pair.number(child_shard) for _ in range(3)]
    pair.insert("posts", *[{"id": post, "author": author} for post in posts])
    pair.update("posts", {"author": add_user(pair, 2)}, key={"id": posts[0]})
    pair.delete("users", key={"id": author})
    notes = pair.rows("notes", in_("post", posts))
    assert sorted(row["what"] for row in notes) == ["DELETE", "DELETE", "INSERT", "INSERT", "INSERT", "UPDATE"]


def test_a_statement_trigger_sees_the_rows_of_its_shard(pair: Pair, child_shard: int) -> None:
    author, room = add_user(pair, PARENT_SHARD), pair.number(child_shard)
    pair.insert("messages", *[{"room": room, "author": author, "body": str(number)} for number in range(4)])
    assert pair.rows("totals", {"room": room}) == [{"room": str(room), "added": "4", "first_author": str(author)}]
    with pytest.raises(ForeignKeyViolation):
        pair.delete("users", key={"id": author})


def test_a_trigger_that_refuses_at_the_commit(pair: Pair, child_shard: int) -> None:
    author = add_user(pair, PARENT_SHARD)
    rooms = [pair.number(shard) for shard in range(SHARDS)]
    with pytest.raises(RaisedByDatabase):
        pair.insert("messages", {"room": pair.number(child_shard), "author": author, "body": "rude"})
    with pytest.raises(RaisedByDatabase):
        pair.insert("messages", *[{"room": room, "body": "rude" if room == rooms[1] else "polite"} for room in rooms])


def test_a_trigger_that_keeps_a_parent(pair: Pair, child_shard: int) -> None:
    room, visit = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.insert("rooms", {"id": room, "locked": True})
    pair.insert("visits", {"id": visit, "room": room})
    with pytest.raises(RaisedByDatabase):
        pair.delete("rooms", key={"id": room})
    pair.update("rooms", {"locked": False}, key={"id": room})
    pair.delete("rooms", key={"id": room})
    assert pair.rows("visits", {"id": visit}) == []


def test_a_trigger_on_rows_that_a_cascade_deletes(pair: Pair, child_shard: int) -> None:
    room, visit, reader = pair.number(PARENT_SHARD), pair.number(child_shard), add_user(pair, 2)
    pair.insert("rooms", {"id": room})
    pair.insert("visits", {"id": visit, "room": room})
    pair.insert("visit_notes", {"visit": visit, "reader": reader})
    pair.delete("rooms", key={"id": room})
    assert pair.rows("visit_notes", {"visit": visit}) == []


def test_a_trigger_that_brings_the_parent_back(pair: Pair, child_shard: int) -> None:
    phoenix, feather = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.insert("phoenixes", {"id": phoenix})
    pair.insert("feathers", {"id": feather, "phoenix": phoenix})
    pair.delete("phoenixes", key={"id": phoenix})
    assert pair.rows("phoenixes", {"id": phoenix}) == [{"id": str(phoenix), "lives": 0}]
    with pytest.raises(ForeignKeyViolation):
        pair.delete("phoenixes", key={"id": phoenix})


def test_a_trigger_that_drops_rows(pair: Pair, child_shard: int) -> None:
    author = add_user(pair, PARENT_SHARD)
    bodies = ["a", "spam", "b", "spam"]
    rows = [{"id": pair.number(child_shard), "author": author, "body": body} for body in bodies]
    assert [row["body"] for row in pair.insert("spam", *rows)] == ["a", "b"]
    assert pair.insert("spam", {"id": pair.number(child_shard), "author": author, "body": "spam"}) == []


def test_a_trigger_that_writes_rows_of_another_shard(pair: Pair, child_shard: int) -> None:
    followed, follower = add_user(pair, PARENT_SHARD), add_user(pair, 2)
    follow = pair.number(child_shard)
    pair.insert("follows", {"id": follow, "user_id": followed, "who": follower})
    assert pair.rows("followers", {"user_id": followed})[0]["follow"] == str(follow)
    with pytest.raises(ForeignKeyViolation):
        pair.insert("follows", {"id": pair.number(child_shard), "user_id": followed, "who": pair.number(1)})
    with pytest.raises(ForeignKeyViolation):
        pair.delete("users", key={"id": follower})


def test_a_trigger_that_sends_its_row_to_another_shard(pair: Pair, child_shard: int) -> None:
    owner, new = add_user(pair, 2), pair.number(PARENT_SHARD)
    [stored] = pair.insert("parcels", {"id": pair.number(child_shard), "forwarded_to": new, "owner": owner})
    assert stored["id"] == str(new)
    assert pair.client.get("parcels", id=new) == stored
    newer = pair.number(1)
    pair.update("parcels", {"forwarded_to": newer}, key={"id": new})
    assert pair.client.get("parcels", id=newer)["owner"] == str(owner)
    pair.delete("users", key={"id": owner})
    assert pair.rows("parcels", {"id": newer}) == []


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("code", RAISED)
def test_a_trigger_may_raise_any_code(pair: Pair, child_shard: int, code: str, late: bool) -> None:
    row = {"id": pair.number(child_shard), "code": code, "late": late}
    with pytest.raises(RaisedByDatabase, match=f"^complaint {code}\nHINT: Calm down.$") as caught:
        pair.insert("complaints", {"id": pair.number(PARENT_SHARD)}, row)
    assert not caught.value.retryable
    assert caught.value.metadata["hint"] == "Calm down."


@pytest.mark.parametrize("code", RAISED)
def test_a_group_absorbs_what_a_trigger_raises(pair: Pair, child_shard: int, code: str) -> None:
    before, row = {"id": pair.number(PARENT_SHARD)}, {"id": pair.number(child_shard), "code": code}
    _, refused = transact(pair, insert("complaints", before), group([insert("complaints", row)]))
    assert isinstance(refused, RaisedByDatabase)


@pytest.mark.parametrize("code", ["23503", "23505", "23514"])
def test_a_trigger_may_raise_what_a_constraint_would(pair: Pair, child_shard: int, code: str) -> None:
    with pytest.raises(CrosskeyError, match=f"^complaint {code}\nHINT: Calm down.$") as caught:
        pair.insert("complaints", {"id": pair.number(child_shard), "code": code})
    assert isinstance(caught.value, ForeignKeyViolation | UniqueViolation | CheckViolation)


@pytest.mark.parametrize("what", ["two rows", "no value yet", "no cursor"])
def test_a_trigger_that_fails(pair: Pair, child_shard: int, what: str) -> None:
    row = {"id": pair.number(child_shard), "what": what}
    with pytest.raises(RaisedByDatabase):
        pair.insert("mishaps", row)
    before = {"id": pair.number(PARENT_SHARD)}
    _, refused = transact(pair, insert("mishaps", before), group([insert("mishaps", row)]))
    assert isinstance(refused, RaisedByDatabase)


def test_a_trigger_that_changes_the_row_that_is_being_deleted(pair: Pair, child_shard: int) -> None:
    number = pair.number(child_shard)
    pair.insert("mishaps", {"id": number}, {"id": pair.number(PARENT_SHARD)})
    with pytest.raises(RaisedByDatabase, match="already modified by an operation triggered by the current command"):
        pair.delete("mishaps", key={"id": number})


@pytest.mark.parametrize("goes", [True, False], ids=["delete", "update"])
def test_a_trigger_that_cancels_an_action_leaves_an_orphan_as_on_one_postgresql(
    pair: Pair, child_shard: int, goes: bool
) -> None:
    owner, kept, other = pair.number(PARENT_SHARD), pair.number(child_shard), pair.number(child_shard)
    pair.insert("users", {"id": owner})
    pair.insert("keepsakes", {"id": kept, "owner": owner, "kept": True}, {"id": other, "owner": owner})
    if goes:
        assert pair.delete("users", key={"id": owner}) == 1
        assert pair.rows("keepsakes", {"id": other}) == []
    else:
        new = pair.number(2)
        pair.update("users", {"id": new}, key={"id": owner})
        assert pair.rows("keepsakes", {"id": other})[0]["owner"] == str(new)
    assert pair.rows("keepsakes", {"id": kept})[0]["owner"] == str(owner)
    assert {finding.table for finding in pair.client.with_timeout(AUDIT_SECONDS).audit()} == {"keepsakes"}
    with pytest.raises(ForeignKeyViolation):
        pair.insert("keepsakes", {"id": pair.number(child_shard), "owner": owner})
    pair.delete("keepsakes", key={"id": kept})


def test_a_trigger_that_cancels_a_local_action_leaves_an_orphan_as_on_one_postgresql(pair: Pair) -> None:
    owner = pair.number(PARENT_SHARD)
    pair.insert("users", {"id": owner})
    pair.insert("keepsakes_beside", {"owner": owner, "id": 1, "kept": True}, {"owner": owner, "id": 2})
    assert pair.delete("users", key={"id": owner}) == 1
    assert [row["id"] for row in pair.rows("keepsakes_beside", {"owner": owner})] == ["1"]
    pair.delete("keepsakes_beside", where={"owner": owner})
