"""Processes that run one generated schema after the other, each on PostgreSQL servers of its own."""

from __future__ import annotations

import itertools
import multiprocessing
import queue
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Event
from random import Random

from tests.oracle.differential.anchored_families import anchored_families
from tests.oracle.differential.arena import Arena
from tests.oracle.differential.failure_script import SCRIPT
from tests.oracle.differential.machine import Run, run_examples
from tests.oracle.differential.shapes import FamilyMaker
from tests.oracle.differential.stage import Stage, stage
from tests.oracle.pair import DisagreementError

FAMILIES = 12
ANCHORED_FAMILIES = 4
OPERATIONS_A_SCHEMA = 3000
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Report:
    """What came of some operations on the schema of a seed, and on what the two sides disagree."""

    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    disagreement: str | None = None


class WorkerDiedError(Exception):
    """A worker ended for a reason of its own, which it has printed."""


class Workers:
    """Processes of which each takes every n-th seed from the first one on, until all are told to stop."""

    def __init__(self, count: int, first_seed: int) -> None:
        """Describes them; nothing runs yet."""
        # A copy of this process would have threads of gRPC that do not run.
        context = multiprocessing.get_context("spawn")
        self._reports: Queue[Report] = context.Queue()
        self._is_over: Event = context.Event()
        self._processes: list[BaseProcess] = [
            context.Process(target=_work, args=(first_seed + number, count, self._reports, self._is_over))
            for number in range(count)
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        """The workers run for the length of the context."""
        for process in self._processes:
            process.start()
        try:
            yield
        finally:
            self.stop()
            for process in self._processes:
                process.join()

    def stop(self) -> None:
        """Has each worker end after the example that it is at."""
        self._is_over.set()

    def reports(self) -> Iterator[Report | None]:
        """What the workers tell, until the last one has ended; None when for a while they tell nothing.

        Raises WorkerDiedError.
        """
        while True:
            are_running = any(process.is_alive() for process in self._processes)
            try:
                yield self._reports.get(timeout=POLL_SECONDS)
            except queue.Empty:
                yield None
                if any(process.exitcode for process in self._processes):
                    raise WorkerDiedError from None
                if not are_running:
                    return


def _work(first_seed: int, step: int, reports: Queue[Report], is_over: Event) -> None:
    with stage() as servers:
        for seed in itertools.count(first_seed, step):
            if _is_enough(is_over):
                break
            try:
                _run_schema(servers, seed, reports, is_over)
            except DisagreementError as disagreement:
                reports.put(Report(seed, disagreement=str(disagreement)))


def _is_enough(is_over: Event) -> bool:
    """Whether the workers were told to stop, or who would tell them is gone."""
    parent = multiprocessing.parent_process()
    return is_over.is_set() or (parent is not None and not parent.is_alive())


def _run_schema(servers: Stage, seed: int, reports: Queue[Report], is_over: Event) -> None:
    """Runs examples on the schema of the seed. Raises DisagreementError."""
    maker = FamilyMaker(Random(seed))
    families = [*(maker.family() for _ in range(FAMILIES)), *anchored_families(Random(seed), ANCHORED_FAMILIES)]
    with servers.judge("\n".join(family.ddl for family in families)) as judge:
        told: Counter[str] = Counter()

        def may_go_on() -> bool:
            reports.put(Report(seed, judge.counts - told))
            told.update(judge.counts - told)
            return not _is_enough(is_over) and judge.operations < OPERATIONS_A_SCHEMA

        run_examples(Run(Arena(judge, families), SCRIPT.with_stem(f"{SCRIPT.stem}-{seed}"), may_go_on), seed)
        judge.check_health()
    reports.put(Report(seed, Counter({"schemas": 1})))
