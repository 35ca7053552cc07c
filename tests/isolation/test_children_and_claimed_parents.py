"""A child is written while its parent, whose key is claimed, goes or gets another key, in both orders."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from crosskey import delete, insert, update
from crosskey.requests import Write
from tests.isolation.families import SOME_ACTIONS
from tests.isolation.script import Session
from tests.isolation.stage import Stage

CLAIM_SHARD = 0
OTHER_CLAIM_SHARD = 1
FAR = 2


@dataclass(frozen=True)
class Case:
    """Where a parent and its child live, whether it has one already, and how the first session ends."""

    parent_shard: int
    child_shard: int
    referenced: bool
    commits: bool

    def __str__(self) -> str:
        places = f"{self.parent_shard}{self.child_shard}"
        return f"{places}-{'referenced' if self.referenced else 'new'}-{'commit' if self.commits else 'rollback'}"

    @property
    def ending(self) -> list[Write]:
        """What the first session does at last: nothing more, or what rolls it back."""
        return [] if self.commits else [insert("parents", {"id": 0, "value": -1})]


CASES = [
    Case(0, 1, referenced=False, commits=True),
    Case(1, 1, referenced=False, commits=True),
    Case(1, 2, referenced=True, commits=True),
    Case(1, 2, referenced=False, commits=False),
]


def goes(_stage: Stage, parent: int) -> Write:
    """The parent is deleted."""
    return delete("members", key={"id": parent})


def is_renamed(stage: Stage, parent: int) -> Write:
    """The parent gets another value, claimed on another shard."""
    return update("members", {"email": stage.pair.text(OTHER_CLAIM_SHARD)}, key={"id": parent})


Change = Callable[[Stage, int], Write]

pytestmark = [
    pytest.mark.parametrize("change", [goes, is_renamed]),
    pytest.mark.parametrize("action", SOME_ACTIONS),
    pytest.mark.parametrize("case", CASES, ids=str),
]


@pytest.fixture
def email(stage: Stage) -> str:
    """A value that nobody has."""
    return stage.pair.text(CLAIM_SHARD)


@pytest.fixture
def parent(stage: Stage, case: Case, action: str, email: str) -> int:
    """The row that has the value."""
    number = stage.pair.number(case.parent_shard)
    stage.pair.insert("members", {"id": number, "email": email})
    if case.referenced:
        stage.pair.insert(f"invitations_{action}", {"id": stage.pair.number(case.child_shard), "guest": email})
    return number


@pytest.fixture
def child(stage: Stage, case: Case, action: str, email: str) -> Write:
    """The insert of a row that references the value."""
    return insert(f"invitations_{action}", {"id": stage.pair.number(case.child_shard), "guest": email})


def play(stage: Stage, case: Case, first: Write, second: Write) -> None:
    """The first session has done its statement, and waits before its end, when the second one starts."""
    gate = stage.gate(FAR)
    stage.play(Session("first", first, gate, *case.ending), Session("second", second), gate)


def test_the_child_is_first(stage: Stage, case: Case, parent: int, child: Write, change: Change) -> None:
    play(stage, case, child, change(stage, parent))


def test_the_parent_is_first(stage: Stage, case: Case, parent: int, child: Write, change: Change) -> None:
    play(stage, case, change(stage, parent), child)
