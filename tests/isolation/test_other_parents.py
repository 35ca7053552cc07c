"""A child changes over to another parent while one of the two goes, in both orders, for every action."""

import pytest

from crosskey import delete, update
from tests.isolation.families import ACTIONS
from tests.isolation.script import Session
from tests.isolation.stage import Stage

pytestmark = [
    pytest.mark.parametrize(("deleted", "children"), [*(("old", action) for action in ACTIONS), ("new", "cascade")]),
    pytest.mark.parametrize("child_shard", [0, 1], ids=["together", "apart"]),
]


@pytest.fixture
def parents(stage: Stage) -> dict[str, int]:
    """The child's old parent, on shard 0, and the new one, on shard 2."""
    found = {"old": stage.pair.number(0), "new": stage.pair.number(2)}
    stage.pair.insert("parents", *[{"id": number} for number in found.values()])
    return found


@pytest.fixture
def child(stage: Stage, children: str, child_shard: int, parents: dict[str, int]) -> int:
    """A child of the old parent."""
    number = stage.pair.number(child_shard)
    stage.pair.insert(children, {"id": number, "parent": parents["old"]})
    return number


def test_the_child_is_first(
    stage: Stage, children: str, child_shard: int, parents: dict[str, int], child: int, deleted: str
) -> None:
    gate = stage.gate(child_shard)
    stage.play(
        Session("child", update(children, {"parent": parents["new"]}, key={"id": child}), gate),
        Session("parent", delete("parents", key={"id": parents[deleted]})),
        gate,
    )


def test_the_parent_is_first(
    stage: Stage, children: str, child_shard: int, parents: dict[str, int], child: int, deleted: str
) -> None:
    gate = stage.gate(child_shard)
    stage.play(
        Session("parent", delete("parents", key={"id": parents[deleted]}), gate),
        Session("child", update(children, {"parent": parents["new"]}, key={"id": child})),
        gate,
    )
