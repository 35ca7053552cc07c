"""Goodput: how many requests a cluster acknowledges when ever more clients ask at once, each as soon as it may."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import perf_counter
from typing import TypeAlias

from bench.crosskey_side import Crosskey
from bench.interleaving import Case, Comparison, Contender
from bench.measurements import CaseResult, evaluated
from bench.summary import Slice, spread
from crosskey import CrosskeyError, insert

CLIENTS = (4, 16, 64, 256, 1024)
ROUNDS = 3
TIMEOUT_SECONDS = 10.0
"""Of a request: what is answered later counts as not answered."""

SATURATED = 0.9
"""So much of the peak is as good as the peak: the fewest clients that reach it saturate the cluster."""

GOODPUT_IN_TIMES_OF_PEAK = 0.9
"""Also at four times the clients that saturate it, and more."""

LONGEST_PAUSE_SECONDS = 2.0
"""After refusals, if no longer one is advised: the pause doubles each time."""

WARM_UP_SECONDS = 3.0
"""All clients begin at the same moment, which is another case."""

WRITES = "inserts and reads"
TRANSACTIONS = "transactions over two shards"

Work: TypeAlias = Callable[[], Awaitable[object]]


async def measure_goodput(crosskey: Crosskey, what: str, seconds: float) -> CaseResult:
    """Has more and more clients do such work, in turn, in rounds, for `seconds` altogether beside warming up."""
    work = {WRITES: _mix(crosskey), TRANSACTIONS: _transaction(crosskey)}[what]
    slices: dict[int, list[Slice]] = {clients: [] for clients in CLIENTS}
    await _slice(work, CLIENTS[1], WARM_UP_SECONDS)
    for number in range(ROUNDS):
        for clients in CLIENTS if number % 2 == 0 else reversed(CLIENTS):
            slices[clients].append(await _slice(work, clients, seconds / ROUNDS / len(CLIENTS)))
    return evaluated(_case(what, slices), {_name(clients): some for clients, some in slices.items()})


def _case(what: str, slices: Mapping[int, Sequence[Slice]]) -> Case:
    rates = {clients: spread(one.rows_per_second for one in some).median for clients, some in slices.items()}
    peak = max(rates, key=rates.__getitem__)
    saturating = next(clients for clients in CLIENTS if rates[clients] >= SATURATED * rates[peak])
    return Case(
        f"goodput: {what}, acknowledged a second, by the number of clients",
        [Contender(_name(clients), at_once=clients) for clients in CLIENTS],
        [
            Comparison(_name(clients), _name(peak), "rate", at_least=GOODPUT_IN_TIMES_OF_PEAK)
            for clients in CLIENTS
            if clients >= 4 * saturating
        ],
    )


def _name(clients: int) -> str:
    return f"{clients} clients"


async def _slice(work: Work, clients: int, seconds: float) -> Slice:
    """What so many clients are told is done in so many seconds, once they all have been at it for a while.

    What is under way at the end is waited for, and not counted.
    """
    started = perf_counter() + WARM_UP_SECONDS
    latencies: list[float] = []
    async with asyncio.TaskGroup() as workers:
        for _ in range(clients):
            workers.create_task(_ask_again_and_again(work, started, started + seconds, latencies))
    return Slice(latencies or [seconds], seconds, max(clients, 2), 1)


async def _ask_again_and_again(work: Work, start: float, end: float, latencies: list[float]) -> None:
    """One client, which counts between two times. It waits for each answer; after a refusal, longer each time."""
    refusals = 0
    while (begun := perf_counter()) < end:
        try:
            await work()
        except CrosskeyError as error:
            refusals += 1
            advised = error.retry_delay_ms / 1000
            await asyncio.sleep(random.uniform(1, 1.5) * max(advised, min(0.1 * 2**refusals, LONGEST_PAUSE_SECONDS)))
        else:
            refusals = 0
            if start <= perf_counter() < end:
                latencies.append(perf_counter() - begun)


def _mix(crosskey: Crosskey) -> Work:
    client, population = crosskey.client.with_timeout(TIMEOUT_SECONDS), crosskey.population

    async def work() -> None:
        kind = random.random()
        if kind < 0.5:
            await client.get("people", {"id": population.known_person()})
        elif kind < 0.9:
            await client.insert("follows", population.new_follow(population.known_person()))
        else:
            await client.transact([insert("follows_without_key", row) for row in _two_rows(crosskey)])

    return work


def _transaction(crosskey: Crosskey) -> Work:
    client = crosskey.client.with_timeout(TIMEOUT_SECONDS)

    async def work() -> None:
        await client.transact([insert("follows_without_key", row) for row in _two_rows(crosskey)])

    return work


def _two_rows(crosskey: Crosskey) -> list[dict[str, str]]:
    """Rows that live on two shards, any two."""
    population = crosskey.population
    return random.sample(population.follows_on_every_shard([population.known_person()]), 2)
