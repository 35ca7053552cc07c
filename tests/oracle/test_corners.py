"""Rare shapes of keys and values, where a sharded database is likeliest to differ."""

import pytest

from crosskey import ForeignKeyViolation, UniqueViolation, column, delete, eq, ge, in_, insert, is_null, update
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import SHARDS, Pair, shard_of

pytestmark = pytest.mark.searches

DEFAULT_PARENT = next(n for n in range(10**9, 10**9 + 100) if shard_of("int8", n) == 2)

SCHEMA = f"""
CREATE DOMAIN positive_id AS bigint CHECK (VALUE > 0);
CREATE DOMAIN word AS text COLLATE "C";

CREATE TABLE parents (id bigint PRIMARY KEY, code text, label text, UNIQUE (id, code), UNIQUE (code, id));
COMMENT ON TABLE parents IS '@shard_by id';

-- References that no row of a request spells out.
CREATE TABLE by_default (id bigint PRIMARY KEY, parent bigint DEFAULT {DEFAULT_PARENT} REFERENCES parents);
COMMENT ON TABLE by_default IS '@shard_by id';
CREATE TABLE computed (
    id bigint PRIMARY KEY,
    half bigint,
    parent bigint GENERATED ALWAYS AS (half * 2) STORED REFERENCES parents ON DELETE CASCADE
);
COMMENT ON TABLE computed IS '@shard_by id';

CREATE TABLE with_domains (
    id positive_id PRIMARY KEY,
    up positive_id REFERENCES with_domains ON DELETE SET NULL,
    w word
);
COMMENT ON TABLE with_domains IS '@shard_by id';

-- Several referenced keys of one parent, one of them with a column that may be NULL.
CREATE TABLE following (id bigint PRIMARY KEY, parent bigint, code text, note text DEFAULT 'n',
    FOREIGN KEY (parent, code) REFERENCES parents (id, code) ON UPDATE CASCADE ON DELETE CASCADE);
COMMENT ON TABLE following IS '@shard_by id';
CREATE TABLE clearing (id bigint PRIMARY KEY, parent bigint, code text,
    FOREIGN KEY (code, parent) REFERENCES parents (code, id) ON UPDATE SET NULL ON DELETE SET NULL);
COMMENT ON TABLE clearing IS '@shard_by id';
CREATE TABLE pinning (id bigint PRIMARY KEY, parent bigint REFERENCES parents, again bigint, code text,
    FOREIGN KEY (again, code) REFERENCES parents (id, code));
COMMENT ON TABLE pinning IS '@shard_by id';
CREATE TABLE fully (id bigint PRIMARY KEY, parent bigint, code text,
    FOREIGN KEY (parent, code) REFERENCES parents (id, code) MATCH FULL ON UPDATE CASCADE);
COMMENT ON TABLE fully IS '@shard_by id';

-- Values that are equal and spelt differently.
CREATE TABLE amounts (owner bigint, amount numeric, code char(4), PRIMARY KEY (owner, amount, code));
COMMENT ON TABLE amounts IS '@shard_by owner';
CREATE TABLE payments (id bigint PRIMARY KEY, owner bigint, amount numeric, code char(4),
    FOREIGN KEY (owner, amount, code) REFERENCES amounts ON UPDATE CASCADE ON DELETE CASCADE);
COMMENT ON TABLE payments IS '@shard_by id';
CREATE TABLE bills (id bigint PRIMARY KEY, owner bigint, amount numeric, code text,
    FOREIGN KEY (owner, amount, code) REFERENCES amounts);
COMMENT ON TABLE bills IS '@shard_by id';
CREATE TABLE wholes (id bigint PRIMARY KEY, owner bigint, amount integer, code char(4) DEFAULT 'x',
    FOREIGN KEY (owner, amount, code) REFERENCES amounts ON DELETE SET NULL (amount));
COMMENT ON TABLE wholes IS '@shard_by id';

-- Numbered things, whose numbers are shifted.
CREATE TABLE items (list bigint, place integer, label text, PRIMARY KEY (list, place));
COMMENT ON TABLE items IS '@shard_by list';
CREATE TABLE remarks (id bigint PRIMARY KEY, list bigint, place integer,
    FOREIGN KEY (list, place) REFERENCES items ON UPDATE CASCADE ON DELETE SET NULL (place));
COMMENT ON TABLE remarks IS '@shard_by id';
CREATE TABLE ladder (id bigint PRIMARY KEY, below bigint REFERENCES ladder ON UPDATE CASCADE, name text);
COMMENT ON TABLE ladder IS '@shard_by id';
CREATE TABLE anchors (id bigint PRIMARY KEY, list bigint, place integer, FOREIGN KEY (list, place) REFERENCES items);
COMMENT ON TABLE anchors IS '@shard_by id';

-- Two composite keys that share a column.
CREATE TABLE teams (org bigint, team integer, PRIMARY KEY (org, team));
COMMENT ON TABLE teams IS '@shard_by org';
CREATE TABLE rooms (org bigint, room integer, PRIMARY KEY (org, room));
COMMENT ON TABLE rooms IS '@shard_by org';
CREATE TABLE meetings (
    id bigint PRIMARY KEY, org bigint, team integer, room integer,
    FOREIGN KEY (org, team) REFERENCES teams ON DELETE CASCADE,
    FOREIGN KEY (org, room) REFERENCES rooms ON DELETE SET NULL
);
COMMENT ON TABLE meetings IS '@shard_by id';

CREATE TABLE strict_people (id bigint PRIMARY KEY, boss bigint REFERENCES strict_people ON DELETE RESTRICT);
COMMENT ON TABLE strict_people IS '@shard_by id';

CREATE TABLE seats (theatre bigint NOT NULL, seat integer, guest text,
    UNIQUE (theatre, seat) DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE seats IS '@shard_by theatre';

-- A child whose primary key holds the reference, and a child of that.
CREATE TABLE accounts (id bigint, kind integer, PRIMARY KEY (id, kind));
COMMENT ON TABLE accounts IS '@shard_by id';
CREATE TABLE entries (
    book bigint, account bigint, kind integer,
    PRIMARY KEY (book, account, kind),
    FOREIGN KEY (account, kind) REFERENCES accounts ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE entries IS '@shard_by book';
CREATE TABLE entry_notes (
    id bigint PRIMARY KEY, book bigint, account bigint, kind integer,
    FOREIGN KEY (book, account, kind) REFERENCES entries ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE entry_notes IS '@shard_by id';
"""


@pytest.fixture(scope="module", autouse=True)
def _default_parent(pair: Pair) -> None:
    pair.insert("parents", {"id": DEFAULT_PARENT})


@pytest.fixture
def parent(pair: Pair) -> int:
    """A new parent on PARENT_SHARD with code x."""
    number = pair.number(PARENT_SHARD)
    pair.insert("parents", {"id": number, "code": "x"})
    return number


def test_a_reference_by_default(pair: Pair, child_shard: int) -> None:
    pair.insert("by_default", {"id": pair.number(child_shard)}, {"id": pair.number(child_shard), "parent": None})
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": DEFAULT_PARENT})


def test_a_reference_by_a_computed_column(pair: Pair, child_shard: int) -> None:
    half = next(half for half in iter(lambda: pair.number(0), None) if shard_of("int8", half * 2) == PARENT_SHARD)
    child = pair.number(child_shard)
    with pytest.raises(ForeignKeyViolation):
        pair.insert("computed", {"id": child, "half": half})
    pair.insert("parents", {"id": half * 2})
    pair.insert("computed", {"id": child, "half": half})
    pair.delete("parents", key={"id": half * 2})
    assert pair.rows("computed", {"id": child}) == []


def test_domains(pair: Pair, child_shard: int) -> None:
    up, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.insert("with_domains", {"id": up, "w": "ä"}, {"id": child, "up": up})
    pair.delete("with_domains", key={"id": up})
    assert pair.rows("with_domains", {"id": child}) == [{"id": str(child), "up": None, "w": None}]


def test_several_referenced_keys_of_one_parent(pair: Pair, child_shard: int, parent: int) -> None:
    children = [pair.number(child_shard) for _ in range(4)]
    pair.insert("following", {"id": children[0], "parent": parent, "code": "x"})
    pair.insert("clearing", {"id": children[1], "parent": parent, "code": "x"})
    pair.insert("pinning", {"id": children[2], "parent": parent, "again": parent, "code": "x"})
    with pytest.raises(ForeignKeyViolation):
        pair.update("parents", {"code": "y"}, key={"id": parent})
    pair.update("pinning", {"code": None}, key={"id": children[2]})
    pair.update("parents", {"code": "y"}, key={"id": parent})
    assert pair.rows("following", {"parent": parent})[0]["code"] == "y"
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": parent})
    pair.delete("pinning", key={"id": children[2]})
    pair.delete("parents", key={"id": parent})


@pytest.mark.parametrize("children", ["following", "clearing", "pinning", "fully"])
def test_a_referenced_key_becomes_null(pair: Pair, child_shard: int, parent: int, children: str) -> None:
    reference = "again" if children == "pinning" else "parent"
    child = pair.number(child_shard)
    pair.insert(children, {"id": child, reference: parent, "code": "x"})
    if children in ("pinning", "fully"):
        with pytest.raises(ForeignKeyViolation):
            pair.update("parents", {"code": None}, key={"id": parent})
        return
    pair.update("parents", {"code": None}, key={"id": parent})
    assert pair.rows(children, {"id": child})[0]["code"] is None
    pair.update("parents", {"code": "z"}, key={"id": parent})
    pair.delete("parents", key={"id": parent})
    assert len(pair.rows(children, {"id": child})) == 1


def test_equal_values_that_are_spelt_differently(pair: Pair, child_shard: int) -> None:
    owner = pair.number(PARENT_SHARD)
    pair.insert("amounts", {"owner": owner, "amount": "1.0", "code": "x"})
    payment, whole = pair.number(child_shard), pair.number(child_shard)
    pair.insert("payments", {"id": payment, "owner": owner, "amount": "1.00", "code": "x  "})
    pair.insert(
        "payments",
        *[
            {"id": pair.number(child_shard), "owner": owner, "amount": "1" + end, "code": "x"}
            for end in ("", ".000", "e0")
        ],
    )
    pair.insert("wholes", {"id": whole, "owner": owner, "amount": 1})
    with pytest.raises(ForeignKeyViolation):
        pair.insert("payments", {"id": pair.number(child_shard), "owner": owner, "amount": "1.01", "code": "x"})
    pair.delete("wholes", key={"id": whole})
    pair.update("amounts", {"amount": "1.0000"}, where={"owner": owner})
    assert pair.rows("payments", {"id": payment})[0]["amount"] == "1.0000"
    pair.update("amounts", {"amount": "2.5"}, where={"owner": owner, "amount": 1})
    pair.delete("amounts", key={"owner": owner, "amount": "2.50", "code": "x"})
    assert pair.rows("payments", {"owner": owner}) == []


def test_a_key_that_is_only_spelt_anew_restricts_nothing(pair: Pair, child_shard: int) -> None:
    owner, bill = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.insert("amounts", {"owner": owner, "amount": "1.0", "code": "x"})
    pair.insert("bills", {"id": bill, "owner": owner, "amount": 1, "code": "x"})
    pair.update("amounts", {"amount": "1.00"}, where={"owner": owner})
    with pytest.raises(ForeignKeyViolation):
        pair.delete("amounts", where={"owner": owner})
    pair.update("bills", {"amount": "1.000"}, key={"id": bill})


@pytest.mark.parametrize("count", [2, 5, 12])
def test_numbers_are_shifted(pair: Pair, child_shard: int, count: int) -> None:
    owner = pair.number(PARENT_SHARD)
    pair.insert("items", *[{"list": owner, "place": place, "label": str(place)} for place in range(1, count + 1)])
    for place in range(count, 0, -1):
        pair.insert("remarks", *[{"id": pair.number(child_shard), "list": owner, "place": place} for _ in range(2)])
    for _ in range(3):
        pair.update("items", {"place": column("place") - 1}, where={"list": owner})
    assert {row["place"] for row in pair.rows("remarks", {"list": owner})} == set(range(-2, count - 2))


@pytest.mark.parametrize("step", [-1, -2, 1000])
def test_shard_keys_are_shifted(pair: Pair, step: int) -> None:
    rungs = range(10**6, 10**6 + 9)
    pair.insert("ladder", *[{"id": rung, "below": (10**6 + rung) // 2, "name": str(rung)} for rung in rungs])
    pair.update("ladder", {"id": column("id") + step}, where=is_null("name", False))
    assert {int(row["id"]) for row in pair.rows("ladder")} == {rung + step for rung in rungs}
    pair.delete("ladder", where=is_null("name", False))


def test_numbers_are_shifted_past_one_that_is_kept(pair: Pair, child_shard: int) -> None:
    owner = pair.number(PARENT_SHARD)
    pair.insert("items", *[{"list": owner, "place": place} for place in (1, 2, 3)])
    anchor = pair.number(child_shard)
    pair.insert("anchors", {"id": anchor, "list": owner, "place": 2})
    pair.update("items", {"place": column("place") - 1}, where={"list": owner})
    with pytest.raises(ForeignKeyViolation):
        pair.update("items", {"place": column("place") - 1}, where={"list": owner})
    pair.update("items", {"place": column("place") * 10}, where=[eq("list", owner), ge("place", 3)])
    with pytest.raises(ForeignKeyViolation):
        pair.delete("items", where=[eq("list", owner), ge("place", 2)])


def test_keys_that_share_a_column(pair: Pair, child_shard: int) -> None:
    org, meetings = pair.number(PARENT_SHARD), [pair.number(child_shard) for _ in range(3)]
    pair.insert("teams", {"org": org, "team": 1}, {"org": org, "team": 2})
    pair.insert("rooms", {"org": org, "room": 1}, {"org": org, "room": 2})
    for meeting, (team, room) in zip(meetings, ((1, 1), (1, 2), (2, 2)), strict=True):
        pair.insert("meetings", {"id": meeting, "org": org, "team": team, "room": room})
    pair.delete("rooms", key={"org": org, "room": 1})
    pair.delete("teams", key={"org": org, "team": 1})
    assert sorted(row["id"] for row in pair.rows("meetings", in_("id", meetings))) == [
        str(meetings[0]),
        str(meetings[2]),
    ]


def test_parents_and_restricted_children_go_in_one_statement(pair: Pair) -> None:
    people = [pair.number(number % SHARDS) for number in range(6)]
    pair.insert("strict_people", *[{"id": one, "boss": people[place // 2]} for place, one in enumerate(people)])
    with pytest.raises(ForeignKeyViolation):
        pair.delete("strict_people", where=in_("id", people[:2]))
    assert pair.delete("strict_people", where=in_("id", people)) == 6


def test_a_unique_constraint_that_waits(pair: Pair, child_shard: int) -> None:
    theatre, other = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.insert("seats", *[{"theatre": theatre, "seat": seat, "guest": str(seat)} for seat in (1, 2)])
    swap = [
        update("seats", {"seat": 2}, where={"theatre": theatre, "guest": "1"}),
        update("seats", {"seat": 1}, where={"theatre": theatre, "guest": "2"}),
    ]
    pair.transact(*swap, insert("seats", {"theatre": other, "seat": 9}))
    with pytest.raises(UniqueViolation):
        pair.transact(
            update("seats", {"seat": 1}, where={"theatre": theatre, "guest": "1"}),
            insert("seats", {"theatre": other, "seat": 10}),
            delete("seats", where={"theatre": other, "seat": 9}),
        )


def test_a_cascade_into_primary_keys(pair: Pair, child_shard: int) -> None:
    account, book, note = pair.number(PARENT_SHARD), pair.number(child_shard), pair.number(2)
    pair.insert("accounts", {"id": account, "kind": 1})
    pair.insert("entries", {"book": book, "account": account, "kind": 1})
    pair.insert("entry_notes", {"id": note, "book": book, "account": account, "kind": 1})
    pair.update("accounts", {"kind": 2}, where={"id": account})
    assert pair.rows("entry_notes", {"id": note})[0]["kind"] == 2
    new_book = pair.number((child_shard + 1) % SHARDS)
    pair.update("entries", {"book": new_book}, where={"book": book})
    assert pair.rows("entry_notes", {"id": note})[0]["book"] == str(new_book)
    new_account = pair.number(1)
    pair.update("accounts", {"id": new_account, "kind": 3}, where={"id": account})
    assert pair.rows("entry_notes", {"id": note})[0]["account"] == str(new_account)
    pair.delete("accounts", key={"id": new_account, "kind": 3})
    assert pair.rows("entry_notes", {"id": note}) == []
