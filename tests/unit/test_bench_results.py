"""From measured slices to the printed table."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import pytest
from rich.console import Console
from rich.table import Table

from bench.interleaving import ROUNDS, Case, Comparison, Contender, Operation, run_case
from bench.measurements import Measurements, evaluated
from bench.node_calls import NodeCalls, costs_one_call_as_explained
from bench.processor import processor_seconds
from bench.summary import Slice, Spread, latency_ms, processor_ms, ratio, spread, verdict
from bench.tables import WIDTH, node_calls_table, results_table, spread_text


async def nothing_to_prepare(_: int) -> Sequence[Operation]:
    return []


def alone(*latencies: float, rows: int = 1) -> Slice:
    return Slice(latencies, sum(latencies), at_once=1, rows_per_operation=rows)


def test_a_spread_is_the_median_between_its_quartiles() -> None:
    assert spread([5, 1, 4, 2, 3]) == Spread(3, 2, 4)
    assert spread([7]) == Spread(7, 7, 7)
    with pytest.raises(ValueError, match="nothing was measured"):
        spread([])


def test_an_operation_costs_its_share_of_the_processor_time_of_all_slices() -> None:
    slices = [Slice([0.1] * 3, 0.3, 1, 1, processor_seconds=0.02), Slice([0.1] * 7, 0.7, 1, 1, processor_seconds=0.08)]
    assert processor_ms(slices) == pytest.approx(10)


def test_the_processor_time_of_what_was_started_counts() -> None:
    before = processor_seconds()
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint('busy', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        while_it_lives = processor_seconds() - before
        child.communicate(b"\n")
    assert while_it_lives >= 0.25
    assert processor_seconds() - before >= while_it_lives - 0.05


def test_alone_an_operation_costs_its_median() -> None:
    assert alone(0.001, 0.002, 0.9).typical_seconds == 0.002


def test_at_once_an_operation_costs_its_share_of_the_time() -> None:
    assert Slice([0.5, 0.5, 0.5, 0.5], 1.0, at_once=2, rows_per_operation=1).typical_seconds == 0.25


def test_latencies_of_all_slices_count() -> None:
    assert latency_ms([alone(0.001, 0.002), alone(0.003)]).median == 2


def test_a_round_that_was_slow_for_both_does_not_change_the_ratio() -> None:
    subject, baseline = [alone(0.002), alone(0.2)], [alone(0.001), alone(0.1)]
    assert ratio(subject, baseline, "time") == Spread(2, 2, 2)


def test_rates_are_compared_by_row() -> None:
    assert ratio([alone(0.1, rows=1000)], [alone(0.01)], "rate").median == pytest.approx(100)


def test_contenders_without_the_same_rounds_are_not_compared() -> None:
    with pytest.raises(ValueError, match="longer"):
        ratio([alone(0.1)], [alone(0.1), alone(0.1)], "time")


@pytest.mark.parametrize(
    ("low", "high", "at_most", "at_least", "expected"),
    [
        (1.0, 1.1, 1.1, None, "met"),
        (1.0, 1.2, 1.1, None, "unclear"),
        (1.11, 1.2, 1.1, None, "missed"),
        (15, 20, None, 15, "met"),
        (14, 20, None, 15, "unclear"),
        (13, 14, None, 15, "missed"),
        (14, 20, None, None, None),
    ],
)
def test_an_aim_between_the_quartiles_is_unclear(
    low: float, high: float, at_most: float | None, at_least: float | None, expected: str | None
) -> None:
    assert verdict(Spread((low + high) / 2, low, high), at_most, at_least) == expected


@pytest.mark.parametrize(
    ("value", "text"),
    [(Spread(1234.5, 0.01234, 10), "1,234 (0.0123..10.0)"), (Spread(100, 99.96, 12.34), "100 (100..12.3)")],
)
def test_three_digits_are_shown(value: Spread, text: str) -> None:
    assert spread_text(value) == text


def test_the_table_names_contenders_ratios_and_aims() -> None:
    case = Case(
        "racing",
        [Contender("hare", nothing_to_prepare), Contender("tortoise", nothing_to_prepare)],
        [Comparison("hare", "tortoise", at_most=1.1), Comparison("tortoise", "hare", at_most=1.1)],
    )
    result = evaluated(case, {"hare": [alone(0.001)], "tortoise": [alone(0.004)]})
    assert [one.verdict for one in result.comparisons] == ["met", "missed"]
    text = shown(results_table(Measurements({"shards": "3"}, [result])))
    for part in (
        "racing",
        "1.00 (1.00..1.00)",
        "time, hare : tortoise",
        "0.250 (0.250..0.250)",
        "met",
        "missed",
        "shards 3",
    ):
        assert part in text


def test_the_table_of_calls_shows_them_beside_the_explanation() -> None:
    text = shown(node_calls_table([NodeCalls("Get", ["s1 ShardNode.Read"], ["s0 ShardNode.Read"])]))
    assert "s1 Read" in text
    assert "s0 Read" in text


def test_one_call_as_explained_is_neither_another_nor_two() -> None:
    assert costs_one_call_as_explained(NodeCalls("", ["s0 A"], ["s0 A"]))
    assert not costs_one_call_as_explained(NodeCalls("", ["s0 A"], ["s1 A"]))
    assert not costs_one_call_as_explained(NodeCalls("", ["s0 A", "s1 A"], ["s0 A", "s1 A"]))


async def test_contenders_take_turns_and_each_begins_every_other_round() -> None:
    turns: list[str] = []
    prepared, performed = Counter[str](), Counter[str]()

    def contender(name: str, at_once: int) -> Contender:
        async def operation() -> None:
            performed[name] += 1

        async def prepare(count: int) -> Sequence[Operation]:
            turns.append(name)
            prepared[name] += count
            return [operation] * count

        return Contender(name, prepare, at_once)

    slices = await run_case(Case("race", [contender("a", 1), contender("b", 4)], []), seconds=10)
    assert "".join(turns).endswith("abba" * (ROUNDS // 2))
    assert performed == prepared
    assert [len(slices[name]) for name in "ab"] == [ROUNDS, ROUNDS]


def shown(table: Table) -> str:
    console = Console(width=WIDTH, record=True)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_processor_time_is_compared_by_operation() -> None:
    cheap = [Slice([0.1] * 4, 0.4, 1, 1, processor_seconds=0.04)]
    dear = [Slice([0.1] * 2, 0.2, 1, 1, processor_seconds=0.06)]
    assert ratio(dear, cheap, "processor").median == pytest.approx(3)


def test_a_contender_with_a_process_of_its_own_answers_what_each_operation_took() -> None:
    asked: list[int] = []

    async def run_all(count: int) -> list[float]:
        asked.append(count)
        return [0.5] * count

    case = Case("read", [Contender("compiled", at_once=2, run_all=run_all)], [])
    slices = asyncio.run(run_case(case, 0.1))["compiled"]
    assert [len(one.latencies) for one in slices] == asked[-len(slices) :]
