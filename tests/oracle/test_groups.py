"""Groups: what fails alone is undone on every shard, and the rest of the transaction goes on."""

from __future__ import annotations

from typing import Any

import pytest

from crosskey import (
    CrosskeyError,
    ForeignKeyViolation,
    InvalidValue,
    NotDeferrable,
    NotNullViolation,
    UniqueViolation,
    UnknownColumn,
    delete,
    group,
    in_,
    insert,
    set_constraints,
    update,
)
from tests.oracle.conftest import PARENT_SHARD
from tests.oracle.nested import transact
from tests.oracle.pair import SHARDS, Pair

SCHEMA = """
CREATE TABLE parents (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE parents IS '@shard_by id';

CREATE TABLE strict (id bigint PRIMARY KEY, parent bigint NOT NULL REFERENCES parents);
COMMENT ON TABLE strict IS '@shard_by id';

CREATE TABLE may_wait (id bigint PRIMARY KEY, parent bigint REFERENCES parents DEFERRABLE);
COMMENT ON TABLE may_wait IS '@shard_by id';

CREATE TABLE waiting (id bigint PRIMARY KEY, parent bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE waiting IS '@shard_by id';

CREATE TABLE cascading (id bigint PRIMARY KEY, parent bigint REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE);
COMMENT ON TABLE cascading IS '@shard_by id';

CREATE TABLE beside (
    parent bigint REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE,
    number integer,
    PRIMARY KEY (parent, number)
);
COMMENT ON TABLE beside IS '@shard_by parent';

CREATE TABLE countries (code text PRIMARY KEY, name text NOT NULL);
COMMENT ON TABLE countries IS '@reference';
CREATE TABLE towns (id bigint PRIMARY KEY, country text REFERENCES countries ON DELETE SET NULL);
COMMENT ON TABLE towns IS '@shard_by id';

CREATE TABLE log (id bigint PRIMARY KEY, line text);
COMMENT ON TABLE log IS '@shard_by id';
"""

DEFER_ALL = set_constraints(deferred=True)
CHECK_ALL = set_constraints(deferred=False)


@pytest.fixture
def parent(pair: Pair) -> int:
    """A new parent on PARENT_SHARD."""
    number = pair.number(PARENT_SHARD)
    pair.insert("parents", {"id": number})
    return number


def line(pair: Pair, shard: int) -> Any:
    """A statement that always succeeds."""
    return insert("log", {"id": pair.number(shard), "line": "x"})


def failed_at(answer: object, kind: type[CrosskeyError]) -> str:
    """Which statement failed; the answer must be an error of that kind."""
    assert type(answer) is kind
    return answer.metadata["statement"]


def test_a_group_that_succeeds_answers_for_each_statement(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    answers = transact(
        pair,
        group([insert("parents", {"id": parent}), insert("strict", {"id": child, "parent": parent})]),
        group([delete("strict", key={"id": child}), DEFER_ALL]),
    )
    rows = [{"id": str(child), "parent": str(parent)}]
    assert answers == [[[{"id": str(parent), "name": None}], rows], [1, None]]


def test_what_comes_before_and_after_a_failed_group_stays(pair: Pair, child_shard: int, parent: int) -> None:
    taken = insert("parents", {"id": parent})
    for before, after in ((True, True), (True, False), (False, True), (False, False)):
        answers = transact(
            pair,
            *[line(pair, child_shard)] * before,
            group([line(pair, PARENT_SHARD), line(pair, child_shard), taken, line(pair, 2)]),
            *[line(pair, child_shard)] * after,
        )
        assert failed_at(answers[int(before)], UniqueViolation) == f"{int(before)}.2"


@pytest.mark.parametrize("failing_shard", range(SHARDS))
def test_a_group_is_undone_on_every_shard(pair: Pair, failing_shard: int) -> None:
    kept = [pair.number(shard) for shard in range(SHARDS)]
    pair.insert("parents", *[{"id": one, "name": "kept"} for one in kept])
    answers = transact(
        pair,
        update("parents", {"name": "first"}, where=in_("id", kept)),
        group(
            [
                update("parents", {"name": "second"}, where=in_("id", kept)),
                insert("parents", [{"id": pair.number(shard)} for shard in range(SHARDS)]),
                delete("parents", where=in_("id", [one for one in kept if one != kept[failing_shard]])),
                insert("parents", {"id": kept[failing_shard]}),
            ]
        ),
        update("parents", {"name": "third"}, where={"id": kept[1], "name": "first"}),
    )
    assert failed_at(answers[1], UniqueViolation) == "1.3"
    assert len(answers[2]) == 1


def test_a_key_is_checked_at_the_end_of_each_statement_inside(pair: Pair, child_shard: int) -> None:
    parent, child = pair.number(PARENT_SHARD), pair.number(child_shard)
    both = [insert("strict", {"id": child, "parent": parent}), insert("parents", {"id": parent})]
    answers = transact(pair, group(both), group(both[:1]), *both[::-1])
    assert failed_at(answers[0], ForeignKeyViolation) == "0.0"
    assert failed_at(answers[1], ForeignKeyViolation) == "1.0"
    pair.delete("strict", key={"id": child})
    pair.delete("parents", key={"id": parent})


def test_the_pins_of_a_failed_group_go_too(pair: Pair, child_shard: int, parent: int) -> None:
    child = pair.number(child_shard)
    answers = transact(
        pair,
        line(pair, 2),
        group([insert("strict", {"id": child, "parent": parent}), insert("strict", {"id": child, "parent": parent})]),
        delete("parents", key={"id": parent}),
    )
    assert failed_at(answers[1], UniqueViolation) == "1.1"


def test_a_cascade_over_shards_is_undone(pair: Pair, child_shard: int, parent: int) -> None:
    children = [pair.number(shard) for shard in range(SHARDS)]
    pair.insert("cascading", *[{"id": child, "parent": parent} for child in children])
    pair.insert("beside", {"parent": parent, "number": 1})
    answers = transact(
        pair,
        group(
            [
                delete("parents", key={"id": parent}),
                insert("parents", {"id": parent}),
                insert("strict", {"id": pair.number(child_shard), "parent": None}),
            ]
        ),
        update("cascading", {"parent": parent}, key={"id": children[0]}),
    )
    assert failed_at(answers[0], NotNullViolation) == "0.2"
    assert len(pair.rows("cascading", {"parent": parent})) == SHARDS


def test_a_move_to_another_shard_is_undone(pair: Pair, child_shard: int, parent: int) -> None:
    pair.insert("beside", *[{"parent": parent, "number": number} for number in (1, 2)])
    pair.insert("cascading", {"id": pair.number(child_shard), "parent": parent})
    away = [pair.number(2) for _ in range(2)]
    answers = transact(
        pair,
        group([update("parents", {"id": away[0]}, key={"id": parent}), insert("beside", {"parent": 0, "number": 1})]),
        update("parents", {"id": away[1]}, key={"id": parent}),
    )
    assert failed_at(answers[0], ForeignKeyViolation) == "0.1"
    assert len(pair.rows("beside", {"parent": away[1]})) == 2
    assert len(pair.rows("cascading", {"parent": away[1]})) == 1


def test_a_write_of_a_reference_table_is_undone(pair: Pair) -> None:
    pair.insert("countries", {"code": "FR", "name": "France"})
    town = pair.number(1)
    pair.insert("towns", {"id": town, "country": "FR"})
    answers = transact(
        pair,
        group([insert("countries", {"code": "BE", "name": "B"}), insert("countries", {"code": "FR", "name": "F"})]),
        group([delete("countries", key={"code": "FR"}), insert("towns", {"id": pair.number(2), "country": "FR"})]),
        insert("towns", {"id": pair.number(2), "country": "FR"}),
    )
    assert failed_at(answers[0], UniqueViolation) == "0.1"
    assert failed_at(answers[1], ForeignKeyViolation) == "1.1"


def test_groups_nest(pair: Pair, child_shard: int, parent: int) -> None:
    taken = insert("parents", {"id": parent})
    answers = transact(
        pair,
        group([line(pair, 0), group([line(pair, 1), taken]), line(pair, child_shard)]),
        group([line(pair, 0), group([line(pair, 1)]), group([line(pair, 2)]), taken]),
        group([group([group([line(pair, 2), taken]), line(pair, 0)]), line(pair, 1)]),
        group([group([group([line(pair, 2)]), group([line(pair, 1)])])]),
    )
    assert failed_at(answers[0][1], UniqueViolation) == "0.1.1"
    assert failed_at(answers[1], UniqueViolation) == "1.3"
    assert failed_at(answers[2][0][0], UniqueViolation) == "2.0.0.1"
    assert len(answers[3][0]) == 2


def test_many_groups_one_after_the_other(pair: Pair, parent: int) -> None:
    taken = insert("parents", {"id": parent})
    groups = [group([line(pair, number % SHARDS), *[taken] * (number % 2)]) for number in range(20)]
    answers = transact(pair, *groups)
    assert [isinstance(answer, UniqueViolation) for answer in answers] == [False, True] * 10


def test_an_error_outside_undoes_all_groups(pair: Pair, child_shard: int, parent: int) -> None:
    taken = insert("parents", {"id": parent})
    with pytest.raises(UniqueViolation) as caught:
        transact(pair, group([line(pair, 0), line(pair, child_shard)]), group([taken]), taken)
    assert caught.value.metadata["statement"] == "2"


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        (insert("parents", {"id": "x"}), InvalidValue),
        (insert("parents", {"id": 2, "nmae": "x"}), UnknownColumn),
        (update("parents", {"id": "10000000000000000000"}, where={"name": "wrong"}), InvalidValue),
        (set_constraints("strict_parent_fkey", deferred=True), NotDeferrable),
    ],
)
def test_wrong_values_and_names_fail_alone(pair: Pair, statement: Any, kind: type[CrosskeyError]) -> None:
    pair.insert("parents", {"id": pair.number(0), "name": "wrong"})
    answers = transact(pair, group([line(pair, 0), statement, line(pair, 1)]), line(pair, 2))
    assert failed_at(answers[0], kind) == "0.1"


def test_a_failed_group_takes_its_modes_back(pair: Pair, child_shard: int, parent: int) -> None:
    late = pair.number(PARENT_SHARD)
    orphan = insert("may_wait", {"id": pair.number(child_shard), "parent": late})
    taken = insert("parents", {"id": parent})
    with pytest.raises(ForeignKeyViolation) as caught:
        transact(pair, group([DEFER_ALL, orphan, taken]), orphan, insert("parents", {"id": late}))
    assert caught.value.metadata["statement"] == "1"
    transact(pair, DEFER_ALL, group([CHECK_ALL, taken]), orphan, insert("parents", {"id": late}))


def test_a_group_that_succeeds_leaves_its_modes(pair: Pair, child_shard: int) -> None:
    late = pair.number(PARENT_SHARD)
    orphan = insert("may_wait", {"id": pair.number(child_shard), "parent": late})
    transact(pair, group([DEFER_ALL, line(pair, 2)]), orphan, insert("parents", {"id": late}))


def test_modes_of_before_a_group_are_known_to_shards_that_join_in_it(pair: Pair, parent: int) -> None:
    late = pair.number(1)
    orphan = insert("may_wait", {"id": pair.number(2), "parent": late})
    taken = insert("parents", {"id": parent})
    transact(pair, DEFER_ALL, group([orphan, taken]), group([orphan]), insert("parents", {"id": late}))


def test_what_was_due_in_a_failed_group_is_due_no_more(pair: Pair, child_shard: int, parent: int) -> None:
    orphan = insert("waiting", {"id": pair.number(child_shard), "parent": pair.number(PARENT_SHARD)})
    answers = transact(pair, group([orphan, CHECK_ALL]), line(pair, 2))
    assert failed_at(answers[0], ForeignKeyViolation) == "0.1"
    transact(pair, line(pair, 2), group([orphan, insert("parents", {"id": parent})]))


def test_what_a_group_leaves_due_is_not_absorbed(pair: Pair, child_shard: int) -> None:
    orphan = insert("waiting", {"id": pair.number(child_shard), "parent": pair.number(PARENT_SHARD)})
    with pytest.raises(ForeignKeyViolation) as caught:
        transact(pair, group([orphan]), line(pair, 2))
    assert "statement" not in caught.value.metadata
    with pytest.raises(ForeignKeyViolation) as caught:
        transact(pair, group([orphan]), line(pair, 2), CHECK_ALL)
    assert caught.value.metadata["statement"] == "2"


def test_a_parent_that_came_in_a_failed_group_is_missing_again(pair: Pair, child_shard: int, parent: int) -> None:
    late = pair.number(PARENT_SHARD)
    orphan = insert("waiting", {"id": pair.number(child_shard), "parent": late})
    comes, taken = insert("parents", {"id": late}), insert("parents", {"id": parent})
    with pytest.raises(ForeignKeyViolation) as caught:
        transact(pair, orphan, group([comes, taken]))
    assert "statement" not in caught.value.metadata
    transact(pair, orphan, group([comes, taken]), comes)
    pair.delete("waiting", where={"parent": late})
    pair.delete("parents", key={"id": late})
    transact(pair, orphan, group([group([comes]), taken]), group([comes]))


def test_a_parent_that_went_in_a_failed_group_is_there_again(pair: Pair, child_shard: int, parent: int) -> None:
    pair.insert("waiting", {"id": pair.number(child_shard), "parent": parent})
    goes = delete("parents", key={"id": parent})
    answers = transact(pair, group([goes, CHECK_ALL]), line(pair, 2))
    assert failed_at(answers[0], ForeignKeyViolation) == "0.1"
    with pytest.raises(ForeignKeyViolation):
        transact(pair, group([goes]), line(pair, 2))
    transact(pair, group([goes]), group([insert("parents", {"id": parent})]))
