"""SET CONSTRAINTS: what waits for the commit, what is checked at once, and which names are refused."""

from __future__ import annotations

import pytest

from crosskey import (
    CheckViolation,
    ForeignKeyViolation,
    NotDeferrable,
    RaisedByDatabase,
    UniqueViolation,
    UnknownConstraint,
    delete,
    insert,
    set_constraints,
    update,
)
from crosskey.requests import Statement
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.nested import transact
from tests.oracle.pair import SHARDS, Pair

pytestmark = pytest.mark.searches

SCHEMA = """
CREATE TABLE parents (id bigint PRIMARY KEY, name text CONSTRAINT named CHECK (name <> ''));
COMMENT ON TABLE parents IS '@shard_by id';

CREATE TABLE strict (id bigint PRIMARY KEY, parent bigint REFERENCES parents);
COMMENT ON TABLE strict IS '@shard_by id';

CREATE TABLE may_wait (id bigint PRIMARY KEY, parent bigint REFERENCES parents DEFERRABLE);
COMMENT ON TABLE may_wait IS '@shard_by id';

CREATE TABLE waiting (id bigint PRIMARY KEY, parent bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE waiting IS '@shard_by id';

CREATE TABLE partly_waiting (
    id bigint PRIMARY KEY,
    parent bigint REFERENCES parents,
    later bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED
);
COMMENT ON TABLE partly_waiting IS '@shard_by id';

CREATE TABLE cascading (id bigint PRIMARY KEY, parent bigint REFERENCES parents ON DELETE CASCADE DEFERRABLE);
COMMENT ON TABLE cascading IS '@shard_by id';

CREATE TABLE restricting (id bigint PRIMARY KEY, parent bigint REFERENCES parents ON DELETE RESTRICT DEFERRABLE);
COMMENT ON TABLE restricting IS '@shard_by id';

CREATE TABLE beside (id bigint PRIMARY KEY REFERENCES parents DEFERRABLE);
COMMENT ON TABLE beside IS '@shard_by id';

CREATE TABLE husbands (id bigint PRIMARY KEY, wife bigint NOT NULL);
COMMENT ON TABLE husbands IS '@shard_by id';
CREATE TABLE wives (id bigint PRIMARY KEY, husband bigint NOT NULL REFERENCES husbands DEFERRABLE);
COMMENT ON TABLE wives IS '@shard_by id';
ALTER TABLE husbands ADD FOREIGN KEY (wife) REFERENCES wives DEFERRABLE;

CREATE TABLE nodes (id bigint PRIMARY KEY, above bigint REFERENCES nodes DEFERRABLE);
COMMENT ON TABLE nodes IS '@shard_by id';

CREATE TABLE seats (
    hall bigint,
    guest integer,
    seat integer,
    PRIMARY KEY (hall, guest),
    CONSTRAINT one_guest UNIQUE (hall, seat) DEFERRABLE
);
COMMENT ON TABLE seats IS '@shard_by hall';

CREATE TABLE accounts (id bigint PRIMARY KEY, balance integer);
COMMENT ON TABLE accounts IS '@shard_by id';
CREATE FUNCTION refuse_debt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT balance FROM accounts WHERE id = NEW.id) < 0 THEN
        RAISE EXCEPTION 'account % is in debt', NEW.id;
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER no_debt AFTER INSERT OR UPDATE ON accounts
    DEFERRABLE FOR EACH ROW EXECUTE FUNCTION refuse_debt();

CREATE TABLE late_accounts (id bigint PRIMARY KEY, balance integer);
COMMENT ON TABLE late_accounts IS '@shard_by id';
CREATE FUNCTION refuse_late_debt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT balance FROM late_accounts WHERE id = NEW.id) < 0 THEN
        RAISE EXCEPTION 'account % is in debt at last', NEW.id;
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER no_late_debt AFTER INSERT OR UPDATE ON late_accounts
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_late_debt();

-- A trigger that writes a child of a row on another shard.
CREATE TABLE orders (id bigint PRIMARY KEY, parent bigint);
COMMENT ON TABLE orders IS '@shard_by id';
CREATE TABLE notes (id bigint PRIMARY KEY, parent bigint REFERENCES parents);
COMMENT ON TABLE notes IS '@shard_by id';
CREATE FUNCTION note_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO notes VALUES (NEW.id, NEW.parent);
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER noting AFTER INSERT ON orders
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION note_order();

CREATE SCHEMA "other One";
CREATE TABLE "other One".children (
    id bigint PRIMARY KEY,
    parent bigint CONSTRAINT "Their Key" REFERENCES parents DEFERRABLE
);
COMMENT ON TABLE "other One".children IS '@shard_by id';
"""

DEFER_ALL = set_constraints(deferred=True)
CHECK_ALL = set_constraints(deferred=False)


@pytest.fixture
def parent(pair: Pair) -> int:
    """A new parent on PARENT_SHARD."""
    number = pair.number(PARENT_SHARD)
    pair.insert("parents", {"id": number})
    return number


@pytest.mark.parametrize("table", ["may_wait", "cascading", "restricting", "other One.children"])
def test_a_child_may_come_before_its_parent_once_its_key_waits(pair: Pair, child_shard: int, table: str) -> None:
    for change in (DEFER_ALL, set_constraints(key_of(table), deferred=True)):
        parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
        transact(pair, change, insert(table, {"id": child, "parent": parent}), insert("parents", {"id": parent}))
        with pytest.raises(ForeignKeyViolation) as caught:
            transact(pair, insert(table, {"id": child + 1, "parent": -parent}), insert("parents", {"id": -parent}))
        assert caught.value.metadata["statement"] == "0"


def key_of(table: str) -> str:
    """The name of its foreign key."""
    return "other One.Their Key" if table.startswith("other") else f"{table}_parent_fkey"


def test_a_local_key_waits_too(pair: Pair) -> None:
    parent = pair.number(PARENT_SHARD)
    transact(pair, DEFER_ALL, insert("beside", {"id": parent}), insert("parents", {"id": parent}))
    with pytest.raises(ForeignKeyViolation):
        transact(pair, insert("beside", {"id": -parent}), insert("parents", {"id": -parent}))


def test_a_key_that_waits_by_itself_can_be_told_not_to(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    statements = insert("waiting", {"id": child, "parent": parent}), insert("parents", {"id": parent})
    for change in (CHECK_ALL, set_constraints("waiting_parent_fkey", deferred=False)):
        with pytest.raises(ForeignKeyViolation) as caught:
            transact(pair, change, *statements)
        assert caught.value.metadata["statement"] == "1"
    transact(pair, *statements)


def test_what_waited_is_checked_at_once(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    first = insert("waiting", {"id": child, "parent": parent})
    for change in (CHECK_ALL, set_constraints("waiting_parent_fkey", deferred=False)):
        with pytest.raises(ForeignKeyViolation) as caught:
            transact(pair, first, change, insert("parents", {"id": parent}))
        assert caught.value.metadata["statement"] == "1"
    transact(pair, first, insert("parents", {"id": parent}), CHECK_ALL)


def test_children_on_all_shards_are_checked_at_once(pair: Pair) -> None:
    parents = [pair.number(shard) for shard in range(SHARDS)]
    children = [pair.number((shard + 1) % SHARDS) for shard in range(SHARDS)]
    rows = [{"id": child, "parent": parent} for child, parent in zip(children, parents, strict=True)]
    first_of_all = pair.number(2)
    statements: list[Statement] = [insert("parents", {"id": first_of_all}), DEFER_ALL, insert("may_wait", rows)]
    with pytest.raises(ForeignKeyViolation) as caught:
        transact(pair, *statements, insert("parents", [{"id": one} for one in parents[1:]]), CHECK_ALL)
    assert caught.value.metadata["statement"] == "4"
    transact(pair, *statements, insert("parents", [{"id": one} for one in parents]), CHECK_ALL)


def test_an_error_of_the_commit_names_no_statement(pair: Pair, child_shard: int) -> None:
    child, parent = pair.number(child_shard), pair.number(PARENT_SHARD)
    with pytest.raises(ForeignKeyViolation) as caught:
        transact(pair, DEFER_ALL, insert("may_wait", {"id": child, "parent": parent}))
    assert "statement" not in caught.value.metadata
    with pytest.raises(ForeignKeyViolation) as caught:
        transact(pair, insert("waiting", {"id": child, "parent": parent}))
    assert "statement" not in caught.value.metadata


def test_the_last_statement_is_named_where_its_key_does_not_wait(pair: Pair, child_shard: int, parent: int) -> None:
    with pytest.raises(ForeignKeyViolation) as caught:
        transact(
            pair,
            insert("waiting", {"id": pair.number(child_shard), "parent": pair.number(PARENT_SHARD)}),
            insert("strict", {"id": pair.number(child_shard), "parent": pair.number(PARENT_SHARD)}),
        )
    assert caught.value.metadata["statement"] == "1"
    pair.insert("strict", {"id": pair.number(child_shard), "parent": parent})
    with pytest.raises(ForeignKeyViolation) as caught:
        transact(pair, DEFER_ALL, delete("parents", key={"id": parent}))
    assert caught.value.metadata["statement"] == "1"


def test_the_modes_end_with_their_transaction(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    transact(pair, DEFER_ALL, insert("parents", {"id": pair.number(child_shard)}))
    with pytest.raises(ForeignKeyViolation):
        transact(pair, insert("may_wait", {"id": child, "parent": parent}), insert("parents", {"id": parent}))


def test_a_shard_that_joins_later_knows_the_modes(pair: Pair) -> None:
    parent = pair.number(2)
    transact(
        pair,
        insert("parents", {"id": pair.number(0)}),
        set_constraints("may_wait_parent_fkey", "one_guest", deferred=True),
        insert("may_wait", {"id": pair.number(1), "parent": parent}),
        insert("seats", [{"hall": parent, "guest": guest, "seat": guest} for guest in (1, 2)]),
        update("seats", {"seat": 2}, key={"hall": parent, "guest": 1}),
        update("seats", {"seat": 1}, key={"hall": parent, "guest": 2}),
        insert("parents", {"id": parent}),
    )


def test_a_key_can_wait_only_for_a_while(pair: Pair, child_shard: int) -> None:
    parents = [pair.number(PARENT_SHARD) for _ in range(2)]
    with pytest.raises(ForeignKeyViolation) as caught:
        transact(
            pair,
            DEFER_ALL,
            insert("may_wait", {"id": pair.number(child_shard), "parent": parents[0]}),
            insert("parents", {"id": parents[0]}),
            set_constraints("may_wait_parent_fkey", deferred=False),
            insert("waiting", {"id": pair.number(child_shard), "parent": parents[1]}),
            insert("may_wait", {"id": pair.number(child_shard), "parent": parents[1]}),
            insert("parents", {"id": parents[1]}),
        )
    assert caught.value.metadata["statement"] == "5"


def test_a_parent_that_comes_late_and_goes_again_takes_its_children_along(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    transact(
        pair,
        DEFER_ALL,
        insert("cascading", {"id": child, "parent": parent}),
        insert("parents", {"id": parent}),
        delete("parents", key={"id": parent}),
    )
    assert pair.rows("cascading", {"id": child}) == []


def test_no_action_waits_and_restrict_does_not(pair: Pair, child_shard: int, parent: int) -> None:
    pair.insert("may_wait", {"id": pair.number(child_shard), "parent": parent})
    gone_and_back = delete("parents", key={"id": parent}), insert("parents", {"id": parent})
    transact(pair, DEFER_ALL, *gone_and_back)
    with pytest.raises(ForeignKeyViolation):
        transact(pair, DEFER_ALL, gone_and_back[0], CHECK_ALL, gone_and_back[1])
    pair.insert("restricting", {"id": pair.number(child_shard), "parent": parent})
    with pytest.raises(ForeignKeyViolation) as caught:
        transact(pair, DEFER_ALL, *gone_and_back)
    assert caught.value.metadata["statement"] == "1"


@pytest.mark.parametrize("second_shard", range(SHARDS))
def test_rows_that_name_each_other(pair: Pair, second_shard: int) -> None:
    husband, wife = pair.number(0), pair.number(second_shard)
    both = insert("husbands", {"id": husband, "wife": wife}), insert("wives", {"id": wife, "husband": husband})
    with pytest.raises(ForeignKeyViolation):
        transact(pair, *both)
    transact(pair, DEFER_ALL, *both, CHECK_ALL)
    with pytest.raises(ForeignKeyViolation) as caught:
        transact(pair, DEFER_ALL, delete("husbands", key={"id": husband}))
    assert "statement" not in caught.value.metadata
    transact(pair, DEFER_ALL, delete("husbands", key={"id": husband}), delete("wives", key={"id": wife}))


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]])
def test_a_tree_in_any_order_over_three_shards(pair: Pair, order: list[int]) -> None:
    nodes = [pair.number(number % SHARDS) for number in range(4)]
    rows = [{"id": nodes[0], "above": None}] + [{"id": nodes[n], "above": nodes[(n - 1) // 2]} for n in (1, 2, 3)]
    transact(pair, DEFER_ALL, *[insert("nodes", rows[place]) for place in order])
    transact(pair, DEFER_ALL, *[delete("nodes", key={"id": nodes[place]}) for place in order])


def test_a_unique_key_that_waits(pair: Pair) -> None:
    hall = pair.number(1)
    pair.insert("seats", *[{"hall": hall, "guest": guest, "seat": guest} for guest in (1, 2)])
    swap = [update("seats", {"seat": 3 - guest}, key={"hall": hall, "guest": guest}) for guest in (1, 2)]
    with pytest.raises(UniqueViolation) as caught:
        transact(pair, *swap)
    assert caught.value.metadata["statement"] == "0"
    transact(pair, set_constraints("one_guest", deferred=True), *swap, set_constraints("one_guest", deferred=False))
    clash = update("seats", {"seat": 1}, key={"hall": hall, "guest": 1})
    with pytest.raises(UniqueViolation) as caught:
        transact(pair, DEFER_ALL, clash, CHECK_ALL)
    assert caught.value.metadata["statement"] == "2"
    with pytest.raises(UniqueViolation) as caught:
        transact(pair, DEFER_ALL, clash, insert("parents", {"id": pair.number(2)}))
    assert "statement" not in caught.value.metadata


@pytest.mark.parametrize(("table", "place"), [("accounts", "0"), ("late_accounts", None)])
def test_a_trigger_that_waits(pair: Pair, child_shard: int, table: str, place: str | None) -> None:
    account = pair.number(PARENT_SHARD)
    into_debt = insert(table, {"id": account, "balance": -1})
    out_of_debt = update(table, {"balance": 1}, key={"id": account})
    with pytest.raises(RaisedByDatabase) as caught:
        transact(pair, into_debt, insert("parents", {"id": pair.number(child_shard)}))
    assert caught.value.metadata.get("statement") == place
    with pytest.raises(RaisedByDatabase) as caught:
        transact(pair, set_constraints("no_debt", "no_late_debt", deferred=True), into_debt, CHECK_ALL)
    assert caught.value.metadata["statement"] == "2"
    transact(pair, DEFER_ALL, into_debt, out_of_debt, set_constraints("no_debt", deferred=False))


@pytest.mark.parametrize("beside", ["alone", "with another shard"])
@pytest.mark.parametrize("last", [[], [CHECK_ALL]])
def test_a_trigger_that_waited_writes_a_child_of_another_row(
    pair: Pair, child_shard: int, parent: int, last: list[Statement], beside: str
) -> None:
    others = [] if beside == "alone" else [insert("parents", {"id": pair.number(2)})]
    order, lost = pair.number(child_shard), pair.number(child_shard)
    with pytest.raises(ForeignKeyViolation) as caught:
        transact(pair, insert("orders", {"id": lost, "parent": pair.number(PARENT_SHARD)}), *others, *last)
    assert caught.value.metadata.get("statement") == (str(1 + len(others)) if last else None)
    transact(pair, insert("orders", {"id": order, "parent": parent}), *others, *last)
    assert len(pair.rows("notes", {"id": order})) == 1


@pytest.mark.parametrize("name", ["strict_parent_fkey", "parents_pkey", "public.strict_parent_fkey", "named"])
def test_a_constraint_that_cannot_wait(pair: Pair, name: str) -> None:
    with pytest.raises(NotDeferrable) as caught:
        transact(pair, insert("parents", {"id": pair.number(0)}), set_constraints(name, deferred=True))
    assert caught.value.metadata["statement"] == "1"
    transact(pair, set_constraints(name, deferred=False), insert("parents", {"id": pair.number(0)}))


@pytest.mark.parametrize("deferred", [True, False])
@pytest.mark.parametrize("name", ["nobody", "other One.nobody", "nowhere.one_guest", "Their Key", "ONE_GUEST"])
def test_a_constraint_that_is_not_there(pair: Pair, name: str, deferred: bool) -> None:
    with pytest.raises(UnknownConstraint):
        transact(pair, set_constraints("may_wait_parent_fkey", name, deferred=deferred))


@pytest.mark.parametrize("name", ["crosskey.crosskey_pinned", "crosskey.crosskey_refuse_effect"])
def test_a_constraint_of_ours_is_nobodys_business(pair: Pair, name: str) -> None:
    with pytest.raises(UnknownConstraint):
        transact(pair, set_constraints(name, deferred=False))


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a\0b", "crosskey.schema", "public.b.c"])
def test_what_is_no_name_of_a_constraint(pair: Pair, name: str) -> None:
    with pytest.raises(UnknownConstraint):
        pair.client.transact([set_constraints(name, deferred=True)])


def test_a_value_that_is_wrong_waits_for_its_turn(pair: Pair, parent: int) -> None:
    with pytest.raises(UniqueViolation) as caught:
        transact(pair, insert("parents", {"id": parent}), insert("parents", {"id": "x"}))
    assert caught.value.metadata["statement"] == "0"
    with pytest.raises(CheckViolation) as violation:
        transact(pair, insert("parents", {"id": pair.number(2)}), update("parents", {"name": ""}, key={"id": parent}))
    assert violation.value.metadata["statement"] == "1"


@pytest.mark.parametrize("strict_shard", range(SHARDS))
@pytest.mark.parametrize("waiting_shard", range(SHARDS))
def test_what_the_last_statement_violates_goes_before_what_the_commit_does(
    pair: Pair, waiting_shard: int, strict_shard: int
) -> None:
    parent = pair.number(PARENT_SHARD)
    rows = [
        {"id": pair.number(waiting_shard), "parent": parent, "later": pair.number(PARENT_SHARD)},
        {"id": pair.number(strict_shard), "parent": pair.number(PARENT_SHARD)},
    ]
    with pytest.raises(ForeignKeyViolation, match="partly_waiting_parent_fkey") as refused:
        transact(pair, insert("parents", {"id": parent}), insert("partly_waiting", rows))
    assert refused.value.metadata["statement"] == "1"
