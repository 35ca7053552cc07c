"""Unique indexes that are partial or over expressions, over all shards: the same answers as one PostgreSQL."""

from typing import Any

import pytest

import crosskey
from crosskey import CheckViolation, CrosskeyError, UniqueViolation, delete, insert, update
from crosskey.catalog.slots import shard_of_slot, slot_of_value
from tests.oracle.nested import transact
from tests.oracle.pair import SHARDS, Pair

pytestmark = pytest.mark.searches

SCHEMA = """
CREATE TABLE patrons (
    id bigint PRIMARY KEY,
    email text CHECK (email <> ''),
    name varchar(40),
    left_at date,
    found boolean NOT NULL DEFAULT true,
    note text
);
-- What the router foresees: an expression, a predicate, and both.
CREATE UNIQUE INDEX patrons_lower_idx ON patrons (lower(email));
CREATE UNIQUE INDEX "patron's name" ON patrons (upper(name)) WHERE left_at IS NULL AND found;
COMMENT ON TABLE patrons IS '@shard_by id';

CREATE FUNCTION folded(text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT replace(lower($1), ' ', '') $$;
CREATE TABLE parcels (
    id bigint PRIMARY KEY,
    label text,
    "Depot" integer,
    data json,
    state text NOT NULL DEFAULT 'open',
    "%" integer
);
-- What only PostgreSQL can tell: a function of the user's, json, a sum, and a predicate that is not simple.
CREATE UNIQUE INDEX parcels_label ON parcels (folded(label), "Depot") WHERE state <> 'gone' AND label LIKE '%o%';
CREATE UNIQUE INDEX parcels_code ON parcels ((data ->> 'code'));
CREATE UNIQUE INDEX parcels_sum ON parcels ((("%" % 100)), ("Depot" + 1)) NULLS NOT DISTINCT WHERE "%" > 0;
COMMENT ON TABLE parcels IS '@shard_by id';

-- One tree for each owner, whose root has no parent: an index that holds what places its rows is local.
CREATE TABLE folders (id bigint PRIMARY KEY, owner bigint NOT NULL, parent bigint REFERENCES folders, name text);
CREATE UNIQUE INDEX folders_root ON folders (owner) WHERE parent IS NULL;
CREATE UNIQUE INDEX folders_name ON folders (coalesce(parent, 0), lower(name));
COMMENT ON TABLE folders IS '@shard_by owner';

CREATE TABLE stamped (id bigint PRIMARY KEY, word text);
CREATE UNIQUE INDEX stamped_word ON stamped (lower(word)) WHERE word <> 'none';
CREATE FUNCTION strip() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.word := btrim(NEW.word); RETURN NEW; END $$;
CREATE TRIGGER strip BEFORE INSERT OR UPDATE ON stamped FOR EACH ROW EXECUTE FUNCTION strip();
COMMENT ON TABLE stamped IS '@shard_by id';
"""

APART = pytest.mark.parametrize("other_shard", [0, 1])


def patron(pair: Pair, shard: int, **columns: Any) -> dict[str, Any]:
    """A new patron on that shard, with what is unique only if it is given."""
    [stored] = pair.insert("patrons", {"id": pair.number(shard)} | columns)
    return stored


def parcel(pair: Pair, shard: int, **columns: Any) -> dict[str, Any]:
    """A new parcel on that shard."""
    [stored] = pair.insert("parcels", {"id": pair.number(shard)} | columns)
    return stored


def key_of(row: dict[str, Any]) -> dict[str, Any]:
    """The primary key of a stored row."""
    return {"id": row["id"]}


def email_of(pair: Pair, shard: int) -> str:
    """A new e-mail with capitals, whose lower case is claimed on that shard."""
    return next(
        email
        for email in (f"Ada.{pair.number(0)}@X.org" for _ in range(1000))
        if shard_of_slot(slot_of_value("text", email.lower()), SHARDS) == shard
    )


@APART
@pytest.mark.parametrize("claim_shard", range(SHARDS))
def test_what_is_equal_in_lower_case_is_taken_once(pair: Pair, other_shard: int, claim_shard: int) -> None:
    email = email_of(pair, claim_shard)
    patron(pair, 0, email=email)
    with pytest.raises(UniqueViolation) as refused:
        patron(pair, other_shard, email=email.upper())
    assert refused.value.metadata["constraint"] == "patrons_lower_idx"
    assert refused.value.metadata["detail"] == f"Key (lower(email))=({email.lower()}) already exists."


@APART
def test_rows_that_the_predicate_leaves_out_have_no_value(pair: Pair, other_shard: int) -> None:
    name = pair.text(2)
    for _ in range(2):
        patron(pair, 0, name=name, left_at="2020-01-01")
        patron(pair, other_shard, name=name, found=False)
    patron(pair, other_shard, name=name)
    with pytest.raises(UniqueViolation):
        patron(pair, 0, name=name.upper())


@APART
def test_nulls_are_distinct(pair: Pair, other_shard: int) -> None:
    for shard in (0, other_shard):
        patron(pair, shard, email=None, name=None)


@APART
def test_other_faults_of_a_row_come_first(pair: Pair, other_shard: int) -> None:
    name = pair.text(2)
    patron(pair, 0, name=name)
    with pytest.raises(CheckViolation):
        patron(pair, other_shard, name=name, email="")


@APART
def test_an_update_into_and_out_of_the_predicate(pair: Pair, other_shard: int) -> None:
    name = pair.text(2)
    first = patron(pair, 0, name=name)
    second = patron(pair, other_shard, name=name, left_at="2020-01-01")
    with pytest.raises(UniqueViolation):
        pair.update("patrons", {"left_at": None}, key=key_of(second))
    pair.update("patrons", {"left_at": "2021-01-01"}, key=key_of(first))
    pair.update("patrons", {"left_at": None}, key=key_of(second))
    with pytest.raises(UniqueViolation):
        pair.update("patrons", {"left_at": None, "found": True}, key=key_of(first))
    pair.delete("patrons", key=key_of(second))
    pair.update("patrons", {"left_at": None}, key=key_of(first))


@APART
def test_an_update_of_what_is_computed_from(pair: Pair, other_shard: int) -> None:
    taken, free = email_of(pair, 2), email_of(pair, 1)
    patron(pair, 0, email=taken)
    other = patron(pair, other_shard, email=free)
    pair.update("patrons", {"email": free.upper()}, key=key_of(other))
    with pytest.raises(UniqueViolation):
        pair.update("patrons", {"email": taken.upper()}, key=key_of(other))
    pair.update("patrons", {"email": email_of(pair, 0)}, key=key_of(other))
    patron(pair, 2, email=free)


@APART
def test_values_go_from_row_to_row(pair: Pair, other_shard: int) -> None:
    """One statement after another: an index cannot wait."""
    emails = email_of(pair, 1), email_of(pair, 2)
    first, second = patron(pair, 0, email=emails[0]), patron(pair, other_shard, email=emails[1])
    transact(
        pair,
        update("patrons", {"email": None}, key=key_of(first)),
        update("patrons", {"email": emails[0].lower()}, key=key_of(second)),
        update("patrons", {"email": emails[1].lower()}, key=key_of(first)),
    )
    with pytest.raises(UniqueViolation):
        patron(pair, 2, email=emails[0])
    transact(pair, delete("patrons", key=key_of(first)), insert("patrons", {"id": pair.number(2), "email": emails[1]}))


def test_a_row_that_moves_takes_its_values_along(pair: Pair) -> None:
    email, name = email_of(pair, 2), pair.text(1)
    moving = patron(pair, 0, email=email, name=name)
    [moved] = pair.update("patrons", {"id": pair.number(1)}, key=key_of(moving))
    with pytest.raises(UniqueViolation):
        patron(pair, 0, email=email)
    with pytest.raises(UniqueViolation):
        patron(pair, 2, name=name)
    pair.delete("patrons", key=key_of(moved))
    patron(pair, 0, email=email, name=name)


@APART
def test_what_only_postgres_can_compute(pair: Pair, other_shard: int) -> None:
    depot = pair.number(2)
    first = parcel(pair, 0, label="To Rome", Depot=depot, data={"code": f"c{depot}"})
    with pytest.raises(UniqueViolation):
        parcel(pair, other_shard, label="TORome", Depot=depot)
    with pytest.raises(UniqueViolation):
        parcel(pair, other_shard, data={"code": f"c{depot}", "more": 1})
    parcel(pair, other_shard, label="t rm", Depot=depot)
    gone = parcel(pair, other_shard, label="torome", Depot=depot, state="gone")
    with pytest.raises(UniqueViolation):
        pair.update("parcels", {"state": "open"}, key=key_of(gone))
    pair.update("parcels", {"data": {"code": f"c{depot}", "less": 0}, "state": "gone"}, key=key_of(first))
    pair.update("parcels", {"state": "open"}, key=key_of(gone))


@APART
def test_nulls_are_alike_where_the_index_says_so(pair: Pair, other_shard: int) -> None:
    number = pair.number(0)
    parcel(pair, 0, **{"%": number})
    with pytest.raises(UniqueViolation):
        parcel(pair, other_shard, **{"%": number + 100})
    parcel(pair, other_shard, **{"%": number, "Depot": 1})
    parcel(pair, other_shard, **{"%": -number})


@APART
def test_many_rows_of_one_request(pair: Pair, other_shard: int) -> None:
    emails = [email_of(pair, shard) for shard in range(SHARDS)]
    rows: list[dict[str, Any]] = [
        {"id": pair.number(shard), "email": email} for shard, email in zip((0, other_shard, 2), emails, strict=True)
    ]
    pair.insert("patrons", *rows)
    with pytest.raises(UniqueViolation):
        pair.insert(
            "patrons",
            {"id": pair.number(0), "email": email_of(pair, 1)},
            {"id": pair.number(other_shard), "email": emails[2].upper()},
        )
    assert pair.delete("patrons", where=crosskey.in_("email", emails)) == len(rows)
    pair.insert("patrons", *({**row, "email": row["email"].lower()} for row in rows))


@APART
def test_an_index_that_holds_the_shard_key_is_local(pair: Pair, other_shard: int) -> None:
    owners = pair.number(0), pair.number(other_shard)
    roots = [pair.number(shard) for shard in (0, other_shard)]
    for owner, root in zip(owners, roots, strict=True):
        pair.insert("folders", {"id": root, "owner": owner, "name": f"Root {root}"})
    with pytest.raises(UniqueViolation):
        pair.insert("folders", {"id": pair.number(0), "owner": owners[0]})
    pair.insert("folders", {"id": pair.number(0), "owner": owners[0], "parent": roots[0], "name": "Docs"})
    with pytest.raises(UniqueViolation):
        pair.insert("folders", {"id": pair.number(0), "owner": pair.number(other_shard), "name": f"ROOT {roots[0]}"})


@APART
def test_a_trigger_changes_what_is_computed_from(pair: Pair, other_shard: int) -> None:
    """What the router foresees is wrong then."""
    word = pair.text(2, "word")
    pair.insert("stamped", {"id": pair.number(0), "word": f" {word} "})
    with pytest.raises(UniqueViolation):
        pair.insert("stamped", {"id": pair.number(other_shard), "word": word.upper()})
    pair.insert("stamped", {"id": pair.number(0), "word": "none"}, {"id": pair.number(other_shard), "word": " none"})


@APART
def test_what_expressions_refuse(pair: Pair, other_shard: int) -> None:
    with pytest.raises(CrosskeyError):
        parcel(pair, other_shard, Depot=2**31 - 1, **{"%": 1})


def test_rows_are_found_by_what_an_index_computes_from(pair: Pair) -> None:
    email, name = email_of(pair, 2), pair.text(1)
    patron(pair, 0, email=email, name=name)
    patron(pair, 1, name=name, left_at="2020-01-01")
    present = [crosskey.eq("name", name), crosskey.is_null("left_at"), crosskey.eq("found", True)]
    assert len(pair.rows("patrons", {"email": email})) == 1
    assert len(pair.rows("patrons", present)) == 1
    assert len(pair.rows("patrons", {"name": name})) == 2
    assert pair.update("patrons", {"note": "x"}, where=present)
    assert not pair.rows("patrons", {"email": email.lower()})


@APART
@pytest.mark.parametrize("claim_shard", range(SHARDS))
def test_an_upsert_on_an_expression(pair: Pair, other_shard: int, claim_shard: int) -> None:
    email = email_of(pair, claim_shard)
    action = crosskey.do_update("email", "note", index="patrons_lower_idx")
    inserted = pair.insert("patrons", {"id": pair.number(0), "email": email, "note": "a"}, on_conflict=action)
    again = {"id": pair.number(other_shard), "email": email.upper(), "note": "b"}
    updated = pair.insert("patrons", again, on_conflict=action)
    assert updated[0]["id"] == inserted[0]["id"]
    assert updated[0]["email"] == email.upper()
    skipped = pair.insert("patrons", again, on_conflict=crosskey.do_nothing(index="patrons_lower_idx"))
    assert not list(skipped)


@APART
def test_an_upsert_on_a_partial_index(pair: Pair, other_shard: int) -> None:
    name = pair.text(2)
    action = crosskey.do_update("note", index="patron's name")
    patron(pair, 0, name=name, left_at="2020-01-01")
    rows = [{"id": pair.number(shard), "name": name, "note": f"{shard}"} for shard in (0, other_shard)]
    pair.insert("patrons", rows[0], on_conflict=action)
    pair.insert("patrons", rows[1], on_conflict=action)
    # What the predicate leaves out conflicts with nothing.
    pair.insert("patrons", {"id": pair.number(other_shard), "name": name, "found": False}, on_conflict=action)
    assert len(pair.rows("patrons", {"name": name})) == 3


@APART
def test_an_upsert_without_a_target(pair: Pair, other_shard: int) -> None:
    email, name = email_of(pair, 2), pair.text(1)
    patron(pair, 0, email=email)
    patron(pair, other_shard, name=name)
    rows = [
        {"id": pair.number(other_shard), "email": email.lower()},
        {"id": pair.number(0), "name": name.upper()},
        {"id": pair.number(2), "name": name, "left_at": "2020-01-01"},
        {"id": pair.number(0), "name": name, "email": email_of(pair, 0)},
    ]
    assert len(pair.insert("patrons", *rows, on_conflict=crosskey.do_nothing())) == 1


@APART
def test_an_upsert_on_what_only_postgres_can_compute(pair: Pair, other_shard: int) -> None:
    depot = pair.number(1)
    action = crosskey.do_update("data", index="parcels_label")
    rows = [
        {"id": pair.number(shard), "label": label, "Depot": depot, "data": {"code": f"{depot} {label}"}}
        for shard, label in ((0, "To Bonn"), (other_shard, "toBONN"), (2, "bern"), (2, "so"))
    ]
    pair.insert("parcels", rows[0], on_conflict=action)
    pair.insert("parcels", *rows[1:], on_conflict=action)
    assert len(pair.rows("parcels", {"Depot": depot})) == 3
    code = crosskey.do_nothing(index="parcels_code")
    pair.insert("parcels", {"id": pair.number(1), "data": {"code": f"{depot} so", "more": [1]}}, on_conflict=code)


@APART
def test_rows_of_one_upsert_that_are_equal(pair: Pair, other_shard: int) -> None:
    email = email_of(pair, 2)
    rows = [{"id": pair.number(shard), "email": each} for shard, each in ((0, email), (other_shard, email.upper()))]
    assert len(pair.insert("patrons", *rows, on_conflict=crosskey.do_nothing(index="patrons_lower_idx"))) == 1
    with pytest.raises(CrosskeyError):
        pair.insert("patrons", *rows, on_conflict=crosskey.do_update("email", index="patrons_lower_idx"))


@APART
def test_other_faults_of_an_upsert_come_first(pair: Pair, other_shard: int) -> None:
    action = crosskey.do_nothing(index="parcels_sum")
    with pytest.raises(CrosskeyError):
        pair.insert("parcels", {"id": pair.number(other_shard), "Depot": 2**31 - 1, "%": 1}, on_conflict=action)
    with pytest.raises(CrosskeyError):
        pair.insert("parcels", {"id": pair.number(0), "state": None, "Depot": 2**31 - 1}, on_conflict=action)


def test_an_upsert_on_a_local_index(pair: Pair) -> None:
    owner, root = pair.number(0), pair.number(1)
    action = crosskey.do_update("name", index="folders_root")
    pair.insert("folders", {"id": root, "owner": owner, "name": f"a {root}"}, on_conflict=action)
    pair.insert("folders", {"id": pair.number(1), "owner": owner, "name": f"b {root}"}, on_conflict=action)


def test_columns_do_not_name_an_index_that_is_partial_or_over_expressions(pair: Pair) -> None:
    for column in ("email", "name"):
        with pytest.raises(crosskey.UnknownConstraint):
            pair.insert("patrons", {"id": pair.number(0)}, on_conflict=crosskey.do_nothing(column))
