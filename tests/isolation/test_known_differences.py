"""What differs on purpose, or cannot be the same: the entries on concurrent sessions in docs/differences.md."""

import pytest

from crosskey import delete, insert, update
from tests.isolation.script import Session
from tests.isolation.sides import WAITS
from tests.isolation.stage import Stage
from tests.oracle.outcome import Refusal

FOREIGN_KEY_VIOLATION = "23503"


@pytest.fixture(params=[0, 1], ids=["together", "apart"])
def child_shard(request: pytest.FixtureRequest) -> int:
    """The shard of children whose parents live on shard 0."""
    shard: int = request.param
    return shard


@pytest.fixture
def parent(stage: Stage) -> int:
    """A new parent on shard 0."""
    number = stage.pair.number(0)
    stage.pair.insert("parents", {"id": number, "name": f"name of {number}"})
    return number


def child_of(stage: Stage, parent: int, shard: int) -> dict[str, int]:
    """A child to insert."""
    return {"id": stage.pair.number(shard), "parent": parent}


@pytest.mark.parametrize("commits", [True, False])
def test_two_first_references_from_one_shard(stage: Stage, parent: int, child_shard: int, commits: bool) -> None:
    """The second waits until it is certain whether its shard has the parent's shadow."""
    gate = stage.gate(child_shard)
    refused = [] if commits else [insert("parents", {"id": 0, "value": -1})]
    stage.play(
        Session("first", insert("cascade", child_of(stage, parent, child_shard)), gate, *refused),
        Session("second", insert("cascade", child_of(stage, parent, child_shard))),
        gate,
        waits_longer=["second"],
    )


@pytest.mark.parametrize("referenced", [True, False])
def test_a_child_waits_for_a_parent_that_is_deleted_and_reinserted(
    stage: Stage, parent: int, child_shard: int, referenced: bool
) -> None:
    """PostgreSQL refuses the child if it waited for the old parent; Crosskey looks again and finds the new one."""
    if referenced:
        stage.pair.insert("cascade", child_of(stage, parent, child_shard))
    gate = stage.gate(2)
    stage.play_with_retry(
        Session("again", delete("parents", key={"id": parent}), insert("parents", {"id": parent}), gate),
        Session("child", insert("cascade", child_of(stage, parent, child_shard))),
        gate,
        lost=[FOREIGN_KEY_VIOLATION],
    )


def test_a_deferred_first_reference_holds_its_parent_from_the_statement_on(stage: Stage, parent: int) -> None:
    """PostgreSQL looks for the parent only at the commit, and may find it gone."""
    gate = stage.gate(1)
    plain, crosskey = stage.play_differently(
        Session("child", insert("deferred", child_of(stage, parent, 1)), gate),
        Session("parent", delete("parents", key={"id": parent})),
        gate,
    )
    assert plain[1]["parent"] == ("1",)
    assert isinstance(plain[-1]["child"], Refusal)
    assert crosskey[1]["parent"] == WAITS
    assert isinstance(crosskey[-1]["parent"], Refusal)


def test_a_row_that_moves_away_is_passed_over_by_who_waited_for_it(stage: Stage, parent: int) -> None:
    """PostgreSQL follows the row to its new key, where the condition is still true."""
    gate = stage.gate(2)
    plain, crosskey = stage.play_differently(
        Session("move", update("parents", {"id": stage.pair.number(1)}, key={"id": parent}), gate),
        Session("update", update("parents", {"value": 7}, where={"name": f"name of {parent}"})),
        gate,
    )
    assert plain[1]["update"] == crosskey[1]["update"] == WAITS
    assert plain[-1]["update"] != crosskey[-1]["update"] == ("",)


@pytest.mark.parametrize("commits", [True, False])
def test_a_child_waits_for_a_parent_whose_claim_is_prepared(stage: Stage, commits: bool) -> None:
    """An insert that one shard can commit prepares its claims before: only that shard knows whether it commits."""
    email = stage.pair.text(0)
    gate = stage.gate(1)
    ending = [] if commits else [insert("parents", {"id": stage.pair.number(1), "value": -1})]
    plain, crosskey = stage.play_differently(
        Session("parent", insert("members", {"id": stage.pair.number(1), "email": email}), gate, *ending),
        Session("child", insert("invitations_no_action", {"id": stage.pair.number(2), "guest": email})),
        gate,
    )
    assert isinstance(plain[1]["child"], Refusal)
    assert crosskey[1]["child"] == WAITS
    assert isinstance(crosskey[-1]["child"], Refusal) == (not commits)
