"""Transactions that are told one statement after another, by several sessions in turn, on either side.

Every session has a thread of its own, which waits where its statement does. A step is taken when all sessions are done
with what they were told, or wait for a lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import psycopg

import crosskey
from crosskey import Client, CrosskeyError, Transaction
from crosskey.requests import Lock, Write
from tests.oracle.plain import PlainPostgres

STEP_SECONDS = 30.0
POLL_SECONDS = 0.005
STEADY_SECONDS = 0.03
"""How long a state must last to count: a session may wait for a moment for what means nothing."""

WAITS = "waits"
LOST = "lost a race"

_WAITING = """
SELECT count(*) FROM pg_locks lock JOIN pg_stat_activity activity USING (pid)
WHERE NOT lock.granted AND activity.datname = current_database()
"""

DEADLOCK = "40P01"


@dataclass(frozen=True)
class Value:
    """Reads the value of a parent, and locks its row perhaps."""

    id: int
    lock: Lock | None = None


@dataclass(frozen=True)
class Add:
    """Sets the value of a parent to the one that the session read last, and more: its own logic between statements."""

    id: int
    more: int = 1


@dataclass(frozen=True)
class End:
    """Ends a session's transaction."""

    commit: bool = True


Step: TypeAlias = Value | Add | End | Write

Script: TypeAlias = Sequence[tuple[str, Step]]
"""Steps in order, each with the name of the session that takes it."""

Observation: TypeAlias = dict[str, str]
"""What each session has come to: its answers and errors so far, and whether it waits."""


class Talk(Protocol):
    """One session's transaction, begun with its first statement."""

    def value(self, step: Value) -> int:
        """The value."""
        ...

    def write(self, write: Write) -> object:
        """Runs a write, and answers rows or a count."""
        ...

    def end(self, *, commit: bool) -> None:
        """Ends it."""
        ...


class PlainTalk:
    """On one PostgreSQL, with a connection of its own."""

    def __init__(self, side: PlainPostgres) -> None:
        self._side = side
        side.connection.execute("BEGIN")

    def value(self, step: Value) -> int:
        """As Talk.value."""
        lock = f" FOR {step.lock}" if step.lock else ""
        statement = f"SELECT value FROM parents WHERE id = {step.id}{lock}"
        [(value,)] = self._side.connection.execute(statement.encode()).fetchall()
        return int(value)

    def write(self, write: Write) -> object:
        """As Talk.write."""
        return self._side.execute(write)

    def end(self, *, commit: bool) -> None:
        """As Talk.end."""
        self._side.connection.execute("COMMIT" if commit else "ROLLBACK")


class CrosskeyTalk:
    """On a cluster."""

    def __init__(self, client: Client) -> None:
        self._transaction: Transaction = client.transaction()
        self._transaction.__enter__()

    def value(self, step: Value) -> int:
        """As Talk.value."""
        return int(self._transaction.get("parents", id=step.id, lock=step.lock)["value"])

    def write(self, write: Write) -> object:
        """As Talk.write."""
        return self._transaction.run(write)

    def end(self, *, commit: bool) -> None:
        """As Talk.end."""
        if commit:
            self._transaction.commit()
        else:
            self._transaction.roll_back()


class _Session:
    """A session in its thread."""

    def __init__(self, begin: Callable[[], Talk]) -> None:
        self._begin = begin
        self._talk: Talk | None = None
        self._seen = 0
        self._executor = ThreadPoolExecutor(1)
        self._told: list[Future[None]] = []
        self._answers: list[str] = []
        self._is_over = False

    def tell(self, step: Step) -> None:
        """Has the session take a step once it has taken those before."""
        self._told.append(self._executor.submit(self._take, step))

    @property
    def is_busy(self) -> bool:
        """Whether a step is not done yet."""
        return not all(future.done() for future in self._told)

    def state(self) -> str:
        """What it has come to. Raises what nobody foresaw."""
        for future in self._told:
            if future.done():
                future.result()
        return "; ".join([*self._answers, *([WAITS] if self.is_busy else [])])

    def close(self) -> None:
        """Ends what is open."""
        if not self._is_over and self._talk is not None:
            self.tell(End(commit=False))
        self._executor.shutdown()

    def _take(self, step: Step) -> None:
        if self._is_over:
            return
        try:
            if self._talk is None:
                self._talk = self._begin()
            self._answers.append(self._answer(self._talk, step))
        except (psycopg.Error, CrosskeyError) as error:
            self._answers.append(_error(error))
            self._is_over = True
            assert self._talk is not None
            self._talk.end(commit=False)

    def _answer(self, talk: Talk, step: Step) -> str:
        match step:
            case Value():
                self._seen = talk.value(step)
                return f"reads {self._seen}"
            case Add():
                answer = talk.write(crosskey.update("parents", {"value": self._seen + step.more}, key={"id": step.id}))
                return str(answer)
            case End():
                self._is_over = True
                talk.end(commit=step.commit)
                return "commits" if step.commit else "rolls back"
        return str(talk.write(step))


def play(script: Script, begin: Callable[[], Talk], shards: Sequence[psycopg.Connection[Any]]) -> list[Observation]:
    """Takes the steps and answers what is observed after each; `shards` are connections to where sessions wait.

    After the last step nobody may wait for ever.
    """
    with _sessions({name for name, _ in script}, begin) as sessions:
        observed: list[Observation] = []
        for name, step in script:
            sessions[name].tell(step)
            observed.append(_steady(sessions, shards, may_wait=len(observed) < len(script) - 1))
        return observed


@contextmanager
def _sessions(names: set[str], begin: Callable[[], Talk]) -> Iterator[dict[str, _Session]]:
    with ExitStack() as stack:
        sessions = {name: _Session(begin) for name in sorted(names)}
        for session in sessions.values():
            stack.callback(session.close)
        yield sessions


def _steady(sessions: dict[str, _Session], shards: Sequence[psycopg.Connection[Any]], *, may_wait: bool) -> Observation:
    """What all sessions have come to once each is done or waits for a lock, if it may, and does so for a moment."""
    deadline = time.monotonic() + STEP_SECONDS
    while time.monotonic() < deadline:
        before = _states(sessions)
        if _nobody_runs(sessions, shards):
            if not any(state.endswith(WAITS) for state in before.values()):
                return before
            time.sleep(STEADY_SECONDS)
            if may_wait and _nobody_runs(sessions, shards) and before == _states(sessions):
                return before
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"no steady state: {_states(sessions)}")


def _states(sessions: dict[str, _Session]) -> Observation:
    return {name: session.state() for name, session in sessions.items()}


def _nobody_runs(sessions: dict[str, _Session], shards: Sequence[psycopg.Connection[Any]]) -> bool:
    busy = sum(session.is_busy for session in sessions.values())
    waiting = sum(shard.execute(_WAITING).fetchall()[0][0] for shard in shards) if busy else 0
    return int(waiting) >= busy


def _error(error: psycopg.Error | CrosskeyError) -> str:
    """An error in words that both sides have; a lost race is one, however it was lost."""
    if isinstance(error, crosskey.Conflict) or (isinstance(error, psycopg.Error) and error.sqlstate == DEADLOCK):
        return LOST
    return f"is refused with {error.sqlstate if isinstance(error, psycopg.Error) else error.metadata['sqlstate']}"
