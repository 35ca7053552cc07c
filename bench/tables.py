"""What a run found, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from bench.interleaving import Comparison
from bench.measurements import CaseResult, ComparisonResult, Measurements
from bench.node_calls import NodeCalls
from bench.summary import Measure, Spread, Verdict

_COLOURS: dict[Verdict, str] = {"met": "green", "unclear": "yellow", "missed": "red"}

_MEASURES: dict[Measure, str] = {"time": "time", "rate": "rows/s", "processor": "processor time"}

WIDTH = 160
"""Of the tables, also where there is no terminal to ask."""


def results_table(measurements: Measurements) -> Table:
    """Each case: its contenders with times and rates, then their ratios."""
    setting = ", ".join(f"{name} {value}" for name, value in measurements.setting.items())
    table = Table(title="Crosskey and plain PostgreSQL, measured in turn", caption=setting, width=WIDTH)
    table.add_column("medians, with quartiles in brackets", no_wrap=True)
    for heading, width in (("ms", 22), ("processor ms", 12), ("rows/s", 8), ("ratio", 22)):
        table.add_column(heading, justify="right", no_wrap=True, min_width=width)
    table.add_column("aim", no_wrap=True, min_width=14)
    for case in measurements.cases:
        _add_case(table, case)
    return table


def node_calls_table(kinds: Iterable[NodeCalls]) -> Table:
    """Each kind of request with the calls that it took."""
    table = Table(
        title="Calls to nodes, of one request each",
        caption="Explain also names calls that follow the answer, and not those that only pins make necessary.",
        width=WIDTH,
    )
    for heading in ("request", "calls", "made before the answer", "named by Explain"):
        table.add_column(heading, overflow="fold")
    for kind in kinds:
        table.add_row(kind.kind, str(len(kind.made)), _short(kind.made), _short(kind.explained))
    return table


def _add_case(table: Table, case: CaseResult) -> None:
    table.add_section()
    table.add_row(f"[bold]{case.title}[/bold]")
    for one in case.contenders:
        rate = f"{one.rows_per_second.median:,.0f}"
        table.add_row(f"  {one.name}", spread_text(one.latency_ms), _digits(one.processor_ms), rate)
    for other in case.comparisons:
        question, ratio = f"  [dim]{_question(other.comparison)}[/dim]", spread_text(other.ratio)
        table.add_row(question, "", "", "", ratio, _verdict(other))


def spread_text(spread: Spread) -> str:
    """The median with its quartiles in brackets, each with three digits that count."""
    return f"{_digits(spread.median)} ({_digits(spread.low)}..{_digits(spread.high)})"


def _digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")


def _question(comparison: Comparison) -> str:
    measure = _MEASURES[comparison.measure]
    return f"{measure}, {comparison.subject} : {comparison.baseline}"


def _verdict(result: ComparisonResult) -> str:
    if result.verdict is None:
        return ""
    comparison = result.comparison
    bound = f"≤ {comparison.at_most:g}" if comparison.at_most is not None else f"≥ {comparison.at_least:g}"
    return f"[{_COLOURS[result.verdict]}]{bound} {result.verdict}[/]"


def _short(calls: Iterable[str]) -> str:
    """The calls without the service's name, which is the same for all."""
    return ", ".join(call.replace("ShardNode.", "") for call in calls)
