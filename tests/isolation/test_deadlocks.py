"""Sessions that wait for each other: none may wait for ever, and in the end it is as if one had been first.

On one shard PostgreSQL finds the deadlock; over several it shows as a lock time-out. The router runs what lost again.
"""

import pytest

from crosskey import column, delete, insert, update
from crosskey.requests import Write
from tests.isolation.script import Session
from tests.isolation.stage import Stage

DEADLOCK = "40P01"


@pytest.fixture(params=[0, 1], ids=["together", "apart"])
def parents(request: pytest.FixtureRequest, stage: Stage) -> tuple[int, int]:
    """Two parents, on one shard or on two."""
    pair = stage.pair.number(0), stage.pair.number(request.param)
    stage.pair.insert("parents", *[{"id": number} for number in pair])
    return pair


def play_crosswise(stage: Stage, first: tuple[Write, Write], second: tuple[Write, Write]) -> None:
    """The first session has done its first statement when the second one starts."""
    gate = stage.gate(2)
    stage.play_with_retry(Session("first", first[0], gate, first[1]), Session("second", *second), gate, lost=[DEADLOCK])


def test_two_rows_are_updated_crosswise(stage: Stage, parents: tuple[int, int]) -> None:
    one, other = (update("parents", {"value": column("value") + 1}, key={"id": number}) for number in parents)
    play_crosswise(stage, (one, other), (other, one))


def test_two_parents_are_deleted_crosswise(stage: Stage, parents: tuple[int, int]) -> None:
    stage.pair.insert("cascade", *[{"id": stage.pair.number(1), "parent": parent} for parent in parents])
    one, other = (delete("parents", key={"id": number}) for number in parents)
    play_crosswise(stage, (one, other), (other, one))


def test_two_parents_get_their_first_children_crosswise(stage: Stage, parents: tuple[int, int]) -> None:
    """PostgreSQL sees no conflict here. Crosskey does: each session is the first to reference one of the parents."""
    gate = stage.gate(2)
    one, other = ({"id": stage.pair.number(1), "parent": parent} for parent in parents)
    second_one, second_other = ({"id": stage.pair.number(1), "parent": parent} for parent in parents)
    stage.play(
        Session("first", insert("cascade", one), gate, insert("cascade", other)),
        Session(
            "second",
            insert("parents", {"id": stage.pair.number(2)}),
            insert("cascade", second_other),
            insert("cascade", second_one),
        ),
        gate,
        waits_longer=["second"],
    )
