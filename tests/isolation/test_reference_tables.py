"""Sessions that meet at a row which every shard has, or at a row of one shard which such rows reference."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from crosskey import column, delete, insert, update
from crosskey.requests import Write
from tests.isolation.families import SOME_ACTIONS
from tests.isolation.script import Session
from tests.isolation.stage import Stage


@dataclass(frozen=True)
class Case:
    """Where the sharded row lives, and how the first session ends."""

    shard: int
    commits: bool

    def __str__(self) -> str:
        return f"{self.shard}-{'commit' if self.commits else 'rollback'}"

    @property
    def ending(self) -> list[Write]:
        """What the first session does at last: nothing more, or what rolls it back."""
        return [] if self.commits else [insert("parents", {"id": 0, "value": -1})]


@pytest.fixture(params=[Case(0, commits=True), Case(2, commits=True), Case(2, commits=False)], ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    """Each of them."""
    found: Case = request.param
    return found


@pytest.fixture
def currency(stage: Stage) -> int:
    """A new row on every shard."""
    number = stage.pair.number(0)
    stage.pair.insert("currencies", {"code": number})
    return number


def play(stage: Stage, case: Case, first: Write, second: Write, gate_shard: int = 1) -> None:
    """The first session has done its statement, and waits before its end, when the second one starts."""
    gate = stage.gate(gate_shard)
    stage.play(Session("first", first, gate, *case.ending), Session("second", second), gate)


def currency_goes(_stage: Stage, currency: int) -> Write:
    """It is deleted."""
    return delete("currencies", key={"code": currency})


def currency_is_renamed(stage: Stage, currency: int) -> Write:
    """It gets another key."""
    return update("currencies", {"code": stage.pair.number(0)}, key={"code": currency})


def currency_counts(_stage: Stage, currency: int) -> Write:
    """Another column is updated."""
    return update("currencies", {"value": column("value") + 1}, key={"code": currency})


CHANGES = [currency_goes, currency_is_renamed, currency_counts]
Change = Callable[[Stage, int], Write]


def account(stage: Stage, action: str, shard: int, currency: int) -> Write:
    """Inserts a sharded child of a reference row."""
    return insert(f"accounts_{action}", {"id": stage.pair.number(shard), "currency": currency})


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("action", SOME_ACTIONS)
def test_a_child_comes_and_then_its_reference_row_changes(
    stage: Stage, case: Case, currency: int, action: str, change: Change
) -> None:
    play(stage, case, account(stage, action, case.shard, currency), change(stage, currency), gate_shard=case.shard)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("action", SOME_ACTIONS)
def test_a_reference_row_changes_and_then_a_child_comes(
    stage: Stage, case: Case, currency: int, action: str, change: Change
) -> None:
    play(stage, case, change(stage, currency), account(stage, action, case.shard, currency))


@pytest.mark.parametrize("case", [Case(0, commits=True), Case(0, commits=False)], ids=str, indirect=True)
@pytest.mark.parametrize("second", CHANGES)
@pytest.mark.parametrize("first", CHANGES)
def test_two_write_one_reference_row(stage: Stage, case: Case, currency: int, first: Change, second: Change) -> None:
    play(stage, case, first(stage, currency), second(stage, currency))


def test_one_reference_row_is_inserted_twice(stage: Stage, case: Case) -> None:
    row = {"code": stage.pair.number(0)}
    play(stage, case, insert("currencies", row), insert("currencies", row))


def test_three_sessions_add_to_one_reference_row(stage: Stage, currency: int) -> None:
    add = currency_counts(stage, currency)
    gates = stage.gate(1), stage.gate(2)
    stage.play(Session("a", add, gates[0]), Session("b", add, gates[1]), gates[0], Session("c", add), gates[1])


def parent_goes(_stage: Stage, parent: int) -> Write:
    """It is deleted."""
    return delete("parents", key={"id": parent})


def parent_moves(stage: Stage, parent: int) -> Write:
    """It gets a key of another shard."""
    return update("parents", {"id": stage.pair.number(1)}, key={"id": parent})


@pytest.fixture
def parent(stage: Stage, case: Case) -> int:
    """A new row of one shard."""
    number = stage.pair.number(case.shard)
    stage.pair.insert("parents", {"id": number})
    return number


@pytest.mark.parametrize("change", [parent_goes, parent_moves])
@pytest.mark.parametrize("action", SOME_ACTIONS)
def test_a_reference_row_comes_and_then_its_parent_changes(
    stage: Stage, case: Case, parent: int, action: str, change: Change
) -> None:
    banner = insert(f"banners_{action}", {"id": stage.pair.number(0), "parent": parent})
    play(stage, case, banner, change(stage, parent))


@pytest.mark.parametrize("change", [parent_goes, parent_moves])
@pytest.mark.parametrize("action", SOME_ACTIONS)
def test_a_parent_changes_and_then_a_reference_row_comes(
    stage: Stage, case: Case, parent: int, action: str, change: Change
) -> None:
    banner = insert(f"banners_{action}", {"id": stage.pair.number(0), "parent": parent})
    play(stage, case, change(stage, parent), banner)
