"""Foreign keys onto unique keys that do not tell where the parent lives: found, and kept, through its claims."""

from typing import Any

import pytest

from crosskey import ForeignKeyViolation, UniqueViolation, delete, group, insert, set_constraints, update
from tests.oracle.nested import transact
from tests.oracle.pair import SHARDS, Pair

pytestmark = pytest.mark.searches

ACTIONS = ("NO ACTION", "RESTRICT", "CASCADE", "SET NULL", "SET DEFAULT")


def table_of(action: str) -> str:
    """The table with children whose key has that action on delete and on update."""
    return f"of_{action.lower().replace(' ', '_')}"


SCHEMA = """
CREATE TABLE accounts (
    id bigint PRIMARY KEY,
    username varchar(20) NOT NULL UNIQUE,
    email text,
    shop integer,
    number bigint,
    note text
);
CREATE UNIQUE INDEX one_email ON accounts (email);
ALTER TABLE accounts ADD CONSTRAINT one_number UNIQUE (shop, number);
COMMENT ON TABLE accounts IS '@shard_by id';

CREATE TABLE mails (
    id bigint PRIMARY KEY,
    sender text REFERENCES accounts (username) ON UPDATE CASCADE,
    receiver text REFERENCES accounts (email) ON DELETE CASCADE ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED
);
COMMENT ON TABLE mails IS '@shard_by id';

-- In another order than the unique key has them, and of other types.
CREATE TABLE bills (
    id bigint PRIMARY KEY,
    number bigint,
    shop smallint,
    FOREIGN KEY (number, shop) REFERENCES accounts (number, shop) MATCH FULL ON DELETE SET NULL ON UPDATE CASCADE
);
COMMENT ON TABLE bills IS '@shard_by id';
CREATE TABLE offers (
    id bigint PRIMARY KEY,
    shop integer,
    number bigint,
    FOREIGN KEY (shop, number) REFERENCES accounts (shop, number) ON DELETE SET NULL (number) ON UPDATE CASCADE
);
COMMENT ON TABLE offers IS '@shard_by id';

-- A child that is a parent in its turn, by a key that is claimed and follows that of its own parent.
CREATE TABLE profiles (
    id bigint PRIMARY KEY,
    username text NOT NULL UNIQUE REFERENCES accounts (username) ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE profiles IS '@shard_by id';
CREATE TABLE visits (
    id bigint PRIMARY KEY,
    profile text REFERENCES profiles (username) ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE visits IS '@shard_by id';

-- Where NULLs are alike they are unique, but still no parents.
CREATE TABLE seats (id bigint PRIMARY KEY, row integer, place integer, UNIQUE NULLS NOT DISTINCT (row, place));
COMMENT ON TABLE seats IS '@shard_by id';
CREATE TABLE tickets (
    id bigint PRIMARY KEY,
    row integer,
    place integer,
    FOREIGN KEY (row, place) REFERENCES seats (row, place) ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE tickets IS '@shard_by id';

-- Placed by what references the parent, and so by the slot of the claim.
CREATE TABLE settings (
    username text PRIMARY KEY REFERENCES accounts (username) ON DELETE CASCADE ON UPDATE CASCADE,
    theme text
);
COMMENT ON TABLE settings IS '@shard_by username';

-- Ids of foreign make.
CREATE TABLE documents (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), owner bigint NOT NULL, title text);
COMMENT ON TABLE documents IS E'@shard_by owner\\n@claim';
CREATE TABLE pages (id bigint PRIMARY KEY, document uuid REFERENCES documents ON DELETE CASCADE);
COMMENT ON TABLE pages IS '@shard_by id';

-- A tree by names.
CREATE TABLE folders (
    id bigint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    parent text REFERENCES folders (name) ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE folders IS '@shard_by id';

-- Every shard has its rows, and so references the parents.
CREATE TABLE moderators (
    username text PRIMARY KEY REFERENCES accounts (username) ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE moderators IS '@reference';
""" + "\n".join(
    f"""
CREATE TABLE {table_of(action)} (
    id bigint PRIMARY KEY,
    name text DEFAULT 'nobody' REFERENCES accounts (username) ON DELETE {action} ON UPDATE {action}
);
COMMENT ON TABLE {table_of(action)} IS '@shard_by id';
"""
    for action in ACTIONS
)

CLAIM_SHARDS = pytest.mark.parametrize("claim_shard", range(SHARDS))


def new_name(pair: Pair, shard: int = 2) -> str:
    """A new name that is claimed on that shard."""
    return pair.text(shard, "name")


def account(pair: Pair, shard: int = 0, **columns: Any) -> dict[str, Any]:
    """A new account on that shard, with a username of its own unless it is given."""
    row = {"id": pair.number(shard), "username": new_name(pair)} | columns
    [stored] = pair.insert("accounts", row)
    return stored


def child(pair: Pair, shard: int, table: str = "mails", **columns: Any) -> dict[str, Any]:
    """A new row of another table, on that shard."""
    [stored] = pair.insert(table, {"id": pair.number(shard)} | columns)
    return stored


@CLAIM_SHARDS
def test_a_child_finds_its_parent(pair: Pair, child_shard: int, claim_shard: int) -> None:
    parent = account(pair, username=new_name(pair, claim_shard))
    child(pair, child_shard, sender=parent["username"])
    child(pair, child_shard, sender=parent["username"])
    child(pair, child_shard, sender=None)


@CLAIM_SHARDS
def test_a_parent_must_exist(pair: Pair, child_shard: int, claim_shard: int) -> None:
    with pytest.raises(ForeignKeyViolation):
        child(pair, child_shard, sender=new_name(pair, claim_shard))
    mail = child(pair, child_shard)
    with pytest.raises(ForeignKeyViolation):
        pair.update("mails", {"sender": new_name(pair, claim_shard)}, key={"id": mail["id"]})


def test_what_no_parent_can_have_is_refused(pair: Pair, child_shard: int) -> None:
    with pytest.raises(ForeignKeyViolation):
        child(pair, child_shard, sender="a name that is longer than the parent's column")


def test_many_children_and_parents_in_one_request(pair: Pair) -> None:
    names = [new_name(pair, shard) for shard in (0, 1, 2, 0, 1, 2)]
    pair.insert(
        "accounts", *({"id": pair.number(place % SHARDS), "username": name} for place, name in enumerate(names))
    )
    pair.insert("mails", *({"id": pair.number(1), "sender": name} for name in names))
    pair.insert("mails", *({"id": pair.number(place % 2), "sender": name} for place, name in enumerate(names)))


@CLAIM_SHARDS
@pytest.mark.parametrize("action", ACTIONS)
def test_the_action_on_delete(pair: Pair, child_shard: int, claim_shard: int, action: str) -> None:
    if not pair.rows("accounts", {"username": "nobody"}):
        account(pair, username="nobody")
    parent = account(pair, username=new_name(pair, claim_shard))
    child(pair, child_shard, table_of(action), name=parent["username"])
    if action in ("NO ACTION", "RESTRICT"):
        with pytest.raises(ForeignKeyViolation):
            pair.delete("accounts", key={"id": parent["id"]})
    else:
        pair.delete("accounts", key={"id": parent["id"]})
    pair.rows(table_of(action))


@CLAIM_SHARDS
@pytest.mark.parametrize("action", ACTIONS)
def test_the_action_on_update(pair: Pair, child_shard: int, claim_shard: int, action: str) -> None:
    if not pair.rows("accounts", {"username": "nobody"}):
        account(pair, username="nobody")
    parent = account(pair, username=new_name(pair, claim_shard))
    child(pair, child_shard, table_of(action), name=parent["username"])
    for shard in range(SHARDS):
        new = {"username": new_name(pair, shard)}
        if action in ("NO ACTION", "RESTRICT"):
            with pytest.raises(ForeignKeyViolation):
                pair.update("accounts", new, key={"id": parent["id"]})
        else:
            pair.update("accounts", new, key={"id": parent["id"]})
        pair.rows(table_of(action))
    if action == "CASCADE":
        pair.delete("accounts", key={"id": parent["id"]})
        pair.rows(table_of(action))


def test_a_default_that_does_not_exist(pair: Pair, child_shard: int) -> None:
    parent = account(pair)
    row = child(pair, child_shard, "of_set_default", name=parent["username"])
    nobody = pair.rows("accounts", {"username": "nobody"})
    if nobody:
        pair.delete("of_set_default", where={"name": "nobody"})
        pair.delete("accounts", key={"id": nobody[0]["id"]})
    with pytest.raises(ForeignKeyViolation):
        pair.delete("accounts", key={"id": parent["id"]})
    pair.delete("of_set_default", key={"id": row["id"]})


@CLAIM_SHARDS
def test_a_parent_moves_and_its_children_stay(pair: Pair, child_shard: int, claim_shard: int) -> None:
    parent = account(pair, username=new_name(pair, claim_shard), email=new_name(pair))
    child(pair, child_shard, sender=parent["username"], receiver=parent["email"])
    for shard in (1, 2, 0, 1):
        number = pair.number(shard)
        pair.update("accounts", {"id": number}, key={"id": parent["id"]})
        parent["id"] = number
        child(pair, child_shard, sender=parent["username"])
        with pytest.raises(ForeignKeyViolation):
            pair.delete("accounts", key={"id": number})
    pair.delete("mails", where={"sender": parent["username"]})
    pair.delete("accounts", key={"id": parent["id"]})


@CLAIM_SHARDS
def test_a_parent_moves_and_gets_another_name_at_once(pair: Pair, child_shard: int, claim_shard: int) -> None:
    parent = account(pair, username=new_name(pair, claim_shard))
    mail = child(pair, child_shard, sender=parent["username"])
    pair.update("accounts", {"id": pair.number(1), "username": new_name(pair, 1)}, key={"id": parent["id"]})
    assert pair.rows("mails", {"id": mail["id"]})[0]["sender"] != parent["username"]
    child(pair, child_shard, sender=pair.rows("mails", {"id": mail["id"]})[0]["sender"])


def test_a_name_becomes_null(pair: Pair, child_shard: int) -> None:
    parent = account(pair, email=new_name(pair))
    mail = child(pair, child_shard, receiver=parent["email"])
    pair.update("accounts", {"email": None}, key={"id": parent["id"]})
    assert pair.rows("mails", {"id": mail["id"]})[0]["receiver"] is None
    pair.update("accounts", {"email": parent["email"]}, key={"id": parent["id"]})
    child(pair, child_shard, receiver=parent["email"])


@pytest.mark.parametrize("table", ["bills", "offers"])
def test_keys_of_several_columns(pair: Pair, child_shard: int, table: str) -> None:
    shop = pair.number(1) % 30000
    parent = account(pair, shop=shop, number=5)
    row = child(pair, child_shard, table, shop=shop, number=5)
    with pytest.raises(ForeignKeyViolation):
        child(pair, child_shard, table, shop=shop, number=6)
    child(pair, child_shard, table)
    pair.update("accounts", {"number": 7}, key={"id": parent["id"]})
    assert pair.rows(table, {"id": row["id"]})[0]["number"] == "7"
    pair.update("accounts", {"shop": shop + 1, "id": pair.number(1)}, key={"id": parent["id"]})
    child(pair, child_shard, table, shop=shop + 1, number=7)
    if table == "bills":
        # MATCH FULL lets no child follow half of the way.
        with pytest.raises(ForeignKeyViolation):
            pair.update("accounts", {"shop": None}, where={"shop": shop + 1})
    else:
        pair.update("accounts", {"shop": None}, where={"shop": shop + 1})
        [parent] = pair.rows("accounts", {"number": 7})
        pair.update("accounts", {"shop": shop}, key={"id": parent["id"]})
        child(pair, child_shard, table, shop=shop, number=7)
    pair.delete("accounts", where={"number": 7})
    pair.rows(table)


def test_null_in_part(pair: Pair, child_shard: int) -> None:
    child(pair, child_shard, "offers", shop=12)
    with pytest.raises(ForeignKeyViolation):
        child(pair, child_shard, "bills", shop=12)


@CLAIM_SHARDS
@pytest.mark.parametrize("parent_first", [True, False])
def test_parent_and_child_in_one_transaction(
    pair: Pair, child_shard: int, claim_shard: int, *, parent_first: bool
) -> None:
    email = new_name(pair, claim_shard)
    writes = [
        insert("accounts", {"id": pair.number(0), "username": new_name(pair), "email": email}),
        insert("mails", {"id": pair.number(child_shard), "receiver": email}),
    ]
    pair.transact(*(writes if parent_first else reversed(writes)))


def test_a_child_before_its_parent_is_refused_where_the_key_does_not_wait(pair: Pair, child_shard: int) -> None:
    name = new_name(pair)
    with pytest.raises(ForeignKeyViolation):
        pair.transact(
            insert("mails", {"id": pair.number(child_shard), "sender": name}),
            insert("accounts", {"id": pair.number(0), "username": name}),
        )


def test_a_deferred_key_whose_parent_never_comes(pair: Pair, child_shard: int) -> None:
    with pytest.raises(ForeignKeyViolation):
        pair.transact(
            insert("mails", {"id": pair.number(child_shard), "receiver": new_name(pair)}),
            insert("accounts", {"id": pair.number(0), "username": new_name(pair)}),
        )


@CLAIM_SHARDS
def test_a_name_goes_to_another_row_in_one_transaction(pair: Pair, child_shard: int, claim_shard: int) -> None:
    email = new_name(pair, claim_shard)
    parent = account(pair, email=email)
    other = account(pair, 1)
    child(pair, child_shard, "mails", receiver=email)
    pair.transact(
        update("accounts", {"email": new_name(pair, 0)}, key={"id": parent["id"]}),
        update("accounts", {"email": email}, key={"id": other["id"]}),
        insert("mails", {"id": pair.number(child_shard), "receiver": email}),
    )
    pair.delete("accounts", key={"id": parent["id"]})
    assert len(pair.rows("mails", {"receiver": email})) == 1


def test_deleted_and_inserted_again_in_one_transaction(pair: Pair, child_shard: int) -> None:
    parent = account(pair, username=new_name(pair))
    child(pair, child_shard, sender=parent["username"])
    with pytest.raises(ForeignKeyViolation):
        pair.transact(
            delete("accounts", key={"id": parent["id"]}),
            insert("accounts", {"id": pair.number(1), "username": parent["username"]}),
        )


def test_a_group_that_fails_takes_its_pins_back(pair: Pair, child_shard: int) -> None:
    parent = account(pair)
    taken = pair.number(child_shard)
    pair.insert("mails", {"id": taken})
    transact(
        pair,
        group(
            [
                insert("mails", {"id": pair.number(child_shard), "sender": parent["username"]}),
                insert("mails", {"id": taken}),
            ]
        ),
        insert("mails", {"id": pair.number(child_shard)}),
    )
    pair.delete("accounts", key={"id": parent["id"]})


def test_names_follow_through_two_claimed_keys(pair: Pair, child_shard: int) -> None:
    parent = account(pair)
    child(pair, 1, "profiles", username=parent["username"])
    child(pair, child_shard, "visits", profile=parent["username"])
    for shard in range(SHARDS):
        pair.update("accounts", {"username": new_name(pair, shard)}, key={"id": parent["id"]})
    pair.rows("visits")
    pair.delete("accounts", key={"id": parent["id"]})
    assert pair.rows("visits") == []


def test_a_tree_by_names(pair: Pair) -> None:
    names = [new_name(pair, shard % SHARDS) for shard in range(5)]
    rows = [
        {"id": pair.number(place % SHARDS), "name": name, "parent": names[place - 1] if place else None}
        for place, name in enumerate(names)
    ]
    pair.insert("folders", *reversed(rows))
    pair.update("folders", {"name": new_name(pair, 1)}, key={"id": rows[1]["id"]})
    pair.rows("folders")
    pair.insert("folders", {"id": pair.number(0), "name": (name := new_name(pair)), "parent": name})
    pair.delete("folders", key={"id": rows[0]["id"]})
    assert len(pair.rows("folders")) == 1
    pair.delete("folders", where={"name": name})


@CLAIM_SHARDS
def test_rows_of_reference_tables_have_claimed_parents(pair: Pair, claim_shard: int) -> None:
    parent = account(pair, username=new_name(pair, claim_shard))
    pair.insert("moderators", {"username": parent["username"]})
    pair.update("accounts", {"username": new_name(pair, 1)}, key={"id": parent["id"]})
    assert len(pair.rows("moderators")) == 1
    pair.delete("accounts", key={"id": parent["id"]})
    assert pair.rows("moderators") == []


def test_nulls_that_are_alike(pair: Pair, child_shard: int) -> None:
    seat = pair.number(0)
    pair.insert("seats", {"id": seat, "row": 1, "place": seat}, {"id": pair.number(1), "row": None, "place": seat})
    child(pair, child_shard, "tickets", row=1, place=seat)
    child(pair, child_shard, "tickets", row=None, place=seat)
    pair.delete("seats", where={"place": seat})
    assert len(pair.rows("tickets", {"place": seat})) == 1


def test_children_that_are_placed_by_the_name(pair: Pair) -> None:
    parent = account(pair)
    pair.insert("settings", {"username": parent["username"], "theme": "dark"})
    for shard in range(SHARDS):
        pair.update("accounts", {"username": new_name(pair, shard)}, key={"id": parent["id"]})
        pair.rows("settings")
    pair.delete("accounts", key={"id": parent["id"]})
    assert pair.rows("settings") == []


@CLAIM_SHARDS
def test_ids_of_foreign_make(pair: Pair, child_shard: int, claim_shard: int) -> None:
    row = {"id": pair.uuid(claim_shard), "owner": pair.number(0)}
    pair.insert("documents", row)
    with pytest.raises(UniqueViolation):
        pair.insert("documents", row | {"owner": pair.number(1)})
    child(pair, child_shard, "pages", document=row["id"])
    pair.update("documents", {"owner": pair.number(1)}, key={"id": row["id"]})
    pair.delete("documents", key={"id": row["id"]})
    assert pair.rows("pages") == []


def test_an_id_of_foreign_make_that_is_left_out(pair: Pair) -> None:
    [stored] = pair.client.insert("documents", {"owner": pair.number(0)})
    assert pair.client.get("documents", id=stored["id"]) == stored
    pair.client.delete("documents", key={"id": stored["id"]})


def test_a_taken_name_is_refused_and_its_children_stay(pair: Pair, child_shard: int) -> None:
    parent, other = account(pair), account(pair, 1)
    child(pair, child_shard, sender=parent["username"])
    with pytest.raises(UniqueViolation):
        pair.update("accounts", {"username": other["username"]}, key={"id": parent["id"]})
    pair.rows("mails", {"sender": parent["username"]})


def test_keys_set_to_wait(pair: Pair, child_shard: int) -> None:
    email = new_name(pair)
    with pytest.raises(ForeignKeyViolation):
        transact(
            pair,
            set_constraints(deferred=False),
            insert("mails", {"id": pair.number(child_shard), "receiver": email}),
            insert("accounts", {"id": pair.number(0), "username": new_name(pair), "email": email}),
        )


def test_updates_of_other_columns_touch_no_pin(pair: Pair, child_shard: int) -> None:
    parent = account(pair)
    child(pair, child_shard, sender=parent["username"])
    pair.update("accounts", {"note": "hello", "username": parent["username"]}, key={"id": parent["id"]})


def test_nothing_is_left(pair: Pair) -> None:
    pair.check_health()
