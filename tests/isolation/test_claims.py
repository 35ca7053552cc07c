"""Two sessions want one value of a unique key over all shards, or one takes what the other gives up."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from crosskey import delete, do_nothing, do_update, insert, update
from crosskey.requests import Write
from tests.isolation.script import Session
from tests.isolation.stage import Stage

CLAIM_SHARD = 0
"""Where the value is claimed that both sessions want."""

FAR = 2
"""The shard of the gates, so that who waits there has a transaction over several shards."""

ROLLBACK = insert("parents", {"id": 0, "value": -1})


@dataclass(frozen=True)
class Case:
    """On which shards the rows of the two sessions live, and how the first one ends."""

    shards: tuple[int, int]
    commits: bool

    def __str__(self) -> str:
        return f"{self.shards[0]}{self.shards[1]}-{'commit' if self.commits else 'rollback'}"

    @property
    def ending(self) -> list[Write]:
        """What the first session does at last: nothing more, or what rolls it back."""
        return [] if self.commits else [ROLLBACK]


CASES = [Case((0, 1), commits=True), Case((1, 2), commits=True), Case((1, 2), commits=False)]


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    """Each of them."""
    found: Case = request.param
    return found


@pytest.fixture
def email(stage: Stage) -> str:
    """A value that nobody has."""
    return stage.pair.text(CLAIM_SHARD)


def member(stage: Stage, shard: int, email: str | None = None) -> int:
    """A new row on that shard."""
    number = stage.pair.number(shard)
    stage.pair.insert("members", {"id": number, "email": email})
    return number


def play(stage: Stage, case: Case, first: Write, second: Write) -> None:
    """The first session has done its statement, and waits before its end, when the second one starts."""
    gate = stage.gate(FAR)
    stage.play(Session("first", first, gate, *case.ending), Session("second", second), gate)


def test_a_value_is_given_up_and_taken(stage: Stage, case: Case, email: str) -> None:
    one, other = member(stage, case.shards[0], email), member(stage, case.shards[1])
    play(
        stage,
        case,
        update("members", {"email": stage.pair.text(1)}, key={"id": one}),
        update("members", {"email": email}, key={"id": other}),
    )


def test_two_rows_get_one_value(stage: Stage, case: Case, email: str) -> None:
    one, other = member(stage, case.shards[0]), member(stage, case.shards[1])
    play(
        stage,
        case,
        update("members", {"email": email}, key={"id": one}),
        update("members", {"email": email}, key={"id": other}),
    )


def test_a_row_is_selected_by_a_value_that_it_gives_up(stage: Stage, case: Case, email: str) -> None:
    one = member(stage, case.shards[0], email)
    play(
        stage,
        case,
        update("members", {"email": stage.pair.text(1)}, key={"id": one}),
        update("members", {"value": 1}, where={"email": email}),
    )


def test_a_row_with_a_value_moves_and_the_value_is_wanted(stage: Stage, case: Case, email: str) -> None:
    one = member(stage, case.shards[0], email)
    play(
        stage,
        case,
        update("members", {"id": stage.pair.number(FAR)}, key={"id": one}),
        insert("members", {"id": stage.pair.number(case.shards[1]), "email": email}),
    )


Wanting = Callable[[Stage, int, str], Write]
"""A statement of a session whose row is on that shard and that wants that value."""


def inserts(stage: Stage, shard: int, email: str) -> Write:
    """Inserts a row with the value."""
    return insert("members", {"id": stage.pair.number(shard), "email": email})


def deletes(_stage: Stage, _shard: int, email: str) -> Write:
    """Deletes the row that has the value, wherever it is."""
    return delete("members", where={"email": email})


def skips(stage: Stage, shard: int, email: str) -> Write:
    """Inserts a row unless there is one with the value."""
    return insert("members", {"id": stage.pair.number(shard), "email": email}, on_conflict=do_nothing(["email"]))


def upserts(stage: Stage, shard: int, email: str) -> Write:
    """Inserts a row, or updates the one with the value."""
    row = {"id": stage.pair.number(shard), "email": email, "value": 1 + shard}
    return insert("members", row, on_conflict=do_update("value", on=["email"]))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *((inserts, second) for second in (inserts, deletes, skips, upserts)),
        *((upserts, second) for second in (inserts, deletes, skips, upserts)),
        (skips, upserts),
    ],
)
def test_a_new_value_is_wanted_by_two(stage: Stage, case: Case, email: str, first: Wanting, second: Wanting) -> None:
    play(stage, case, first(stage, case.shards[0], email), second(stage, case.shards[1], email))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        *((deletes, second) for second in (inserts, deletes, skips, upserts)),
        (upserts, deletes),
        (upserts, upserts),
        (skips, deletes),
    ],
)
def test_a_value_that_a_row_has_is_wanted_by_two(
    stage: Stage, case: Case, email: str, first: Wanting, second: Wanting
) -> None:
    member(stage, case.shards[0], email)
    play(stage, case, first(stage, case.shards[1], email), second(stage, case.shards[1], email))
