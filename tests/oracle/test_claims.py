"""Unique keys over all shards: the same answers as one PostgreSQL, wherever rows and claims are."""

from datetime import date, timedelta
from typing import Any

import pytest

from crosskey import (
    CheckViolation,
    CrosskeyError,
    ForeignKeyViolation,
    UniqueViolation,
    delete,
    group,
    insert,
    set_constraints,
    update,
)
from tests.oracle.nested import transact
from tests.oracle.pair import SHARDS, Pair

SCHEMA = """
CREATE TABLE accounts (
    id bigint PRIMARY KEY,
    username text NOT NULL UNIQUE CHECK (username <> ''),
    email text CONSTRAINT "one e-mail" UNIQUE,
    note text
);
COMMENT ON TABLE accounts IS '@shard_by id';

-- A primary key that does not place its rows, and one of several columns.
CREATE TABLE invoices (
    number bigint PRIMARY KEY,
    buyer bigint NOT NULL REFERENCES accounts ON DELETE CASCADE,
    shop text,
    day date,
    UNIQUE (shop, day)
);
COMMENT ON TABLE invoices IS '@shard_by buyer';

CREATE TABLE seats (id bigint PRIMARY KEY, row integer, place integer, UNIQUE NULLS NOT DISTINCT (row, place));
COMMENT ON TABLE seats IS '@shard_by id';

CREATE TABLE ranks (
    id bigint PRIMARY KEY,
    rank integer UNIQUE DEFERRABLE,
    late integer UNIQUE DEFERRABLE INITIALLY DEFERRED
);
COMMENT ON TABLE ranks IS '@shard_by id';

CREATE TABLE nicknames (id bigint PRIMARY KEY, name text DEFAULT 'nobody');
CREATE UNIQUE INDEX "nicknames are unique" ON nicknames (name);
COMMENT ON TABLE nicknames IS '@shard_by id';

CREATE DOMAIN address AS text CHECK (VALUE LIKE '%@%');
CREATE TABLE mailboxes (id bigint PRIMARY KEY, address address UNIQUE, size smallint CHECK (size > 0));
COMMENT ON TABLE mailboxes IS '@shard_by id';
CREATE TABLE aliases (id bigint PRIMARY KEY, mailbox address REFERENCES mailboxes (address));
COMMENT ON TABLE aliases IS '@shard_by id';

-- What planning advises in place of keys that cannot be claimed: citext, a partial index, a date.
CREATE EXTENSION citext;
CREATE TABLE readers (
    id bigint PRIMARY KEY,
    email citext,
    email_key text GENERATED ALWAYS AS (lower("email"::text)) STORED UNIQUE,
    card text,
    left_at date,
    card_key text GENERATED ALWAYS AS (CASE WHEN left_at IS NULL THEN card END) STORED UNIQUE,
    birthday date,
    birthday_key integer GENERATED ALWAYS AS (birthday - date '2000-01-01') STORED UNIQUE,
    login text CHECK ("login" = lower("login")) UNIQUE
);
COMMENT ON TABLE readers IS '@shard_by id';
"""

APART = pytest.mark.parametrize("other_shard", [0, 1])


def account(pair: Pair, shard: int, **columns: Any) -> dict[str, Any]:
    """A new account on that shard, with a username of its own unless it is given."""
    number = pair.number(shard)
    row = {"id": number, "username": f"user {number}"} | columns
    [stored] = pair.insert("accounts", row)
    return stored


def name_of(pair: Pair, shard: int) -> str:
    """A new name that is claimed on that shard."""
    return pair.text(shard, "name")


@APART
@pytest.mark.parametrize("claim_shard", range(SHARDS))
def test_a_value_is_taken_once(pair: Pair, other_shard: int, claim_shard: int) -> None:
    name = name_of(pair, claim_shard)
    account(pair, 0, username=name)
    with pytest.raises(UniqueViolation) as refused:
        account(pair, other_shard, username=name)
    assert refused.value.metadata["constraint"] == "accounts_username_key"
    assert refused.value.metadata["key"] == name


@APART
def test_nulls_are_distinct(pair: Pair, other_shard: int) -> None:
    account(pair, 0, email=None)
    account(pair, other_shard, email=None)


@APART
def test_nulls_are_alike_where_the_constraint_says_so(pair: Pair, other_shard: int) -> None:
    place = pair.number(0)
    pair.insert("seats", {"id": pair.number(0), "place": place})
    with pytest.raises(UniqueViolation):
        pair.insert("seats", {"id": pair.number(other_shard), "place": place})
    pair.insert("seats", {"id": pair.number(other_shard), "row": 1, "place": place})


@APART
def test_other_faults_of_a_row_come_first(pair: Pair, other_shard: int) -> None:
    email = name_of(pair, 2)
    account(pair, 0, email=email)
    with pytest.raises(CheckViolation):
        account(pair, other_shard, username="", email=email)
    with pytest.raises(UniqueViolation):
        pair.insert("accounts", {"id": pair.number(other_shard), "username": name_of(pair, 1), "email": email})


@APART
@pytest.mark.parametrize("size", [1, 0])
def test_what_a_domain_does_not_take_is_said_in_turn(pair: Pair, other_shard: int, size: int) -> None:
    """A value is claimed, and a parent is pinned, before the row is looked at."""
    good, bad = f"{name_of(pair, 1)}@", name_of(pair, 2)
    with pytest.raises(CrosskeyError):
        pair.insert("mailboxes", {"id": pair.number(0), "address": bad, "size": size})
    with pytest.raises(CrosskeyError):
        transact(
            pair,
            insert("mailboxes", {"id": pair.number(0), "address": good, "size": size}),
            insert("mailboxes", {"id": pair.number(other_shard), "address": bad}),
        )
    with pytest.raises(CrosskeyError):
        transact(
            pair,
            insert("aliases", {"id": pair.number(0), "mailbox": good}),
            insert("aliases", {"id": pair.number(other_shard), "mailbox": bad}),
        )


@APART
@pytest.mark.parametrize("column", ["email", "card", "birthday", "login"])
def test_what_is_advised_in_place_of_a_key_that_cannot_be_claimed(pair: Pair, other_shard: int, column: str) -> None:
    value = str(date(2000, 1, 1) + timedelta(days=pair.number(2))) if column == "birthday" else name_of(pair, 2)
    first = pair.number(0)
    pair.insert("readers", {"id": first, column: value})
    with pytest.raises(UniqueViolation):
        pair.insert("readers", {"id": pair.number(other_shard), column: value})
    other = pair.number(other_shard)
    pair.insert("readers", {"id": other})
    with pytest.raises(UniqueViolation):
        pair.update("readers", {column: value}, key={"id": other})
    pair.update("readers", {"left_at": "2024-01-01", "email": None, "birthday": None, "login": None}, key={"id": first})
    pair.update("readers", {column: value}, key={"id": other})


@APART
def test_a_lower_cased_copy_takes_each_e_mail_once_in_any_case(pair: Pair, other_shard: int) -> None:
    name = name_of(pair, 2)
    pair.insert("readers", {"id": pair.number(0), "email": name})
    with pytest.raises(UniqueViolation):
        pair.insert("readers", {"id": pair.number(other_shard), "email": name.upper()})
    with pytest.raises(CheckViolation):
        pair.insert("readers", {"id": pair.number(other_shard), "login": name.upper()})


@APART
def test_a_deleted_value_is_free(pair: Pair, other_shard: int) -> None:
    name = name_of(pair, 2)
    first = account(pair, 0, username=name)
    pair.delete("accounts", key={"id": first["id"]})
    account(pair, other_shard, username=name)


@APART
def test_a_changed_value_is_free(pair: Pair, other_shard: int) -> None:
    name, new = name_of(pair, 2), name_of(pair, 1)
    first = account(pair, 0, username=name)
    pair.update("accounts", {"username": new}, key={"id": first["id"]})
    account(pair, other_shard, username=name)
    with pytest.raises(UniqueViolation):
        account(pair, other_shard, username=new)
    with pytest.raises(UniqueViolation):
        pair.update("accounts", {"username": name}, key={"id": first["id"]})


@APART
def test_an_update_of_other_columns_claims_nothing(pair: Pair, other_shard: int) -> None:
    name = name_of(pair, 2)
    first = account(pair, 0, username=name)
    pair.update("accounts", {"note": "hello", "username": name}, key={"id": first["id"]})
    pair.update("accounts", {"note": "again"}, key={"id": first["id"]})
    with pytest.raises(UniqueViolation):
        account(pair, other_shard, username=name)


@APART
def test_a_value_goes_from_row_to_row_in_one_transaction(pair: Pair, other_shard: int) -> None:
    name = name_of(pair, 2)
    first, second = account(pair, 0, username=name), account(pair, other_shard)
    pair.transact(
        update("accounts", {"username": f"was {name}"}, key={"id": first["id"]}),
        update("accounts", {"username": name}, key={"id": second["id"]}),
        update("accounts", {"note": "done"}, key={"id": second["id"]}),
    )
    with pytest.raises(UniqueViolation) as refused:
        pair.transact(
            update("accounts", {"note": "changed"}, key={"id": second["id"]}),
            update("accounts", {"username": name}, key={"id": first["id"]}),
        )
    assert refused.value.metadata["statement"] == "1"


@APART
def test_a_value_is_deleted_and_inserted_in_one_transaction(pair: Pair, other_shard: int) -> None:
    name = name_of(pair, 2)
    first = account(pair, 0, username=name)
    again = {"id": pair.number(other_shard), "username": name}
    pair.transact(delete("accounts", key={"id": first["id"]}), insert("accounts", again))
    with pytest.raises(UniqueViolation):
        account(pair, 1, username=name)


@APART
def test_a_value_is_inserted_and_changed_in_one_transaction(pair: Pair, other_shard: int) -> None:
    name, number = name_of(pair, 2), pair.number(0)
    pair.transact(
        insert("accounts", {"id": number, "username": name}),
        update("accounts", {"username": f"{name} the second"}, key={"id": number}),
    )
    account(pair, other_shard, username=name)


@APART
def test_two_deferred_values_are_swapped(pair: Pair, other_shard: int) -> None:
    first, second = pair.number(0), pair.number(other_shard)
    pair.insert("ranks", {"id": first, "rank": first, "late": first}, {"id": second, "rank": second, "late": second})
    pair.transact(
        update("ranks", {"late": second}, key={"id": first}), update("ranks", {"late": first}, key={"id": second})
    )
    with pytest.raises(UniqueViolation) as refused:
        pair.transact(
            update("ranks", {"rank": second}, key={"id": first}), update("ranks", {"rank": first}, key={"id": second})
        )
    assert refused.value.metadata["statement"] == "0"
    transact(
        pair,
        set_constraints("ranks_rank_key", deferred=True),
        update("ranks", {"rank": second}, key={"id": first}),
        update("ranks", {"rank": first}, key={"id": second}),
    )
    with pytest.raises(UniqueViolation):
        pair.update("ranks", {"late": first}, key={"id": first})


@APART
def test_a_deferred_double_is_refused_at_the_commit(pair: Pair, other_shard: int) -> None:
    late = pair.number(2)
    pair.insert("ranks", {"id": pair.number(0), "late": late})
    with pytest.raises(UniqueViolation) as refused:
        pair.transact(
            insert("ranks", {"id": pair.number(other_shard), "late": late}),
            insert("ranks", {"id": pair.number(2), "late": pair.number(1)}),
        )
    assert "statement" not in refused.value.metadata
    double = pair.number(other_shard)
    pair.transact(insert("ranks", {"id": double, "late": late}), delete("ranks", key={"id": double}))


@APART
def test_a_group_that_fails_leaves_no_claim(pair: Pair, other_shard: int) -> None:
    name, taken = name_of(pair, 2), name_of(pair, 1)
    account(pair, 0, username=taken)
    rows = [{"id": pair.number(other_shard), "username": one} for one in (name, taken)]
    kept = {"id": pair.number(0), "username": name_of(pair, 0)}
    transact(pair, insert("accounts", kept), group(insert("accounts", row) for row in rows))
    account(pair, 1, username=name)
    with pytest.raises(UniqueViolation):
        account(pair, other_shard, username=kept["username"])


def test_many_rows_claim_on_all_shards(pair: Pair) -> None:
    rows = [
        {"id": pair.number(shard), "username": name_of(pair, claim), "email": name_of(pair, claim)}
        for shard in range(SHARDS)
        for claim in range(SHARDS)
    ]
    pair.insert("accounts", *rows)
    with pytest.raises(UniqueViolation):
        account(pair, 0, email=rows[5]["email"])
    pair.delete("accounts", where={"username": rows[4]["username"]})
    account(pair, 1, username=rows[4]["username"])


@APART
def test_two_rows_of_one_request_have_one_value(pair: Pair, other_shard: int) -> None:
    name = name_of(pair, 2)
    with pytest.raises(UniqueViolation):
        pair.insert(
            "accounts",
            {"id": pair.number(0), "username": name},
            {"id": pair.number(other_shard), "username": name},
        )
    account(pair, other_shard, username=name)


@APART
def test_a_row_that_moves_keeps_its_values(pair: Pair, other_shard: int) -> None:
    name, new = name_of(pair, 2), pair.number(1 + other_shard)
    first = account(pair, 0, username=name)
    pair.update("accounts", {"id": new}, key={"id": first["id"]})
    with pytest.raises(UniqueViolation):
        account(pair, 0, username=name)
    pair.delete("accounts", key={"id": new})
    account(pair, 0, username=name)


@APART
def test_a_cascade_frees_values(pair: Pair, other_shard: int) -> None:
    number = pair.number(2)
    buyer, other = account(pair, 0), account(pair, other_shard)
    pair.insert("invoices", {"number": number, "buyer": buyer["id"]})
    with pytest.raises(UniqueViolation):
        pair.insert("invoices", {"number": number, "buyer": other["id"]})
    pair.delete("accounts", key={"id": buyer["id"]})
    pair.insert("invoices", {"number": number, "buyer": other["id"]})


@APART
def test_a_key_of_several_columns(pair: Pair, other_shard: int) -> None:
    buyers = [account(pair, shard)["id"] for shard in (0, other_shard)]
    shop = name_of(pair, 2)
    pair.insert("invoices", {"number": pair.number(0), "buyer": buyers[0], "shop": shop, "day": "2024-02-29"})
    pair.insert("invoices", {"number": pair.number(0), "buyer": buyers[1], "shop": shop, "day": "2024-03-01"})
    with pytest.raises(UniqueViolation):
        pair.insert("invoices", {"number": pair.number(0), "buyer": buyers[1], "shop": shop, "day": "2024-2-29"})


@APART
def test_a_unique_index_and_a_default(pair: Pair, other_shard: int) -> None:
    pair.insert("nicknames", {"id": pair.number(0)})
    with pytest.raises(UniqueViolation) as refused:
        pair.insert("nicknames", {"id": pair.number(other_shard)})
    assert refused.value.metadata["constraint"] == "nicknames are unique"
    pair.delete("nicknames", where={"name": "nobody"})


@APART
def test_a_missing_parent_leaves_no_claim(pair: Pair, other_shard: int) -> None:
    number, buyer = pair.number(2), pair.number(0)
    with pytest.raises(ForeignKeyViolation):
        pair.insert("invoices", {"number": number, "buyer": buyer})
    pair.insert("invoices", {"number": number, "buyer": account(pair, other_shard)["id"]})


@APART
def test_rows_are_found_by_their_values(pair: Pair, other_shard: int) -> None:
    name = name_of(pair, 2)
    stored = account(pair, other_shard, username=name)
    assert pair.client.get("accounts", username=name) == stored
    pair.update("accounts", {"note": "found"}, key={"username": name})
    assert pair.delete("accounts", key={"username": name}) == 1
    assert pair.delete("accounts", key={"username": name}) == 0
