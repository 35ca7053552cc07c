"""Plays one script on both sides, step by step, and compares who waits, who fails and what the tables hold."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import psycopg

from tests.eventually import eventually
from tests.isolation.script import Gate, Session, Step
from tests.isolation.sides import RUNS, UNFINISHED, WAITS, CrosskeySide, Observation, PlainSide, Side, State
from tests.oracle.outcome import Refusal
from tests.oracle.pair import DisagreementError, Pair
from tests.oracle.plain import PlainPostgres

SESSIONS = 3
"""How many sessions a script may have."""
STEP_SECONDS = 30.0
AGREE_SECONDS = 5.0
"""How long Crosskey may take to do what PostgreSQL did."""
POLL_SECONDS = 0.005
STEADY_SECONDS = 0.02
"""How long a state must last to count: a session may wait for a moment for what means nothing."""

CONFLICTS = {"55P03", ""}
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
        self._keeper, *sessions = plain
        self._sessions = [PlainPostgres(session, "") for session in sessions]
        self._shards = shards
        self._executor = executor

    def gate(self, shard: int) -> Gate:
        """A new gate on that shard."""
        return Gate(self.pair.number(shard), shard)

    def play(self, *steps: Step, waits_longer: Collection[str] = (), ends_sooner: Collection[str] = ()) -> Observation:
        """Starts sessions and opens gates, and answers what all came to.

        After each step but the last, every session must be in the same state on both sides; after the last, all must
        end alike, with the same tables. Raises DisagreementError.

        Known differences are named: sessions that PostgreSQL lets end before the last step and Crosskey does not, and
        the other way round.
        """
        *before, ended = self._play_plain(steps)
        for place, observation in enumerate(before):
            known: dict[str, State] = {name: WAITS for name in waits_longer if name in observation}
            known |= {name: ended[name] for name in ends_sooner if name in observation}
            assert all(observation[name] != state for name, state in known.items()), f"not different: {observation}"
            before[place] = {**observation, **known}
        self._play_crosskey(steps, [*before, ended])
        self.pair.check_tables()
        return ended

    def play_with_retry(self, *steps: Step, lost: Collection[str]) -> None:
        """Plays a script that one session loses on PostgreSQL, with one of the SQLSTATEs in `lost`.

        Whoever was refused so, on either side, or was given up by Crosskey, is then run again and must succeed, and the
        tables must be the same. So the sessions must be such that it does not matter which of them loses. Before the
        last step, all is compared as by `play`. Raises DisagreementError.
        """
        *before, ended = self._play_plain(steps)
        losers = _refused(ended, lost)
        assert len(losers) == 1, f"PostgreSQL does not refuse one of them: {ended}"
        _run_again(self._plain_side(), steps, losers)
        *_, ended = self._play_crosskey(steps, before)
        _run_again(self._crosskey_side(), steps, _refused(ended, {*lost, *CONFLICTS}))
        self.pair.check_tables()

    def play_differently(self, *steps: Step) -> tuple[list[Observation], list[Observation]]:
        """Plays a script that is known to end differently, and answers what was observed after each step.

        First on PostgreSQL, then on Crosskey. The tables that it leaves different are then known to be so.
        """
        observed = self._play_plain(steps), self._play_crosskey(steps)
        with suppress(DisagreementError):
            self.pair.check_tables()
        return observed

    def _play_plain(self, steps: Sequence[Step]) -> list[Observation]:
        return _play(self._plain_side(), steps, [])

    def _play_crosskey(self, steps: Sequence[Step], expected: Sequence[Observation] = ()) -> list[Observation]:
        for shard in self._shards:
            _wait_until_none_in_doubt(shard)
        return _play(self._crosskey_side(), steps, expected)

    def _plain_side(self) -> PlainSide:
        return PlainSide(self._keeper, self._sessions, self._executor)

    def _crosskey_side(self) -> CrosskeySide:
        return CrosskeySide(self.pair.client, self._shards, self._executor)


def _wait_until_none_in_doubt(shard: psycopg.Connection[Any]) -> None:
    """Waits for what earlier requests finish after their answer: a session must not meet it."""
    eventually(lambda: shard.execute(_PREPARED).fetchone() == (0,), "nothing is prepared")


def _play(side: Side, steps: Sequence[Step], expected: Sequence[Observation]) -> list[Observation]:
    """Takes the steps and answers what is observed after each, in the end when all sessions have ended.

    Raises DisagreementError if that is not what is expected, as far as something is.
    """
    observed = []
    with _closed_gates(side, steps):
        for place, step in enumerate(steps):
            _take(side, step)
            if place < len(expected):
                _expect(side, expected[place], f"after step {place + 1} of {len(steps)}")
                observed.append(expected[place])
            else:
                observed.append(_steady(side) if place < len(steps) - 1 else _ended(side))
    return observed


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
    return _watch(side, lambda observation: RUNS not in observation.values() and _lasts(side, observation))


def _ended(side: Side) -> Observation:
    """What all sessions came to."""
    return _watch(side, lambda observation: not UNFINISHED & set(observation.values()))


def _watch(side: Side, condition: Callable[[Observation], bool], seconds: float = STEP_SECONDS) -> Observation:
    """What all sessions do as soon as it meets the condition, or when time is up."""
    deadline = time.monotonic() + seconds
    while not condition(observation := side.observe()) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return observation


def _expect(side: Side, expected: Observation, when: str) -> None:
    """Returns as soon as all sessions do what is expected. Raises DisagreementError if they never do."""
    observation = _watch(side, lambda seen: seen == expected and _lasts(side, seen), AGREE_SECONDS)
    if observation != expected:
        raise DisagreementError(f"{when}\nCrosskey:   {observation}\nPostgreSQL: {expected}")


def _lasts(side: Side, observation: Observation) -> bool:
    """Whether sessions that wait for each other still do so a moment later."""
    if WAITS not in observation.values():
        return True
    time.sleep(STEADY_SECONDS)
    return side.observe() == observation


def _refused(ended: Observation, sqlstates: Collection[str]) -> list[str]:
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
