"""What one run found, in the form in which it is printed and saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bench.interleaving import Case, Comparison
from bench.node_calls import NodeCalls
from bench.summary import Slice, Spread, Verdict, latency_ms, processor_ms, ratio, rows_per_second, verdict


@dataclass(frozen=True)
class ContenderResult:
    """How one contender did."""

    name: str
    at_once: int
    latency_ms: Spread
    rows_per_second: Spread
    processor_ms: float
    """Of an operation, in all processes together, PostgreSQL's and the client's too."""


@dataclass(frozen=True)
class ComparisonResult:
    """How many times the baseline's time or rate the subject took or gave. `verdict` is None if there is no aim."""

    comparison: Comparison
    ratio: Spread
    verdict: Verdict | None


@dataclass(frozen=True)
class CaseResult:
    """One case."""

    title: str
    contenders: list[ContenderResult]
    comparisons: list[ComparisonResult]


@dataclass
class Measurements:
    """A whole run, as far as it came. `setting` says on what it ran."""

    setting: dict[str, str]
    cases: list[CaseResult] = field(default_factory=list)
    node_calls: list[NodeCalls] = field(default_factory=list)


def evaluated(case: Case, slices: Mapping[str, Sequence[Slice]]) -> CaseResult:
    """What the slices of a case's contenders, by name, come to."""
    return CaseResult(
        case.title,
        [
            ContenderResult(
                one.name,
                one.at_once,
                latency_ms(slices[one.name]),
                rows_per_second(slices[one.name]),
                processor_ms(slices[one.name]),
            )
            for one in case.contenders
        ],
        [_compared(comparison, slices) for comparison in case.comparisons],
    )


def _compared(comparison: Comparison, slices: Mapping[str, Sequence[Slice]]) -> ComparisonResult:
    times = ratio(slices[comparison.subject], slices[comparison.baseline], comparison.measure)
    return ComparisonResult(comparison, times, verdict(times, comparison.at_most, comparison.at_least))
