"""Pauses before something is tried again: they grow, differ and end."""

from itertools import islice

import pytest

from crosskey.pauses import growing_pauses


def test_each_pause_is_up_to_twice_as_long_as_the_one_before() -> None:
    bounds = [0.1, 0.2, 0.4, 0.5, 0.5]
    for pause, bound in zip(growing_pauses(0.1, 0.5), bounds, strict=False):
        assert bound / 2 <= pause <= bound


def test_two_that_failed_together_wait_differently_long() -> None:
    assert [*islice(growing_pauses(1.0, 8.0), 5)] != [*islice(growing_pauses(1.0, 8.0), 5)]


def test_they_end_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("crosskey.pauses.monotonic", lambda: now)
    patient = growing_pauses(0.1, 0.5, within=2.0)
    assert next(patient, None) is not None
    now = 101.9
    assert next(patient, None) is not None
    now = 102.0
    assert next(patient, None) is None


def test_no_time_is_no_pause() -> None:
    assert next(growing_pauses(0.1, 0.5, within=0.0), None) is None
