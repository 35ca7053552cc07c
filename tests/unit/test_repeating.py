"""Which calls a client repeats, and what is raised when the time is over."""

from __future__ import annotations

from collections import Counter

import pytest

from crosskey import _operations as operations
from crosskey import errors
from crosskey._operations import Call
from crosskey.repeating import Attempts


def lost() -> errors.ShardUnavailable:
    """A call that was sent, and was not answered."""
    error = errors.ShardUnavailable("the router ended the connection")
    error.answered = error.retryable = False
    return error


def deletion() -> Call[int]:
    return operations.delete("users", key={"id": 1})


def test_each_write_has_an_id_of_its_own_and_keeps_it() -> None:
    first, second = deletion(), deletion()
    attempts = Attempts(first, 10, Counter())
    given = first.request.request_id  # type: ignore[attr-defined]
    attempts.pause_after(lost())
    Attempts(second, 10, Counter())
    assert given
    assert first.request.request_id == given  # type: ignore[attr-defined]
    assert second.request.request_id != given  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "error",
    [lost(), errors.Conflict("x"), errors.Overloaded("x"), errors.OutcomeUnknown("x")],
    ids=lambda e: e.reason_name,
)
def test_what_may_be_over_soon_is_repeated_and_counted(error: errors.CrosskeyError) -> None:
    repeated = Counter[str]()
    for call in (deletion(), operations.count("users")):
        assert Attempts(call, 10, repeated).pause_after(error) > 0
    assert repeated == {error.reason_name: 2}


@pytest.mark.parametrize(
    "error", [errors.UniqueViolation("x"), errors.RequestIdReused("x"), errors.DeadlineExceeded("x")]
)
def test_what_is_an_answer_is_raised(error: errors.CrosskeyError) -> None:
    with pytest.raises(type(error)):
        Attempts(deletion(), 10, Counter()).pause_after(error)


def test_calls_for_operators_are_not_repeated() -> None:
    with pytest.raises(errors.ShardUnavailable):
        Attempts(operations.audit(), 10, Counter()).pause_after(lost())


def test_at_the_deadline_a_write_that_may_be_done_is_not_called_undone() -> None:
    attempts = Attempts(deletion(), 0.001, Counter())
    with pytest.raises(errors.OutcomeUnknown):
        attempts.pause_after(lost())
    with pytest.raises(errors.OutcomeUnknown):
        attempts.pause_after(errors.Conflict("x"))
    with pytest.raises(errors.Conflict):
        Attempts(deletion(), 0.001, Counter()).pause_after(errors.Conflict("x"))
    with pytest.raises(errors.ShardUnavailable):
        Attempts(operations.count("users"), 0.001, Counter()).pause_after(lost())
