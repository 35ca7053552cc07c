"""Transactions to talk to, of several sessions in turn: as on one PostgreSQL under READ COMMITTED."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import psycopg
import pytest

from crosskey import column, delete, insert, update
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.requests import Lock
from tests.isolation.conftest import DATABASE, DETECT_DEADLOCKS_SOON
from tests.isolation.stage import Stage
from tests.isolation.talking import (
    LOST,
    WAITS,
    Add,
    CrosskeyTalk,
    End,
    Observation,
    PlainTalk,
    Script,
    Step,
    Value,
    play,
)
from tests.oracle.plain import PlainPostgres

A, B = "A", "B"


class TwoSides:
    """Plays scripts on a plain PostgreSQL and on a cluster."""

    def __init__(self, stage: Stage, plain: list[PlainPostgres]) -> None:
        """`plain` has a connection for each session."""
        self.stage = stage
        self._plain = plain

    def play(self, *script: tuple[str, Step]) -> list[Observation]:
        """What is observed after each step, which must be the same on both sides, with the same rows in the end."""
        expected, observed = self.play_apart(script)
        assert observed == expected
        self.stage.pair.check_tables()
        return observed

    def play_apart(self, script: Script) -> tuple[list[Observation], list[Observation]]:
        """What is observed on each side."""
        idle = list(self._plain)
        plain = play(script, lambda: PlainTalk(idle.pop()), [self.stage.pair.plain.connection])
        crosskey = play(script, partial(CrosskeyTalk, self.stage.pair.client), self.stage.pair.shards)
        return plain, crosskey


@pytest.fixture(scope="module")
def sides(stage: Stage, postgres: list[PostgresServer]) -> Iterator[TwoSides]:
    """Both sides."""
    dsn = postgres[0].dsn(database=DATABASE)
    with ExitStack() as lifetime:
        connections = [
            lifetime.enter_context(psycopg.connect(dsn, autocommit=True, options=DETECT_DEADLOCKS_SOON))
            for _ in range(2)
        ]
        yield TwoSides(stage, [PlainPostgres(connection, "") for connection in connections])


@pytest.fixture(params=[0, 1], ids=["together", "apart"])
def other_shard(request: pytest.FixtureRequest) -> int:
    """The shard of the second row; the first is on shard 0."""
    shard: int = request.param
    return shard


@pytest.fixture
def rows(stage: Stage, other_shard: int) -> tuple[int, int]:
    """Two rows, on one shard or on two."""
    pair = stage.pair.number(0), stage.pair.number(other_shard)
    stage.pair.insert("parents", *[{"id": number, "value": 10} for number in pair])
    return pair


def test_an_update_is_lost_where_nobody_locks(sides: TwoSides, rows: tuple[int, int]) -> None:
    x, _ = rows
    *_, ended = sides.play(
        (A, Value(x)), (B, Value(x)), (A, Add(x)), (A, End()), (B, Add(x)), (B, End()), (A, Value(x))
    )
    assert ended[A].startswith(ended[B][: len("reads 10")])


@pytest.mark.parametrize("lock", ["UPDATE", "NO KEY UPDATE"])
def test_no_update_is_lost_where_both_lock(sides: TwoSides, rows: tuple[int, int], lock: Lock) -> None:
    x, y = rows
    _, waiting, *_, ended = sides.play(
        (A, Value(x, lock)),
        (B, Value(x, lock)),
        (A, Add(x)),
        (A, Add(y)),
        (A, End()),
        (B, Add(x)),
        (B, End()),
    )
    assert waiting[B] == WAITS
    assert ended[B].startswith("reads 11")


def test_what_is_rolled_back_was_never_there(sides: TwoSides, rows: tuple[int, int]) -> None:
    x, y = rows
    sides.play(
        (A, Value(x, "UPDATE")),
        (A, Add(x)),
        (A, Add(y)),
        (B, Value(y, "SHARE")),
        (A, End(commit=False)),
        (B, Value(x)),
        (B, Add(y)),
        (B, End()),
    )


def test_what_others_commit_is_seen_at_once(sides: TwoSides, rows: tuple[int, int]) -> None:
    x, y = rows
    *_, before, _, after, _ = sides.play(
        (B, Value(x)), (A, Value(x)), (A, Add(x)), (A, Add(y)), (B, Value(x)), (A, End()), (B, Value(x)), (B, End())
    )
    assert (before[B], after[B]) == ("reads 10; reads 10", "reads 10; reads 10; reads 11")


def test_write_skew_is_what_read_committed_has(sides: TwoSides, rows: tuple[int, int]) -> None:
    x, y = rows
    *_, ended = sides.play(
        (A, Value(x)),
        (A, Value(y)),
        (B, Value(x)),
        (B, Value(y)),
        (A, Add(x, -10)),
        (B, Add(y, -10)),
        (A, End()),
        (B, End()),
    )
    assert [state.rpartition("; ")[2] for state in ended.values()] == ["commits", "commits"]


def test_write_skew_waits_where_both_lock_what_they_read(sides: TwoSides, rows: tuple[int, int]) -> None:
    x, y = rows
    sides.play(
        (A, Value(x, "UPDATE")),
        (A, Value(y, "UPDATE")),
        (B, Value(x, "UPDATE")),
        (A, Add(x, -10)),
        (A, End()),
        (B, Value(y, "UPDATE")),
        (B, Add(y, -10)),
        (B, End()),
    )


def test_sharers_do_not_wait_for_each_other(sides: TwoSides, rows: tuple[int, int]) -> None:
    x, y = rows
    *_, waiting, _, _ = sides.play(
        (A, Value(x, "SHARE")), (B, Value(x, "SHARE")), (B, Value(y, "SHARE")), (A, Add(x)), (B, End()), (A, End())
    )
    assert waiting[A].endswith(WAITS)


def test_a_deadlock_ends_one(sides: TwoSides, rows: tuple[int, int]) -> None:
    x, y = rows
    script: Script = [
        (A, Value(x, "UPDATE")),
        (B, Value(y, "UPDATE")),
        (A, Value(y, "UPDATE")),
        (B, Value(x, "UPDATE")),
    ]
    for observed in sides.play_apart(script):
        states = observed[-1].values()
        assert any(state.endswith(LOST) for state in states), states
        assert not any(state.endswith(WAITS) for state in states), states


@pytest.mark.parametrize("commits", [True, False])
def test_a_parent_of_a_child_that_is_not_committed(
    sides: TwoSides, rows: tuple[int, int], other_shard: int, commits: bool
) -> None:
    parent, _ = rows
    child = {"id": sides.stage.pair.number(other_shard), "parent": parent}
    _, waiting, _, ended, _ = sides.play(
        (A, insert("no_action", child)),
        (B, delete("parents", key={"id": parent})),
        (A, End(commit=commits)),
        (A, End()),
        (B, End()),
    )
    assert waiting[B] == WAITS
    assert ended[B] == ("is refused with 23503" if commits else "1")


def test_a_parent_that_is_deleted_takes_its_children_along(
    sides: TwoSides, rows: tuple[int, int], other_shard: int
) -> None:
    parent, _ = rows
    pair = sides.stage.pair
    child = {"id": pair.number(other_shard), "parent": parent}
    pair.insert("cascade", child)
    sides.play(
        (A, delete("parents", key={"id": parent})),
        (B, update("cascade", {"value": column("value") + 1}, key={"id": child["id"]})),
        (A, End()),
        (B, End()),
    )


def test_a_child_of_a_parent_that_is_deleted_meanwhile(
    sides: TwoSides, rows: tuple[int, int], other_shard: int
) -> None:
    parent, _ = rows
    child = {"id": sides.stage.pair.number(other_shard), "parent": parent}
    *_, ended, _ = sides.play(
        (A, delete("parents", key={"id": parent})), (B, insert("cascade", child)), (A, End()), (B, End())
    )
    assert ended[B] == "is refused with 23503"
