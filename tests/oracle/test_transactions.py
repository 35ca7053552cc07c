"""Transact: statements in order, over several shards, with keys that wait for the commit."""

import pytest

from crosskey import ForeignKeyViolation, UniqueViolation, delete, in_, insert, update
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.pair import SHARDS, Pair

SCHEMA = """
CREATE TABLE parents (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE parents IS '@shard_by id';

CREATE TABLE strict (id bigint PRIMARY KEY, parent bigint REFERENCES parents);
COMMENT ON TABLE strict IS '@shard_by id';

CREATE TABLE may_wait (id bigint PRIMARY KEY, parent bigint REFERENCES parents DEFERRABLE);
COMMENT ON TABLE may_wait IS '@shard_by id';

CREATE TABLE waiting (id bigint PRIMARY KEY, parent bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE waiting IS '@shard_by id';

CREATE TABLE waiting_cascade (id bigint PRIMARY KEY,
    parent bigint REFERENCES parents ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE waiting_cascade IS '@shard_by id';

CREATE TABLE waiting_restrict (id bigint PRIMARY KEY,
    parent bigint REFERENCES parents ON DELETE RESTRICT DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE waiting_restrict IS '@shard_by id';

CREATE TABLE waiting_null (id bigint PRIMARY KEY,
    parent bigint REFERENCES parents ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE waiting_null IS '@shard_by id';

CREATE TABLE waiting_beside (id bigint PRIMARY KEY REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE waiting_beside IS '@shard_by id';

-- Two tables whose rows name each other.
CREATE TABLE husbands (id bigint PRIMARY KEY, wife bigint NOT NULL);
COMMENT ON TABLE husbands IS '@shard_by id';
CREATE TABLE wives (id bigint PRIMARY KEY,
    husband bigint NOT NULL REFERENCES husbands DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE wives IS '@shard_by id';
ALTER TABLE husbands ADD FOREIGN KEY (wife) REFERENCES wives DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE nodes (id bigint PRIMARY KEY, next bigint REFERENCES nodes DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE nodes IS '@shard_by id';
"""

WAITING = ["waiting", "waiting_cascade", "waiting_restrict", "waiting_null"]


@pytest.fixture
def parent(pair: Pair) -> int:
    """A new parent on PARENT_SHARD."""
    number = pair.number(PARENT_SHARD)
    pair.insert("parents", {"id": number})
    return number


def test_later_statements_see_earlier_ones(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    answers = pair.transact(
        insert("parents", {"id": parent, "name": "a"}),
        insert("strict", {"id": child, "parent": parent}),
        update("parents", {"name": "b"}, where={"name": "a"}),
        delete("strict", where={"parent": parent}),
        delete("parents", key={"id": parent}),
    )
    assert answers[3:] == [1, 1]


def test_statements_over_all_shards(pair: Pair) -> None:
    parents = [pair.number(shard) for shard in range(SHARDS)]
    children = [pair.number((shard + 1) % SHARDS) for shard in range(SHARDS)]
    pair.transact(
        insert("parents", [{"id": parent, "name": "spread"} for parent in parents]),
        insert("strict", [{"id": child, "parent": parent} for child, parent in zip(children, parents, strict=True)]),
        update("strict", {"parent": parents[0]}, where=in_("id", children)),
        delete("parents", where=in_("id", parents[1:])),
    )
    assert len(pair.rows("strict", {"parent": parents[0]})) == SHARDS


@pytest.mark.parametrize("table", ["strict", "may_wait"])
def test_a_child_before_its_parent_is_refused_at_once(pair: Pair, child_shard: int, table: str) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    with pytest.raises(ForeignKeyViolation):
        pair.transact(insert(table, {"id": child, "parent": parent}), insert("parents", {"id": parent}))


@pytest.mark.parametrize("table", WAITING)
def test_a_child_before_its_parent_may_wait_for_the_commit(pair: Pair, child_shard: int, table: str) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.transact(insert(table, {"id": child, "parent": parent}), insert("parents", {"id": parent}))
    assert len(pair.rows(table, {"parent": parent})) == 1


def test_a_child_before_its_parent_on_one_shard_by_a_local_key(pair: Pair) -> None:
    parent = pair.number(PARENT_SHARD)
    pair.transact(insert("waiting_beside", {"id": parent}), insert("parents", {"id": parent}))


@pytest.mark.parametrize("table", WAITING)
def test_a_parent_that_never_comes(pair: Pair, child_shard: int, table: str) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    with pytest.raises(ForeignKeyViolation):
        pair.transact(insert(table, {"id": child, "parent": parent}), insert("parents", {"id": pair.number(2)}))
    with pytest.raises(ForeignKeyViolation):
        pair.insert(table, {"id": child, "parent": parent})


def test_a_deferred_child_that_goes_again(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.transact(insert("waiting", {"id": child, "parent": parent}), delete("waiting", key={"id": child}))


def test_a_deferred_child_that_finds_another_parent(pair: Pair, child_shard: int, parent: int) -> None:
    child = pair.number(child_shard)
    pair.transact(
        insert("waiting", {"id": child, "parent": pair.number(2)}),
        update("waiting", {"parent": parent}, key={"id": child}),
    )


def test_rows_of_two_tables_that_name_each_other(pair: Pair, child_shard: int) -> None:
    husband, wife = pair.number(PARENT_SHARD), pair.number(child_shard)
    pair.transact(
        insert("husbands", {"id": husband, "wife": wife}),
        insert("wives", {"id": wife, "husband": husband}),
    )
    with pytest.raises(ForeignKeyViolation):
        pair.delete("husbands", key={"id": husband})
    pair.transact(delete("husbands", key={"id": husband}), delete("wives", key={"id": wife}))


def test_a_ring_row_by_row(pair: Pair) -> None:
    nodes = [pair.number(number % SHARDS) for number in range(6)]
    others = nodes[1:] + nodes[:1]
    pair.transact(*[insert("nodes", {"id": one, "next": other}) for one, other in zip(nodes, others, strict=True)])
    with pytest.raises(ForeignKeyViolation):
        pair.delete("nodes", where=in_("id", nodes[:3]))
    assert pair.delete("nodes", where=in_("id", nodes)) == len(nodes)


@pytest.mark.parametrize("table", ["waiting", "waiting_beside"])
def test_a_deferred_key_lets_its_parent_go_and_come_back(pair: Pair, child_shard: int, parent: int, table: str) -> None:
    child = {"id": parent} if table == "waiting_beside" else {"id": pair.number(child_shard), "parent": parent}
    pair.insert(table, child)
    pair.transact(delete("parents", key={"id": parent}), insert("parents", {"id": parent, "name": "again"}))
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": parent})
    pair.transact(delete("parents", key={"id": parent}), delete(table, key={"id": child["id"]}))


def test_a_parent_that_comes_back_is_pinned_again(pair: Pair, child_shard: int, parent: int) -> None:
    children = [pair.number(child_shard) for _ in range(2)]
    pair.insert("waiting", *[{"id": child, "parent": parent} for child in children])
    pair.transact(
        delete("parents", key={"id": parent}),
        delete("waiting", key={"id": children[0]}),
        insert("parents", {"id": parent}),
    )
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": parent})


@pytest.mark.parametrize("table", ["strict", "may_wait", "waiting_restrict"])
def test_another_key_does_not_let_its_parent_go_even_for_a_moment(
    pair: Pair, child_shard: int, parent: int, table: str
) -> None:
    pair.insert(table, {"id": pair.number(child_shard), "parent": parent})
    with pytest.raises(ForeignKeyViolation):
        pair.transact(delete("parents", key={"id": parent}), insert("parents", {"id": parent}))


def test_a_cascade_is_not_undone_when_the_parent_comes_back(pair: Pair, child_shard: int, parent: int) -> None:
    pair.insert("waiting_cascade", {"id": pair.number(child_shard), "parent": parent})
    cleared = pair.number(child_shard)
    pair.insert("waiting_null", {"id": cleared, "parent": parent})
    again = pair.number(child_shard)
    pair.transact(
        delete("parents", key={"id": parent}),
        insert("parents", {"id": parent}),
        insert("waiting_cascade", {"id": again, "parent": parent}),
    )
    assert pair.rows("waiting_cascade", {"parent": parent}) == [{"id": str(again), "parent": str(parent)}]
    assert pair.rows("waiting_null", {"id": cleared}) == [{"id": str(cleared), "parent": None}]


def test_delete_and_reinsert_of_a_child(pair: Pair, child_shard: int, parent: int) -> None:
    child = pair.number(child_shard)
    pair.insert("strict", {"id": child, "parent": parent})
    pair.transact(
        delete("strict", key={"id": child}),
        delete("parents", key={"id": parent}),
        insert("parents", {"id": parent, "name": "new"}),
        insert("strict", {"id": child, "parent": parent}),
    )


def test_an_error_in_the_third_statement_leaves_no_trace(pair: Pair, parent: int) -> None:
    fresh = [pair.number(shard) for shard in range(SHARDS)]
    children = [pair.number(shard) for shard in range(SHARDS)]
    with pytest.raises(UniqueViolation):
        pair.transact(
            insert("parents", [{"id": number} for number in fresh]),
            insert("strict", [{"id": child, "parent": fresh[0]} for child in children]),
            insert("parents", {"id": parent}),
        )
    with pytest.raises(ForeignKeyViolation):
        pair.insert("strict", {"id": children[1], "parent": fresh[0]})


def test_a_broken_key_in_the_second_statement_comes_before_the_errors_of_the_third(pair: Pair, parent: int) -> None:
    with pytest.raises(ForeignKeyViolation):
        pair.transact(
            insert("parents", {"id": pair.number(1)}),
            insert("strict", {"id": pair.number(1), "parent": pair.number(2)}),
            insert("parents", {"id": parent}),
        )


def test_a_broken_deferred_key_comes_after_all_other_errors(pair: Pair, parent: int) -> None:
    with pytest.raises(UniqueViolation):
        pair.transact(
            insert("waiting", {"id": pair.number(1), "parent": pair.number(2)}),
            insert("parents", {"id": parent}),
        )


def test_a_parent_that_moves_from_one_statement_to_the_next(pair: Pair, child_shard: int, parent: int) -> None:
    child, other = pair.number(child_shard), pair.number(2)
    pair.transact(
        insert("strict", {"id": child, "parent": parent}),
        insert("parents", {"id": other}),
        update("strict", {"parent": other}, key={"id": child}),
        delete("parents", key={"id": parent}),
    )
    with pytest.raises(ForeignKeyViolation):
        pair.delete("parents", key={"id": other})
