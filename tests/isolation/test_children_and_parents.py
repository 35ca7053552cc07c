"""A child is written while its parent goes, in both orders, for every action."""

import pytest

from crosskey import delete, insert
from crosskey.requests import Write
from tests.isolation.families import ACTIONS
from tests.isolation.script import Session
from tests.isolation.stage import Stage


@pytest.fixture(params=ACTIONS)
def children(request: pytest.FixtureRequest) -> str:
    """The name of a table of children, which is their action."""
    table: str = request.param
    return table


@pytest.fixture(params=["commits", "is rolled back"])
def ending(request: pytest.FixtureRequest) -> tuple[Write, ...]:
    """What a session does at last: nothing more, or something that rolls it back."""
    return () if request.param == "commits" else (insert("parents", {"id": 0, "value": -1}),)


@pytest.fixture(params=["unreferenced", "referenced"])
def parent(request: pytest.FixtureRequest, stage: Stage, children: str, child_shard: int) -> int:
    """A new parent on shard 0; if it is referenced, by a child on the child's shard and by one on the third."""
    number = stage.pair.number(0)
    stage.pair.insert("parents", {"id": number})
    if request.param == "referenced":
        stage.pair.insert(children, *[{"id": stage.pair.number(shard), "parent": number} for shard in (child_shard, 2)])
    return number


def test_a_child_is_inserted_first(
    stage: Stage, children: str, child_shard: int, parent: int, ending: tuple[Write, ...]
) -> None:
    gate = stage.gate(child_shard)
    child = {"id": stage.pair.number(child_shard), "parent": parent}
    stage.play(
        Session("insert", insert(children, child), gate, *ending),
        Session("delete", delete("parents", key={"id": parent})),
        gate,
    )


def test_the_parent_is_deleted_first(
    stage: Stage, children: str, child_shard: int, parent: int, ending: tuple[Write, ...]
) -> None:
    gate = stage.gate(0)
    child = {"id": stage.pair.number(child_shard), "parent": parent}
    stage.play(
        Session("delete", delete("parents", key={"id": parent}), gate, *ending),
        Session("insert", insert(children, child)),
        gate,
    )
