"""The state machine: Hypothesis drives both sides with the same operations and shrinks what they disagree on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar
from unittest import SkipTest

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException, InvalidArgument
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from crosskey import CrosskeyError
from tests.oracle.differential.arena import Arena
from tests.oracle.differential.failure_script import failure_script
from tests.oracle.differential.family import Family
from tests.oracle.differential.judge import OrderDecidesError
from tests.oracle.differential.keys import KeyMaker
from tests.oracle.differential.operations import Operation
from tests.oracle.differential.strategies import FamilyStrategies, shard_patterns
from tests.oracle.pair import DisagreementError

OPERATIONS = 15
"""In one example, at most."""

SHRINK_SECONDS = 60.0

_SETTINGS = settings(
    stateful_step_count=OPERATIONS,
    max_examples=1_000_000,
    deadline=None,
    database=None,
    # The others only tell what else could be varied, or how the failure was found before.
    phases=(Phase.generate, Phase.shrink),
    report_multiple_bugs=False,
    print_blob=False,
    suppress_health_check=list(HealthCheck),
)


class Run:
    """What the examples of a run share.

    No example begins once `may_go_on` says no. A failure is shrunk for some time more.
    """

    def __init__(self, arena: Arena, script: Path, may_go_on: Callable[[], bool]) -> None:
        self.arena = arena
        self.keys = KeyMaker()
        self.strategies = {family.name: FamilyStrategies(family) for family in arena.families}
        self.disagreement: str | None = None
        self._found_after = 0
        self._script = script
        self._may_go_on = may_go_on

    def begin_example(self) -> None:
        """Raises SkipTest when it is enough."""
        if not self._may_go_on():
            raise SkipTest("it is enough")
        self.arena.judge.counts["examples"] += 1

    def note_failure(self, family: Family, operations: list[Operation], why: str) -> None:
        """Writes the failure down as a script; the last one written is the shortest one."""
        if self.disagreement is None:
            self._may_go_on = for_seconds(SHRINK_SECONDS)
            self._found_after = self.arena.judge.operations
        text = failure_script(family, operations, why)
        found = f"It was found after {self._found_after} operations on this schema."
        self.disagreement = f"{why}\n\n{text}\nThis script is {self._script}\n{found}"
        self._script.parent.mkdir(parents=True, exist_ok=True)
        self._script.write_text(text)


def for_seconds(seconds: float) -> Callable[[], bool]:
    """Whether so much time has not yet gone by since now."""
    ends_at = time.monotonic() + seconds
    return lambda: time.monotonic() < ends_at


class Differential(RuleBasedStateMachine):
    """One example: a family, keys on chosen shards, and operations on both sides."""

    run: ClassVar[Run]

    def __init__(self) -> None:
        super().__init__()
        self._done: list[Operation] = []
        self._family: Family | None = None
        self._over = False

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        """Chooses a family and keys; puts the first rows into its tables, which are empty."""
        self.run.begin_example()
        self._family = data.draw(st.sampled_from(self.run.arena.families))
        shards = data.draw(shard_patterns)
        self._may = self.run.strategies[self._family.name]
        self._may.keys = self.run.keys.keys(self._family.key_type, shards)
        self.run.arena.clear(self._family)
        for first_rows in self._may.first_rows:
            self._do(data.draw(first_rows))

    @rule(data=st.data())
    def operate(self, data: st.DataObject) -> None:
        """Does something."""
        self._do(data.draw(self._may.operations))

    def teardown(self) -> None:
        """Looks at what clients cannot see."""
        if self._family is not None:
            with self._noting_failure(self._family):
                self.run.arena.check_guards(self._family)

    def _do(self, operation: Operation) -> None:
        assert self._family is not None, "an example begins with its family"
        if self._over:
            return
        self._done.append(operation)
        with self._noting_failure(self._family), self._ending_where_order_decides():
            with suppress(CrosskeyError):
                operation.run(self.run.arena.judge)
            self.run.arena.check_tables(self._family)

    @contextmanager
    def _ending_where_order_decides(self) -> Iterator[None]:
        try:
            yield
        except OrderDecidesError:
            self._over = True

    @contextmanager
    def _noting_failure(self, family: Family) -> Iterator[None]:
        try:
            yield
        except DisagreementError as disagreement:
            self.run.note_failure(family, self._done, str(disagreement))
            raise
        except Exception as fault:
            # A fault of the tester's own: it would be shrunk, and then pass for the end of the run.
            self.run.note_failure(family, self._done, f"the tester itself fails: {fault!r}")
            raise DisagreementError(repr(fault)) from fault


def run_examples(run: Run, seed_number: int) -> None:
    """Runs examples until it is enough. Raises DisagreementError for the shortest failure, if there is one."""

    class Example(Differential):
        pass

    Example.run = run
    try:
        run_state_machine_as_test(seed(seed_number)(Example), settings=_SETTINGS)
    except InvalidArgument:
        # A strategy is wrong: nothing would be drawn by it.
        raise
    except (SkipTest, HypothesisException, DisagreementError):
        # It is enough, of which Hypothesis may only say that this example was shorter than it should be; or there is
        # a disagreement, be it one that does not come again.
        if run.disagreement is not None:
            raise DisagreementError(run.disagreement) from None
