"""Seats of transactions over several shards: who waits holds nothing, nobody waits for ever, and no seat is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from contextlib import contextmanager
from unittest import mock

import pytest

from crosskey.errors import Overloaded
from crosskey.router.calls.call_context import call_context
from crosskey.router.committing import seats
from crosskey.router.committing.seats import Seats

SHARDS = 3
FEW_TURNS = 8
"""Of the event loop: more than it takes until who can be seated is."""


class Transactions:
    """Transactions that begin when they are told, and end when they are told."""

    def __init__(self, per_shard: int) -> None:
        self.seats = Seats(SHARDS, per_shard)
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, name: str, shards: Collection[int], seconds: float = 60.0) -> None:
        """One comes; it begins if there are seats."""
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._run(name, shards, seconds))
        await few_turns()

    async def end(self, name: str) -> None:
        """One ends; whoever waited for its seats begins."""
        self._ends[name].set()
        await self._tasks[name]
        await few_turns()

    async def cancel(self, name: str) -> None:
        """Nobody wants one any more."""
        self._tasks[name].cancel()
        await asyncio.wait({self._tasks[name]})
        await few_turns()

    async def end_and_cancel(self, ends: str, waits: str) -> None:
        """One ends, and at the same moment nobody wants another any more, which has just got its seats."""
        self._ends[ends].set()
        # Now the one that ends goes on, and after it this test, and then only the one that waits.
        await asyncio.sleep(0)
        await self.cancel(waits)

    def is_over(self, name: str) -> bool:
        """Whether one was carried out or refused."""
        return self._tasks[name].done()

    async def result(self, name: str) -> None:
        """Raises what one came to."""
        await self._tasks[name]

    async def _run(self, name: str, shards: Collection[int], seconds: float) -> None:
        with call_context(seconds):
            async with self.seats.taken(shards):
                self.begun.append(name)
                await self._ends[name].wait()


async def few_turns() -> None:
    for _ in range(FEW_TURNS):
        await asyncio.sleep(0)


def run(test: Callable[[Transactions], Awaitable[None]], per_shard: int = 1) -> None:
    async def in_loop() -> None:
        await test(Transactions(per_shard))

    asyncio.run(in_loop())


def test_who_comes_first_is_seated_first() -> None:
    async def test(transactions: Transactions) -> None:
        for name in "abc":
            await transactions.ask(name, {0, 1})
        assert transactions.begun == ["a"]
        await transactions.end("a")
        assert transactions.begun == ["a", "b"]
        await transactions.end("b")
        assert transactions.begun == ["a", "b", "c"]
        await transactions.end("c")

    run(test)


def test_a_shard_that_is_slow_holds_up_nobody_else() -> None:
    async def test(transactions: Transactions) -> None:
        for name in ("slow", "slow too"):
            await transactions.ask(name, {2})
        for name in ("waits", "waits too", "waits as well"):
            await transactions.ask(name, {0, 2})
        await transactions.ask("quick", {0, 1})
        assert transactions.begun == ["slow", "slow too", "quick"]
        await transactions.end("quick")
        await transactions.ask("another", {0})
        assert transactions.begun == ["slow", "slow too", "quick", "another"]

    run(test, per_shard=2)


def test_who_needs_all_shards_is_not_passed_by_for_ever() -> None:
    async def test(transactions: Transactions) -> None:
        for shard in range(SHARDS):
            await transactions.ask(f"first {shard}", {shard})
        await transactions.ask("wide", range(SHARDS))
        for shard in range(SHARDS):
            await transactions.ask(f"second {shard}", {shard})
            await transactions.end(f"first {shard}")
        assert transactions.begun[SHARDS:] == ["wide"]

    run(test)


def test_seats_of_who_gives_up_are_taken_by_others() -> None:
    async def test(transactions: Transactions) -> None:
        for name in "abc":
            await transactions.ask(name, {0, 1})
        await transactions.cancel("b")
        await transactions.cancel("a")
        assert transactions.begun == ["a", "c"]
        await transactions.end("c")
        await transactions.ask("d", {0, 1})
        assert transactions.begun == ["a", "c", "d"]

    run(test)


def test_who_is_told_to_stop_while_being_seated_leaves_no_seat_taken() -> None:
    async def test(transactions: Transactions) -> None:
        for name in "abc":
            await transactions.ask(name, {0})
        await transactions.end_and_cancel("a", "b")
        assert transactions.begun == ["a", "c"]

    run(test)


def test_a_turn_that_does_not_come_in_time_is_refused_and_may_be_asked_for_again() -> None:
    async def test(transactions: Transactions) -> None:
        await transactions.ask("a", {0})
        await transactions.ask("b", {0}, seconds=0.05)
        with pytest.raises(Overloaded) as refused:
            await transactions.result("b")
        assert refused.value.retryable
        await transactions.end("a")
        await transactions.ask("c", {0})
        assert transactions.begun == ["a", "c"]

    run(test)


def test_a_turn_that_will_not_come_in_time_is_refused_at_once() -> None:
    """Each takes a tenth of a second: 20 that wait take two seconds, of which a request may wait half of its time."""

    async def test(transactions: Transactions) -> None:
        with patched_clock() as clock:
            for number in range(40):
                await transactions.ask(f"t{number}", {0})
            for number in range(20):
                clock.now += 0.1
                await transactions.end(f"t{number}")
            await transactions.ask("hurried", {0}, seconds=3.6)
            with pytest.raises(Overloaded) as refused:
                await transactions.result("hurried")
            assert 950 <= refused.value.retry_delay_ms <= 2850
            await transactions.ask("patient", {0}, seconds=6.0)
            assert not transactions.is_over("patient")

    run(test)


def test_more_than_may_wait_are_refused_at_once() -> None:
    async def test(transactions: Transactions) -> None:
        with mock.patch.object(seats, "MAX_WAITING", 2):
            for name in ("at work", "waits", "waits too", "one more"):
                await transactions.ask(name, {0})
        with pytest.raises(Overloaded):
            await transactions.result("one more")
        assert not transactions.is_over("waits too")

    run(test)


class Clock:
    """What seats take the time from."""

    now = 1000.0

    def read(self) -> float:
        """What time it is."""
        return self.now


@contextmanager
def patched_clock() -> Iterator[Clock]:
    """Time as the test says, for the pace alone: deadlines of requests go by the real one."""
    clock = Clock()
    with mock.patch.object(seats, "monotonic", clock.read):
        yield clock
