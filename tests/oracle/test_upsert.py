"""Inserts with on_conflict: what INSERT .. ON CONFLICT does on one PostgreSQL, wherever the rows in conflict live."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

import crosskey
from crosskey import (
    CheckViolation,
    ForeignKeyViolation,
    InvalidRequest,
    InvalidValue,
    NotNullViolation,
    NotSupported,
    UniqueViolation,
    UnknownColumn,
    UnknownConstraint,
)
from crosskey.v1.rows_pb2 import OnConflict
from tests.oracle.nested import transact
from tests.oracle.pair import SHARDS, Pair

SCHEMA = """
CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL UNIQUE, visits integer NOT NULL DEFAULT 1);
COMMENT ON TABLE countries IS '@reference';

CREATE TABLE accounts (
    id bigint PRIMARY KEY,
    email text UNIQUE,
    phone bigint UNIQUE,
    name text,
    age integer NOT NULL DEFAULT 18 CHECK (age < 150),
    country text REFERENCES countries ON UPDATE CASCADE,
    inviter bigint REFERENCES accounts ON DELETE SET NULL
);
COMMENT ON TABLE accounts IS '@shard_by id';

CREATE TABLE members (
    team integer,
    number integer,
    nick text NOT NULL DEFAULT 'nobody',
    joined date DEFAULT '2020-02-02',
    captain bigint REFERENCES accounts ON DELETE CASCADE,
    PRIMARY KEY (team, number),
    CONSTRAINT one_nick UNIQUE (nick, team)
);
COMMENT ON TABLE members IS '@shard_by team';

CREATE TABLE bookings (
    id bigint PRIMARY KEY,
    shop integer DEFAULT 5,
    day date DEFAULT '2024-01-01',
    price numeric,
    CONSTRAINT once_a_day UNIQUE (shop, day)
);
COMMENT ON TABLE bookings IS '@shard_by id';

CREATE TABLE codes (id bigint PRIMARY KEY, code text, note text, UNIQUE NULLS NOT DISTINCT (code));
COMMENT ON TABLE codes IS '@shard_by id';

CREATE TABLE people (id bigserial PRIMARY KEY, login text NOT NULL UNIQUE, note text);
COMMENT ON TABLE people IS '@shard_by id';

CREATE TABLE blanks (id bigserial PRIMARY KEY, note text DEFAULT 'n');
COMMENT ON TABLE blanks IS '@shard_by id';

CREATE TABLE seats (id bigint PRIMARY KEY, place integer UNIQUE DEFERRABLE, label text UNIQUE);
COMMENT ON TABLE seats IS '@shard_by id';

CREATE TABLE media (id uuid PRIMARY KEY, owner bigint NOT NULL REFERENCES accounts ON DELETE CASCADE);
COMMENT ON TABLE media IS '@shard_with owner';
CREATE TABLE likes (
    media uuid NOT NULL REFERENCES media ON DELETE CASCADE,
    fan bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    hearts integer NOT NULL DEFAULT 1,
    PRIMARY KEY (media, fan)
);
COMMENT ON TABLE likes IS '@shard_with media';

CREATE TABLE watched (id bigint PRIMARY KEY, name text UNIQUE, seen text NOT NULL DEFAULT '');
COMMENT ON TABLE watched IS '@shard_by id';
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.seen = 'drop ' || TG_OP THEN RETURN NULL; END IF;
    NEW.seen := NEW.seen || TG_OP || ' ';
    RETURN NEW;
END $$;
CREATE TRIGGER watch BEFORE INSERT OR UPDATE ON watched FOR EACH ROW EXECUTE FUNCTION watch();

CREATE TABLE lowered (id bigint PRIMARY KEY, word text, low text GENERATED ALWAYS AS (lower(word)) STORED UNIQUE);
COMMENT ON TABLE lowered IS '@shard_by id';
"""

ON_EMAIL = crosskey.do_update("name", on="email")


@pytest.fixture(params=["together", "apart"])
def other_shard(request: pytest.FixtureRequest) -> int:
    """The shard of the row that is in the way of one on shard 0."""
    return 0 if request.param == "together" else 1


def test_conflict_on_the_shard_key(pair: Pair) -> None:
    """Rows of several shards in one request, some of them there already."""
    there = [pair.number(shard) for shard in range(SHARDS)]
    new = [pair.number(shard) for shard in range(SHARDS)]
    pair.insert("accounts", *({"id": id, "name": "old", "age": 40} for id in there))
    rows = [{"id": id, "name": f"n{id}"} for pairs in zip(there, new, strict=True) for id in pairs]

    updated = pair.insert("accounts", *rows, on_conflict=crosskey.do_update("name", on="id"))
    skipped = pair.insert("accounts", *rows, {"id": pair.number(1)}, on_conflict=crosskey.do_nothing("id"))

    assert updated.outcomes == ["UPDATED", "INSERTED"] * SHARDS
    assert [row["age"] for row in updated] == [40, 18] * SHARDS
    assert skipped.outcomes == ["SKIPPED"] * 2 * SHARDS + ["INSERTED"]
    assert len(skipped) == 1


def test_conflict_on_a_claimed_key(pair: Pair, other_shard: int) -> None:
    """The row with the value is updated where it lives, and keeps its own key."""
    email = pair.text(2)
    there = pair.number(other_shard)
    pair.insert("accounts", {"id": there, "email": email, "name": "old"})

    rows = pair.insert("accounts", {"id": pair.number(0), "email": email, "name": "new"}, on_conflict=ON_EMAIL)

    assert rows.outcomes == ["UPDATED"]
    assert rows[0]["id"] == str(there)
    assert rows[0]["name"] == "new"


def test_many_rows_on_a_claimed_key(pair: Pair) -> None:
    """One request inserts some rows and updates others, on all shards."""
    there = [{"id": pair.number(n % SHARDS), "email": pair.text(n % 2), "name": "old"} for n in range(12)]
    new = [{"id": pair.number(n % SHARDS), "email": pair.text(n % SHARDS), "name": "new"} for n in range(12)]
    again = [{"id": pair.number((n + 1) % SHARDS), "email": row["email"], "name": "2"} for n, row in enumerate(there)]
    pair.insert("accounts", *there)

    rows = [row for both in zip(again, new, strict=True) for row in both]
    assert pair.insert("accounts", *rows, on_conflict=ON_EMAIL).outcomes == ["UPDATED", "INSERTED"] * 12
    assert pair.insert("accounts", *rows, on_conflict=crosskey.do_nothing()).outcomes == ["SKIPPED"] * 24


def test_constraint_by_name(pair: Pair) -> None:
    """The name of a constraint names its columns, be they claimed or not."""
    team = pair.number(1)
    pair.insert("members", {"team": team, "number": 1, "nick": "a"})
    pair.insert("bookings", {"id": pair.number(0), "shop": 1, "day": "2025-05-05", "price": "1.0"})

    assert pair.insert(
        "members",
        {"team": team, "number": 2, "nick": "a"},
        on_conflict=crosskey.do_update("number", constraint="one_nick"),
    ).outcomes == ["UPDATED"]
    assert pair.insert(
        "bookings",
        {"id": pair.number(1), "shop": "1", "day": "20250505", "price": "2.50"},
        on_conflict=crosskey.do_update("price", constraint="once_a_day"),
    ).outcomes == ["UPDATED"]


@pytest.mark.parametrize("shard", range(SHARDS))
def test_a_row_twice(pair: Pair, shard: int) -> None:
    """No row may be updated a second time, also if the two given rows belong on different shards; it may be skipped."""
    email, new = pair.text(2), pair.text(0)
    pair.insert("accounts", {"id": pair.number(1), "email": email})
    for value in (email, new):
        rows = [{"id": pair.number(0), "email": value}, {"id": pair.number(shard), "email": value}]
        with pytest.raises(InvalidValue, match="cannot affect row a second time"):
            pair.insert("accounts", *rows, on_conflict=ON_EMAIL)
    outcomes = pair.insert("accounts", *rows, on_conflict=crosskey.do_nothing("email")).outcomes
    assert outcomes == ["INSERTED", "SKIPPED"]


def test_a_row_twice_with_other_columns(pair: Pair) -> None:
    """Rows of one shard are one statement, also if they leave other columns to their defaults."""
    team = pair.number(0)
    rows: list[dict[str, Any]] = [{"team": team, "number": 1}, {"team": team, "number": 1, "nick": "b"}]
    with pytest.raises(InvalidValue):
        pair.insert("members", *rows, on_conflict=crosskey.do_update("nick", on=["number", "team"]))
    rows += [{"team": team, "number": 2, "joined": None, "nick": "c"}, {"team": team, "number": 3, "nick": None}]
    with pytest.raises(NotNullViolation):
        pair.insert("members", *rows, on_conflict=crosskey.do_nothing())
    stored = pair.insert("members", *rows[:3], on_conflict=crosskey.do_nothing())
    assert [row["joined"] for row in stored] == ["2020-02-02", None]


def test_update_sets_defaults_and_nulls(pair: Pair) -> None:
    """A column that a row leaves out is set to its default, as EXCLUDED has it."""
    account = pair.number(0)
    pair.insert("accounts", {"id": account, "name": "x", "age": 30})
    rows = pair.insert("accounts", {"id": account}, on_conflict=crosskey.do_update("name", "age", on="id"))
    assert (rows[0]["name"], rows[0]["age"]) == (None, 18)


def test_rows_without_any_column(pair: Pair) -> None:
    """All defaults."""
    assert pair.insert("blanks", {}, {}, on_conflict=crosskey.do_nothing()).outcomes == ["INSERTED"] * 2


def test_nulls(pair: Pair) -> None:
    """NULLs conflict only where they are alike."""
    accounts = [{"id": pair.number(shard), "email": None, "name": "n"} for shard in range(SHARDS)]
    assert pair.insert("accounts", *accounts, on_conflict=ON_EMAIL).outcomes == ["INSERTED"] * 3
    one, two, three = ({"id": pair.number(shard), "note": str(shard)} for shard in range(SHARDS))
    update = crosskey.do_update("note", on="code")
    assert pair.insert("codes", one, on_conflict=update).outcomes == ["INSERTED"]
    assert pair.insert("codes", two, on_conflict=update).outcomes == ["UPDATED"]
    assert pair.insert("codes", {**three, "code": None}, on_conflict=crosskey.do_nothing()).outcomes == ["SKIPPED"]


def test_defaults_of_claimed_columns(pair: Pair) -> None:
    """A value that comes from a default is looked for on all shards too."""
    first = {"id": pair.number(0), "price": 1}
    second = {"id": pair.number(1), "price": 2}
    other = {"id": pair.number(2), "price": 3, "shop": 6}
    update = crosskey.do_update("price", on=["day", "shop"])
    assert pair.insert("bookings", first, on_conflict=update).outcomes == ["INSERTED"]
    assert pair.insert("bookings", second, other, on_conflict=update).outcomes == ["UPDATED", "INSERTED"]


def test_no_target(pair: Pair) -> None:
    """Any unique key may be in the way, each on another shard."""
    email, phone, account = pair.text(0), pair.number(1), pair.number(2)
    pair.insert("accounts", {"id": pair.number(0), "email": email}, {"id": pair.number(1), "phone": phone})
    pair.insert("accounts", {"id": account})
    rows: list[dict[str, Any]] = [
        {"id": pair.number(2), "email": email},
        {"id": pair.number(2), "phone": phone},
        {"id": pair.number(1), "email": email, "phone": phone},
        {"id": account, "email": pair.text(1)},
        {"id": pair.number(0), "email": pair.text(1), "phone": pair.number(1)},
    ]
    outcomes = pair.insert("accounts", *rows, on_conflict=crosskey.do_nothing()).outcomes
    assert outcomes == ["SKIPPED"] * 4 + ["INSERTED"]


def test_what_a_skipped_row_would_have_claimed_is_free(pair: Pair) -> None:
    """A row that is skipped by its primary key does not keep a later one from its e-mail."""
    account, email = pair.number(0), pair.text(1)
    pair.insert("accounts", {"id": account})
    rows = [{"id": account, "email": email}, {"id": pair.number(1), "email": email}]
    outcomes = pair.insert("accounts", *rows, on_conflict=crosskey.do_nothing()).outcomes
    assert outcomes == ["SKIPPED", "INSERTED"]


def test_conflicts_on_other_keys_are_refused(pair: Pair, other_shard: int) -> None:
    """Only the target's conflicts are updates."""
    phone, account = pair.number(2), pair.number(0)
    pair.insert("accounts", {"id": pair.number(other_shard), "phone": phone}, {"id": account})
    with pytest.raises(UniqueViolation) as refused:
        pair.insert("accounts", {"id": pair.number(0), "email": pair.text(1), "phone": phone}, on_conflict=ON_EMAIL)
    assert refused.value.metadata["constraint"] == "accounts_phone_key"
    with pytest.raises(UniqueViolation):
        pair.insert("accounts", {"id": account, "email": pair.text(1)}, on_conflict=ON_EMAIL)
    with pytest.raises(UniqueViolation):
        pair.insert("accounts", {"id": account, "email": pair.text(1)}, on_conflict=crosskey.do_nothing("email"))


def test_update_of_another_claimed_value(pair: Pair, other_shard: int) -> None:
    """What the update sets may be claimed itself: the old value is free then."""
    account, old, new = pair.number(other_shard), pair.text(0), pair.text(1)
    pair.insert("accounts", {"id": account, "email": old, "phone": 5 * account + 10**9})
    by_phone = crosskey.do_update("email", on="phone")
    row = {"id": pair.number(0), "email": new, "phone": 5 * account + 10**9}
    assert pair.insert("accounts", row, on_conflict=by_phone).outcomes == ["UPDATED"]
    pair.insert("accounts", {"id": pair.number(2), "email": old})
    with pytest.raises(UniqueViolation):
        pair.insert("accounts", {"id": pair.number(2), "email": new})


def test_update_of_the_shard_key(pair: Pair, other_shard: int) -> None:
    """The row moves to the shard of its new key."""
    email, old, new = pair.text(2), pair.number(other_shard), pair.number(0)
    child = pair.number(1)
    pair.insert("accounts", {"id": old, "email": email})
    pair.insert("accounts", {"id": child, "email": pair.text(2), "name": "kept"})
    update = crosskey.do_update("id", "name", on="email")
    rows = pair.insert("accounts", {"id": new, "email": email, "name": "moved"}, on_conflict=update)
    assert rows.outcomes == ["UPDATED"]
    assert rows[0]["id"] == str(new)
    assert pair.client.get("accounts", id=new)["name"] == "moved"


def test_foreign_keys_of_rows_that_are_written(pair: Pair, other_shard: int) -> None:
    """Only rows that are written must have their parents."""
    inviter, absent, email = pair.number(2), pair.number(2), pair.text(1)
    pair.insert("accounts", {"id": inviter})
    there = pair.number(other_shard)
    pair.insert("accounts", {"id": there, "email": email})
    update = crosskey.do_update("inviter", on="email")

    orphan = {"id": pair.number(0), "email": email, "inviter": absent}
    assert pair.insert("accounts", orphan, on_conflict=crosskey.do_nothing("email")).outcomes == ["SKIPPED"]
    assert pair.insert("accounts", orphan, on_conflict=ON_EMAIL).outcomes == ["UPDATED"]
    with pytest.raises(ForeignKeyViolation):
        pair.insert("accounts", orphan, on_conflict=update)
    with pytest.raises(ForeignKeyViolation):
        pair.insert("accounts", {**orphan, "email": pair.text(0)}, on_conflict=update)

    child = {"id": pair.number(0), "email": email, "inviter": inviter}
    assert pair.insert("accounts", child, on_conflict=update).outcomes == ["UPDATED"]
    assert pair.delete("accounts", key={"id": inviter}) == 1
    assert pair.client.get("accounts", id=there)["inviter"] is None


def test_foreign_keys_with_a_local_target(pair: Pair) -> None:
    """A parent that is referenced for the first time by an upsert is pinned."""
    captain, team = pair.number(2), pair.number(0)
    pair.insert("accounts", {"id": captain})
    row = {"team": team, "number": 1, "captain": captain}
    update = crosskey.do_update("captain", on=["team", "number"])
    assert pair.insert("members", {**row, "captain": None}, on_conflict=update).outcomes == ["INSERTED"]
    assert pair.insert("members", row, on_conflict=update).outcomes == ["UPDATED"]
    assert pair.insert("members", {**row, "number": 2, "nick": "two"}, on_conflict=update).outcomes == ["INSERTED"]
    assert pair.delete("accounts", key={"id": captain}) == 1
    assert pair.client.count("members", {"team": team}) == 0


def test_rows_that_live_with_their_parent(pair: Pair) -> None:
    """@shard_with: the conflict is where the parent is."""
    owner, fan = pair.number(0), pair.number(1)
    media = pair.uuid_beside(owner)
    pair.insert("accounts", {"id": owner}, {"id": fan})
    pair.insert("media", {"id": media, "owner": owner})
    update = crosskey.do_update("hearts", on=["media", "fan"])
    for hearts, outcome in ((1, "INSERTED"), (2, "UPDATED")):
        row = {"media": media, "fan": fan, "hearts": hearts}
        assert pair.insert("likes", row, on_conflict=update).outcomes == [outcome]


def test_numbers_are_drawn_for_every_row(pair: Pair) -> None:
    """A sequence number is drawn, as PostgreSQL does, also if the row is not inserted."""
    update = crosskey.do_update("note", on="login")
    login = pair.text(0)
    first = pair.insert("people", {"login": login}, on_conflict=update)
    second = pair.insert("people", {"login": login, "note": "x"}, {"login": pair.text(1)}, on_conflict=update)
    assert second.outcomes == ["UPDATED", "INSERTED"]
    assert int(second[1]["id"]) == int(first[0]["id"]) + 2


def test_reference_table(pair: Pair) -> None:
    """All copies do the same."""
    pair.insert("countries", {"code": "de", "name": "Germany"})
    rows = [{"code": "fr", "name": "France", "visits": 3}, {"code": "xx", "name": "Germany", "visits": 2}, {}]
    rows[2] = {"code": "es", "name": "Spain"}
    update = crosskey.do_update("visits", on="name")
    assert pair.insert("countries", *rows, on_conflict=update).outcomes == ["INSERTED", "UPDATED", "INSERTED"]
    assert pair.insert("countries", *rows, on_conflict=crosskey.do_nothing()).outcomes == ["SKIPPED"] * 3
    code = {"code": "d", "name": "Germany"}
    assert pair.insert("countries", code, on_conflict=crosskey.do_update("code", on="name"))[0]["code"] == "d"


def test_triggers_and_checks(pair: Pair, other_shard: int) -> None:
    """BEFORE triggers see the given row first, and may drop it; so do CHECKs, of rows that are not inserted too."""
    name = pair.text(2)
    pair.insert("watched", {"id": pair.number(other_shard), "name": name})
    row = {"id": pair.number(0), "name": name}
    on_name = crosskey.do_update("seen", on="name")
    rows = pair.insert("watched", row, on_conflict=on_name)
    assert rows.outcomes == ["UPDATED"]
    assert rows[0]["seen"] == "INSERT UPDATE "
    dropped = [{**row, "seen": "drop INSERT"}, {"id": pair.number(1), "name": pair.text(1)}]
    assert pair.insert("watched", *dropped, on_conflict=on_name).outcomes == ["SKIPPED", "INSERTED"]
    with pytest.raises(CheckViolation):
        pair.insert("accounts", {"id": pair.number(0), "age": 200}, on_conflict=crosskey.do_nothing())
    email = pair.text(1)
    pair.insert("accounts", {"id": pair.number(other_shard), "email": email})
    with pytest.raises(CheckViolation):
        pair.insert("accounts", {"id": pair.number(0), "email": email, "age": 200}, on_conflict=ON_EMAIL)


def test_a_row_dropped_while_it_is_updated(pair: Pair) -> None:
    """A BEFORE UPDATE trigger that returns NULL leaves the row as it is: it counts as skipped."""
    watched = pair.number(0)
    pair.insert("watched", {"id": watched, "name": pair.text(0)})
    update = crosskey.do_update("seen", on="id")
    # The INSERT part of the trigger adds to what the UPDATE part then sees.
    assert pair.insert("watched", {"id": watched, "seen": ""}, on_conflict=update).outcomes == ["UPDATED"]


def test_in_a_transaction(pair: Pair, other_shard: int) -> None:
    """A later upsert sees what earlier statements did, on whichever shard."""
    email, freed = pair.text(2), pair.text(2)
    there = pair.number(other_shard)
    pair.insert("accounts", {"id": there, "email": freed})
    transact(
        pair,
        crosskey.insert("accounts", {"id": pair.number(other_shard), "email": email}),
        crosskey.insert("accounts", {"id": pair.number(0), "email": email, "name": "x"}, on_conflict=ON_EMAIL),
        crosskey.update("accounts", {"email": None}, key={"id": there}),
        crosskey.insert("accounts", {"id": pair.number(0), "email": freed, "name": "y"}, on_conflict=ON_EMAIL),
        crosskey.insert("accounts", {"id": pair.number(1), "email": freed, "name": "z"}, on_conflict=ON_EMAIL),
        crosskey.delete("accounts", where={"email": email}),
        crosskey.insert("accounts", {"id": pair.number(1), "email": email}, on_conflict=crosskey.do_nothing()),
    )


def test_in_a_group(pair: Pair) -> None:
    """An upsert that is refused can be undone alone."""
    email = pair.text(2)
    rows = [{"id": pair.number(0), "email": email}, {"id": pair.number(1), "email": email}]
    update = crosskey.insert("accounts", rows, on_conflict=ON_EMAIL)
    skip = crosskey.insert("accounts", rows, on_conflict=crosskey.do_nothing("email"))
    unknown = crosskey.insert("accounts", rows, on_conflict=crosskey.do_nothing("name"))
    answers = transact(pair, crosskey.group([update]), crosskey.group([unknown]), crosskey.group([skip]))
    assert isinstance(answers[0], InvalidValue)
    assert isinstance(answers[1], UnknownConstraint)
    assert answers[2][0].outcomes == ["INSERTED", "SKIPPED"]


def test_deferrable_constraints_are_no_targets(pair: Pair) -> None:
    """Neither by name nor where no target is given; another target is fine."""
    row = {"id": pair.number(0), "place": 7, "label": pair.text(1)}
    for on_conflict in (
        crosskey.do_nothing("place"),
        crosskey.do_update("label", on="place"),
        crosskey.do_nothing(constraint="seats_place_key"),
        crosskey.do_nothing(),
    ):
        with pytest.raises(NotSupported, match="does not support deferrable unique constraints"):
            pair.insert("seats", row, on_conflict=on_conflict)
    update = crosskey.do_update("place", on="label")
    assert pair.insert("seats", row, on_conflict=update).outcomes == ["INSERTED"]
    assert pair.insert("seats", {**row, "id": pair.number(1), "place": 8}, on_conflict=update).outcomes == ["UPDATED"]


@pytest.mark.parametrize(
    "on_conflict",
    [
        crosskey.do_nothing("name"),
        crosskey.do_update("name", on=["email", "id"]),
        crosskey.do_nothing(constraint="no_such_key"),
        crosskey.do_update("name", constraint="accounts_age_check"),
    ],
)
def test_no_such_constraint(pair: Pair, on_conflict: OnConflict) -> None:
    """In PostgreSQL's words."""
    with pytest.raises(UnknownConstraint):
        pair.insert("accounts", {"id": pair.number(0), "email": pair.text(0)}, on_conflict=on_conflict)


def test_no_such_column(pair: Pair) -> None:
    """Whether it is looked at or set."""
    row = {"id": pair.number(0)}
    with pytest.raises(UnknownColumn):
        pair.insert("accounts", row, on_conflict=crosskey.do_nothing("nope"))
    for on, name in (("email", "nope"), ("id", "Not so"), ("age", 'no"pe')):
        with pytest.raises(UnknownColumn, match=f"column excluded.{name} does not exist"):
            pair.insert("accounts", row, on_conflict=crosskey.do_update("name", name, on=on))
    with pytest.raises(UnknownColumn, match='column "neither" does not exist'):
        pair.insert("accounts", row, on_conflict=crosskey.do_update("nope", on="neither"))
    with pytest.raises(UnknownColumn, match='column "given" of relation "accounts" does not exist'):
        pair.insert("accounts", {**row, "given": 1}, on_conflict=crosskey.do_update("nope", on="neither"))
    with pytest.raises(UnknownConstraint):
        pair.insert("accounts", row, on_conflict=crosskey.do_update("nope", constraint="no_such_key"))


@pytest.mark.parametrize(
    ("on_conflict", "message"),
    [
        (OnConflict(), "takes nothing or update"),
        (
            OnConflict(columns=["id"], constraint="accounts_pkey", nothing=OnConflict.Nothing()),
            "both columns",
        ),
        (crosskey.do_update(on="id"), "sets no column"),
        (crosskey.do_update("name"), "requires inference specification or constraint name"),
    ],
)
def test_not_well_formed(pair: Pair, on_conflict: OnConflict, message: str) -> None:
    """What says two things, or not enough."""
    with pytest.raises(InvalidRequest, match=message):
        pair.client.insert("accounts", {"id": pair.number(0)}, on_conflict=on_conflict)


def test_generated_values_cannot_be_looked_for(pair: Pair) -> None:
    """Nobody knows them before the row is stored; on the row's own keys they do not matter."""
    row = {"id": pair.number(0), "word": pair.text(0)}
    with pytest.raises(NotSupported, match="its value is generated"):
        pair.client.insert("lowered", row, on_conflict=crosskey.do_nothing("low"))
    assert pair.insert("lowered", row, on_conflict=crosskey.do_nothing("id")).outcomes == ["INSERTED"]


def test_explained(pair: Pair) -> None:
    """Explain tells where the conflict is looked for."""
    email = pair.text(2)
    request = crosskey.insert("accounts", {"id": pair.number(0), "email": email}, on_conflict=ON_EMAIL)
    explanation = pair.client.explain(request)
    assert next(iter(explanation.rpcs)) == "s2 ShardNode.Run"
    assert any("accounts_email_key" in note for note in explanation.notes)
    local = crosskey.insert("members", {"team": 1, "number": 1}, on_conflict=crosskey.do_nothing())
    assert [rpc.split(".")[1] for rpc in pair.client.explain(local).rpcs] == ["Run"]


@pytest.mark.parametrize("shards", list(permutations(range(SHARDS))), ids=str)
def test_a_value_of_a_row_that_is_skipped_for_another_key_is_free(pair: Pair, shards: tuple[int, ...]) -> None:
    first, second, third = (pair.number(shard) for shard in shards)
    pair.insert("accounts", {"id": first}, {"id": second})
    email, other = pair.text(0), pair.text(1)
    rows = pair.insert(
        "accounts",
        {"id": first, "email": email},
        {"id": second, "email": email},
        {"id": third, "email": email},
        {"id": third, "email": other},
        {"id": pair.number(shards[0]), "email": email},
        {"id": pair.number(shards[1]), "email": other},
        on_conflict=crosskey.do_nothing(),
    )
    assert rows.outcomes == ["SKIPPED", "SKIPPED", "INSERTED", "SKIPPED", "SKIPPED", "INSERTED"]
