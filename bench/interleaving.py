"""Runs contenders in turn, slice by slice: what slows the machine down for a while slows down all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TypeAlias

from bench.processor import processor_seconds
from bench.summary import Measure, Slice

ROUNDS = 24
"""Many short ones: the closer two slices are, the more of what disturbs them they share."""

FEWEST_ROUNDS = 6
"""However slow the machine is: with fewer, quartiles would say little."""

PATIENCE = 2.0
"""A case that takes so many times its seconds, preparations included, ends with fewer rounds."""

WARM_UP_SECONDS = 0.3
"""At least so long, so that every connection has its statements prepared and planned for good."""

SETTLE_SECONDS = 0.02
"""Between slices: what the servers still do after their last answer is not charged to whoever comes next."""

FEWEST_OPERATIONS = 3
MOST_OPERATIONS = 5000

Operation: TypeAlias = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Contender:
    """One side of a case. `prepare` makes ready that many operations, untimed; each then writes or reads `rows`.

    If it has a process of its own for them, `run_all` carries out so many instead, and answers the seconds that each
    took.
    """

    name: str
    prepare: Callable[[int], Awaitable[Sequence[Operation]]] = field(default_factory=lambda: _nothing)
    at_once: int = 1
    rows: int = 1
    run_all: Callable[[int], Awaitable[list[float]]] | None = None


@dataclass(frozen=True)
class Comparison:
    """What a case is measured for: how many times the baseline's time, or rate of rows, the subject takes or gives."""

    subject: str
    baseline: str
    measure: Measure = "time"
    at_most: float | None = None
    at_least: float | None = None


@dataclass(frozen=True)
class Case:
    """Contenders that are measured in turn, and what is then compared."""

    title: str
    contenders: Sequence[Contender]
    comparisons: Sequence[Comparison]


async def run_case(case: Case, seconds: float) -> dict[str, list[Slice]]:
    """The slices of each contender, by name and round; measured for about `seconds` altogether."""
    deadline = perf_counter() + PATIENCE * seconds
    slice_seconds = seconds / (ROUNDS * len(case.contenders))
    counts = {contender.name: await _warm_up(contender, slice_seconds) for contender in case.contenders}
    slices: dict[str, list[Slice]] = {contender.name: [] for contender in case.contenders}
    for number in range(ROUNDS):
        if number >= FEWEST_ROUNDS and perf_counter() > deadline:
            break
        # Every other round goes backwards, so that on average nobody comes later than another.
        for contender in case.contenders if number % 2 == 0 else reversed(case.contenders):
            slices[contender.name].append(await _slice(contender, counts[contender.name]))
    return slices


async def _warm_up(contender: Contender, slice_seconds: float) -> int:
    """Runs the contender untold, and answers how many operations fill a slice."""
    fewest = max(FEWEST_OPERATIONS, 2 * contender.at_once)
    first = await _slice(contender, fewest)
    enough = _fitting(first, WARM_UP_SECONDS, fewest)
    return _fitting(await _slice(contender, enough), slice_seconds, fewest)


def _fitting(measured: Slice, seconds: float, fewest: int) -> int:
    """How many operations take so long, going by a slice that was measured."""
    return min(max(round(seconds / measured.seconds * len(measured.latencies)), fewest), MOST_OPERATIONS)


async def _slice(contender: Contender, count: int) -> Slice:
    operations = await contender.prepare(count)
    await asyncio.sleep(SETTLE_SECONDS)
    used_before = processor_seconds()
    started = perf_counter()
    if contender.run_all is None:
        latencies = await _run_all(operations, contender.at_once)
    else:
        latencies = await contender.run_all(count)
    seconds = perf_counter() - started
    return Slice(latencies, seconds, contender.at_once, contender.rows, processor_seconds() - used_before)


async def _run_all(operations: Sequence[Operation], at_once: int) -> list[float]:
    """Carries out operations, so many at once; the seconds that each took."""
    left = iter(operations)
    latencies: list[float] = []

    async def work() -> None:
        for operation in left:
            started = perf_counter()
            await operation()
            latencies.append(perf_counter() - started)

    async with asyncio.TaskGroup() as workers:
        for _ in range(at_once):
            workers.create_task(work())
    return latencies


async def _nothing(_: int) -> Sequence[Operation]:
    return []
