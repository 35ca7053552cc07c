"""A child is written while its parent, whose key is claimed, is inserted by a transaction that is not committed."""

import pytest

from crosskey import delete, insert, update
from crosskey.requests import Write
from tests.isolation.script import Gate, Session
from tests.isolation.stage import Stage

CLAIM_SHARD = 0
PARENT_SHARD = 1
CHILD_SHARDS = (0, 1, 2)


@pytest.fixture
def email(stage: Stage) -> str:
    """A value that nobody has."""
    return stage.pair.text(CLAIM_SHARD)


@pytest.fixture(params=CHILD_SHARDS)
def child(request: pytest.FixtureRequest, stage: Stage, email: str) -> Write:
    """The insert of a row that references the value."""
    return insert("invitations_no_action", {"id": stage.pair.number(request.param), "guest": email})


def play(stage: Stage, gate: Gate, child: Write, *parent: Write, commits: bool = True) -> None:
    """The child comes while the parent's transaction waits, having inserted the parent."""
    ending = [] if commits else [insert("parents", {"id": 0, "value": -1})]
    stage.play(Session("parent", *parent, gate, *ending), Session("child", child), gate)


@pytest.mark.parametrize("parent_shard", [CLAIM_SHARD, PARENT_SHARD])
@pytest.mark.parametrize("commits", [True, False])
def test_a_parent_that_is_not_committed_is_none(
    stage: Stage, email: str, child: Write, parent_shard: int, commits: bool
) -> None:
    parent = insert("members", {"id": stage.pair.number(parent_shard), "email": email})
    play(stage, stage.gate(2), child, parent, commits=commits)


def test_a_parent_that_gets_the_value_is_none_until_it_is_committed(stage: Stage, email: str, child: Write) -> None:
    parent = stage.pair.number(PARENT_SHARD)
    stage.pair.insert("members", {"id": parent, "email": stage.pair.text(2)})
    play(stage, stage.gate(2), child, update("members", {"email": email}, key={"id": parent}))


def test_a_value_that_goes_from_row_to_row_is_waited_for(stage: Stage, email: str, child: Write) -> None:
    """The old row is seen, so it is waited for; PostgreSQL then finds it gone, and Crosskey the new one."""
    old, new = (stage.pair.number(shard) for shard in (PARENT_SHARD, 2))
    stage.pair.insert("members", {"id": old, "email": email})
    gate = stage.gate(2)
    stage.play_with_retry(
        Session("parent", delete("members", key={"id": old}), insert("members", {"id": new, "email": email}), gate),
        Session("child", child),
        gate,
        lost=["23503"],
    )
