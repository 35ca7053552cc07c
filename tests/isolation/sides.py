"""The two sides that play the same script: sessions that run at the same time, and what each of them does just now."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor, Future
from typing import Any, Protocol, TypeAlias

import psycopg

from crosskey import Client, CrosskeyError
from tests.isolation.script import Gate, Session
from tests.oracle.outcome import Outcome, Refusal, refusal_by_crosskey
from tests.oracle.plain import PlainPostgres

State: TypeAlias = str | Refusal | tuple[str, ...]
"""What a session does, or what it came to."""

RUNS, WAITS, AT_GATE = "runs", "waits", "is at a gate"
UNFINISHED: set[State] = {RUNS, WAITS, AT_GATE}

Observation: TypeAlias = Mapping[str, State]
"""The state of each session by its name."""

_WAITING = """
SELECT lock.pid, CASE lock.locktype WHEN 'advisory' THEN lock.objid::bigint END
FROM pg_locks lock JOIN pg_stat_activity activity USING (pid)
WHERE NOT lock.granted AND activity.datname = current_database()
"""

Waiting: TypeAlias = dict[int, int | None]
"""The processes that wait for a lock, each with the gate at which it does, if it is one."""


class Side(Protocol):
    """Plays the sessions of one script."""

    def start(self, session: Session) -> None:
        """Sends a session's request and does not wait for its end."""

    def close(self, gate: Gate) -> None:
        """Closes a gate."""

    def open(self, gate: Gate) -> None:
        """Opens a gate that is closed."""

    def observe(self) -> Observation:
        """The state of every session that was started."""


class PlainSide:
    """One PostgreSQL, with a connection for each session."""

    def __init__(self, keeper: psycopg.Connection[Any], sessions: Sequence[PlainPostgres], executor: Executor) -> None:
        """Connections to the same database: one that keeps the gates, and idle ones for the sessions."""
        self._keeper = keeper
        self._idle = list(sessions)
        self._executor = executor
        self._running: dict[str, tuple[Future[Outcome], int]] = {}

    def start(self, session: Session) -> None:
        """As Side.start."""
        own = self._idle.pop()
        future = self._executor.submit(own.run, session.writes)
        self._running[session.name] = (future, own.connection.info.backend_pid)

    def close(self, gate: Gate) -> None:
        """As Side.close."""
        _close(self._keeper, gate)

    def open(self, gate: Gate) -> None:
        """As Side.open."""
        _open(self._keeper, gate)

    def observe(self) -> Observation:
        """As Side.observe."""
        waiting = _read_waiting(self._keeper)
        return {name: self._state(future, pid, waiting) for name, (future, pid) in self._running.items()}

    def _state(self, future: Future[Outcome], pid: int, waiting: Waiting) -> State:
        if future.done():
            return _ended(future.result())
        if pid not in waiting:
            return RUNS
        return WAITS if waiting[pid] is None else AT_GATE


class CrosskeySide:
    """A cluster. PostgreSQL's processes do not tell whose they are, so those that wait are counted."""

    def __init__(self, client: Client, shards: Sequence[psycopg.Connection[Any]], executor: Executor) -> None:
        """A superuser's connections to the shards, in autocommit mode."""
        self._client = client
        self._shards = shards
        self._executor = executor
        self._running: dict[str, tuple[Future[Outcome], set[int]]] = {}

    def start(self, session: Session) -> None:
        """As Side.start."""
        self._running[session.name] = (self._executor.submit(self._transact, session), session.gates)

    def close(self, gate: Gate) -> None:
        """As Side.close."""
        _close(self._shards[gate.shard], gate)

    def open(self, gate: Gate) -> None:
        """As Side.open."""
        _open(self._shards[gate.shard], gate)

    def observe(self) -> Observation:
        """As Side.observe."""
        ended = {name: _ended(future.result()) for name, (future, _) in self._running.items() if future.done()}
        waiting = [gate for shard in self._shards for gate in _read_waiting(shard).values()]
        at_gates = {name for name, (_, gates) in self._running.items() if gates & set(waiting)} - set(ended)
        others = set(self._running) - set(ended) - at_gates
        other_state = WAITS if waiting.count(None) >= len(others) else RUNS
        return ended | dict.fromkeys(at_gates, AT_GATE) | dict.fromkeys(others, other_state)

    def _transact(self, session: Session) -> Outcome:
        try:
            return self._client.transact(session.writes)
        except CrosskeyError as error:
            return refusal_by_crosskey(error)


def _ended(outcome: Outcome) -> State:
    """An outcome in a form that can be compared; the order of updated rows means nothing."""
    return outcome if isinstance(outcome, Refusal) else tuple(_text(answer) for answer in outcome)


def _text(answer: Iterable[Mapping[str, Any]] | int) -> str:
    if isinstance(answer, int):
        return str(answer)
    return ", ".join(sorted(json.dumps(row, sort_keys=True) for row in answer))


def _close(keeper: psycopg.Connection[Any], gate: Gate) -> None:
    keeper.execute("SELECT pg_advisory_lock(%s)", (gate.id,))


def _open(keeper: psycopg.Connection[Any], gate: Gate) -> None:
    keeper.execute("SELECT pg_advisory_unlock(%s)", (gate.id,))


def _read_waiting(connection: psycopg.Connection[Any]) -> Waiting:
    return dict(connection.execute(_WAITING).fetchall())
