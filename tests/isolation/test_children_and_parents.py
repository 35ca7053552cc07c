"""A child is written while its parent goes or gets another key, in both orders, for every action."""

from dataclasses import dataclass

import pytest

from crosskey import delete, insert, update
from crosskey.requests import Write
from tests.isolation.families import ACTIONS
from tests.isolation.script import Gate, Session
from tests.isolation.stage import Stage


@dataclass(frozen=True)
class Case:
    """Where children are whose parent is on shard 0, whether it has some already, and how the first session ends."""

    child_shard: int
    referenced: bool
    commits: bool

    def __str__(self) -> str:
        place = "apart" if self.child_shard else "together"
        return f"{place}-{'referenced' if self.referenced else 'new'}-{'commit' if self.commits else 'rollback'}"


COMMITTED = [Case(0, referenced=True, commits=True), Case(1, referenced=False, commits=True)]
CASES = [*COMMITTED, Case(1, referenced=True, commits=True), Case(1, referenced=False, commits=False)]

pytestmark = pytest.mark.parametrize("children", ACTIONS)


@pytest.fixture
def parent(stage: Stage, children: str, case: Case) -> int:
    """A new parent; if it is referenced, by a child on the child's shard and by one on the third shard."""
    number = stage.pair.number(0)
    stage.pair.insert("parents", {"id": number})
    if case.referenced:
        shards = (case.child_shard, 2)
        stage.pair.insert(children, *[{"id": stage.pair.number(shard), "parent": number} for shard in shards])
    return number


def gate_of_child(stage: Stage, case: Case) -> Gate:
    """Where a session waits that wrote a child: beside it, or with a transaction over more shards to be rolled back."""
    return stage.gate(case.child_shard if case.commits else 2)


def ending(case: Case) -> list[Write]:
    """What the first session does at last: nothing more, or what rolls it back."""
    return [] if case.commits else [insert("parents", {"id": 0, "value": -1})]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_child_is_inserted_and_its_parent_deleted(stage: Stage, children: str, case: Case, parent: int) -> None:
    gate = gate_of_child(stage, case)
    child = {"id": stage.pair.number(case.child_shard), "parent": parent}
    stage.play(
        Session("child", insert(children, child), gate, *ending(case)),
        Session("parent", delete("parents", key={"id": parent})),
        gate,
        # RESTRICT is refused by the first shard that has a child, before the others have been waited for.
        ends_sooner=["parent"] if children == "restrict" and case.child_shard and case.referenced else [],
    )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_parent_is_deleted_and_a_child_inserted(stage: Stage, children: str, case: Case, parent: int) -> None:
    gate = stage.gate(0)
    child = {"id": stage.pair.number(case.child_shard), "parent": parent}
    stage.play(
        Session("parent", delete("parents", key={"id": parent}), gate, *ending(case)),
        Session("child", insert(children, child)),
        gate,
    )


@pytest.mark.parametrize("case", COMMITTED, ids=str)
def test_a_child_is_inserted_and_its_parent_gets_another_key(
    stage: Stage, children: str, case: Case, parent: int
) -> None:
    """A parent that lives apart moves to its child's shard."""
    gate = gate_of_child(stage, case)
    child = {"id": stage.pair.number(case.child_shard), "parent": parent}
    new_key = stage.pair.number(case.child_shard)
    stage.play(
        Session("child", insert(children, child), gate, *ending(case)),
        Session("parent", update("parents", {"id": new_key}, key={"id": parent})),
        gate,
    )


@pytest.mark.parametrize("case", COMMITTED, ids=str)
def test_a_parent_moves_and_children_are_inserted(stage: Stage, children: str, case: Case, parent: int) -> None:
    """One child references the old key, the other the new one."""
    gate = stage.gate(2)
    new_key = stage.pair.number(1)
    old, new = ({"id": stage.pair.number(case.child_shard), "parent": key} for key in (parent, new_key))
    stage.play(
        Session("parent", update("parents", {"id": new_key}, key={"id": parent}), gate, *ending(case)),
        Session("child of the old key", insert(children, old)),
        Session("child of the new key", insert(children, new)),
        gate,
    )
