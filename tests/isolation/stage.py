"""Plays one script on both sides, step by step, and compares who waits, who fails and what the tables hold."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeAlias

import psycopg

from tests.eventually import eventually
from tests.isolation.script import Gate, Session, Step
from tests.isolation.sides import RUNS, UNFINISHED, WAITS, CrosskeySide, Observation, PlainSide, Side, State
from tests.oracle.outcome import Refusal
from tests.oracle.pair import DisagreementError, Pair

SESSIONS = 3
"""How many sessions a script may have."""
STEP_SECONDS = 30.0
AGREE_SECONDS = 5.0
"""How long Crosskey may take to do what PostgreSQL did."""
POLL_SECONDS = 0.005
STEADY_SECONDS = 0.02
"""How long a state must last to count: a session may wait for a moment for what means nothing."""

DEADLOCK = "40P01"
CONFLICTS = {DEADLOCK, "55P03", ""}
"""The SQLSTATEs with which Crosskey gives up after retries of its own; conflicts that it finds itself have none."""

_PREPARED = "SELECT count(*) FROM pg_prepared_xacts WHERE database = current_database()"

Connections: TypeAlias = Sequence[psycopg.Connection[Any]]


class Stage:
    """Two sides with the same tables."""

    def __init__(self, pair: Pair, plain: Connections, shards: Connections, executor: Executor) -> None:
        """Connections of a superuser, in autocommit mode.

        `plain` has one for the gates and one for each of SESSIONS sessions to the plain side, `shards` one to each
        shard.
        """
        self.pair = pair
        self._plain = plain
        self._shards = shards
        self._executor = executor

    def gate(self, shard: int) -> Gate:
        """A new gate on that shard."""
        return Gate(self.pair.number(shard), shard)

    def play(self, *steps: Step, waits_on_crosskey: Iterable[str] = ()) -> Observation:
        """Starts sessions and opens gates, and answers what all came to.

        After each step but the last, every session must be in the same state on both sides; after the last, all must
        end alike, with the same tables. Sessions in `waits_on_crosskey` end at once on PostgreSQL, but wait for the
        last step on Crosskey. Raises DisagreementError.
        """
        expected = [*self._play_plain(steps)]
        for place, observation in enumerate(expected[:-1]):
            waiting = {name: WAITS for name in waits_on_crosskey if name in observation}
            assert not UNFINISHED & {observation[name] for name in waiting}, "PostgreSQL makes it wait as well"
            expected[place] = {**observation, **waiting}
        self._play_crosskey(steps, expected)
        self.pair.check_tables()
        return expected[-1]

    def play_deadlock(self, *steps: Step) -> None:
        """Plays a script that ends in a deadlock; the sessions that were given up are then run again.

        The tables must then be the same, so the sessions must be such that it does not matter who was first. Raises
        DisagreementError.
        """
        observations = self._play_plain(steps)
        victims = _victims(observations[-1], {DEADLOCK})
        assert len(victims) == 1, f"PostgreSQL sees no deadlock: {observations[-1]}"
        _run_again(self._plain_side(), steps, victims)
        ended = self._play_crosskey(steps, observations[:-1])
        _run_again(self._crosskey_side(), steps, _victims(ended, CONFLICTS))
        self.pair.check_tables()

    def _play_plain(self, steps: Sequence[Step]) -> list[Observation]:
        side = self._plain_side()
        observations = []
        with _closed_gates(side, steps):
            for step in steps[:-1]:
                _take(side, step)
                observations.append(_steady(side))
            _take(side, steps[-1])
            observations.append(_ended(side))
        return observations

    def _play_crosskey(self, steps: Sequence[Step], expected: Sequence[Observation]) -> Observation:
        for shard in self._shards:
            _settle(shard)
        side = self._crosskey_side()
        with _closed_gates(side, steps):
            for place, step in enumerate(steps):
                _take(side, step)
                if place < len(expected):
                    _expect(side, expected[place], f"after step {place + 1} of {len(steps)}")
            return _ended(side)

    def _plain_side(self) -> PlainSide:
        return PlainSide(self._plain, self._executor)

    def _crosskey_side(self) -> CrosskeySide:
        return CrosskeySide(self.pair.client, self._shards, self._executor)


def _settle(shard: psycopg.Connection[Any]) -> None:
    """Waits for what earlier requests finish after their answer: a session must not meet it."""
    eventually(lambda: shard.execute(_PREPARED).fetchone() == (0,), "nothing is prepared")


@contextmanager
def _closed_gates(side: Side, steps: Iterable[Step]) -> Iterator[None]:
    """Closes all gates of a script. Whatever happens, all are open in the end, so that nobody is left waiting."""
    closed = [step for step in steps if isinstance(step, Gate)]
    for gate in closed:
        side.close(gate)
    try:
        yield
    finally:
        for gate in closed:
            side.open(gate)


def _take(side: Side, step: Step) -> None:
    if isinstance(step, Gate):
        side.open(step)
    else:
        side.start(step)


def _steady(side: Side) -> Observation:
    """What all sessions do as soon as none runs."""
    while True:
        eventually(lambda: RUNS not in side.observe().values(), "no session runs", STEP_SECONDS)
        observation = side.observe()
        if RUNS not in observation.values() and _lasts(side, observation):
            return observation


def _ended(side: Side) -> Observation:
    """What all sessions came to."""
    eventually(lambda: not UNFINISHED & set(side.observe().values()), "all sessions end", STEP_SECONDS)
    return side.observe()


def _expect(side: Side, expected: Observation, when: str) -> None:
    """Returns as soon as all sessions do what is expected. Raises DisagreementError if they never do."""
    deadline = time.monotonic() + AGREE_SECONDS
    while not (side.observe() == expected and _lasts(side, expected)):
        if time.monotonic() > deadline:
            raise DisagreementError(f"{when}\nCrosskey:   {side.observe()}\nPostgreSQL: {expected}")
        time.sleep(POLL_SECONDS)


def _lasts(side: Side, observation: Observation) -> bool:
    """Whether sessions still do the same a moment later; those that have ended will."""
    if not UNFINISHED & set(observation.values()):
        return True
    time.sleep(STEADY_SECONDS)
    return side.observe() == observation


def _victims(ended: Observation, sqlstates: set[str]) -> list[str]:
    return [name for name, state in ended.items() if _sqlstate(state) in sqlstates]


def _sqlstate(state: State) -> str | None:
    return state.sqlstate if isinstance(state, Refusal) else None


def _run_again(side: Side, steps: Iterable[Step], names: Iterable[str]) -> None:
    """Runs sessions one after another, with open gates; each must succeed now."""
    sessions = {step.name: step for step in steps if isinstance(step, Session)}
    for name in names:
        side.start(sessions[name])
        ended = _ended(side)
        assert not isinstance(ended[name], Refusal), f"{name}, run again, is refused: {ended[name]}"
