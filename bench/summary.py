"""What the measured slices come to: medians, spreads, ratios. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Measure: TypeAlias = Literal["time", "rate", "processor"]
"""Seconds of an operation, rows a second, or processor seconds of an operation."""

Verdict: TypeAlias = Literal["met", "unclear", "missed"]

LEAST_PROCESSOR_SECONDS = 0.01
"""The kernel counts no less of a process that has ended or runs."""


@dataclass(frozen=True)
class Slice:
    """Operations of one contender without a break: the seconds that each took, and that all took together."""

    latencies: Sequence[float]
    seconds: float
    at_once: int
    rows_per_operation: int
    processor_seconds: float = 0.0
    """That all processes together used for them."""

    @property
    def typical_seconds(self) -> float:
        """What one operation costs: its median alone; with others at once, its share of the time they took together."""
        return statistics.median(self.latencies) if self.at_once == 1 else self.seconds / len(self.latencies)

    @property
    def rows_per_second(self) -> float:
        """The rate at which rows are written or read."""
        return self.rows_per_operation / self.typical_seconds


@dataclass(frozen=True)
class Spread:
    """The median, and the quartiles around it."""

    median: float
    low: float
    high: float


def spread(values: Iterable[float]) -> Spread:
    """The spread of one value or more. Raises ValueError if there is none."""
    known = list(values)
    if not known:
        raise ValueError("nothing was measured")
    if len(known) == 1:
        return Spread(known[0], known[0], known[0])
    low, median, high = statistics.quantiles(known, n=4, method="inclusive")
    return Spread(median, low, high)


def latency_ms(slices: Iterable[Slice]) -> Spread:
    """How long an operation took, over all slices."""
    return spread(latency * 1000 for one in slices for latency in one.latencies)


def processor_ms(slices: Sequence[Slice]) -> float:
    """The processor time of an operation, over all slices: a slice is too short for the kernel's ticks."""
    return 1000 * sum(one.processor_seconds for one in slices) / sum(len(one.latencies) for one in slices)


def rows_per_second(slices: Iterable[Slice]) -> Spread:
    """The rate of rows, over the slices."""
    return spread(one.rows_per_second for one in slices)


def ratio(subject: Sequence[Slice], baseline: Sequence[Slice], measure: Measure) -> Spread:
    """The subject over the baseline, round by round: what slows down a whole round does not count.

    Raises ValueError if they do not have the same number of rounds.
    """
    measured = _MEASURED[measure]
    return spread(measured(one) / measured(other) for one, other in zip(subject, baseline, strict=True))


_MEASURED: dict[Measure, Callable[[Slice], float]] = {
    "time": lambda one: one.typical_seconds,
    "rate": lambda one: one.rows_per_second,
    "processor": lambda one: max(one.processor_seconds, LEAST_PROCESSOR_SECONDS) / len(one.latencies),
}


def verdict(ratio: Spread, at_most: float | None, at_least: float | None) -> Verdict | None:
    """Whether a ratio is within its bound, of which there may be one; None if there is none.

    Unclear if the bound lies between the quartiles. Of some two dozen rounds, these are about as far apart as the
    limits between which the true median lies with 95 % confidence.
    """
    if at_most is not None:
        return _verdict(within=ratio.high <= at_most, beyond=ratio.low > at_most)
    if at_least is not None:
        return _verdict(within=ratio.low >= at_least, beyond=ratio.high < at_least)
    return None


def _verdict(*, within: bool, beyond: bool) -> Verdict:
    if within:
        return "met"
    return "missed" if beyond else "unclear"
