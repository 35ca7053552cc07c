"""Claims on values whose NULLs are alike: each is found, and many are not compared one by one with all there are."""

import json
from collections.abc import AsyncIterator

import pytest_asyncio

from crosskey.catalog.model import TableName
from crosskey.catalog.plan import Claim
from crosskey.shard_node.guards import claim_queries
from crosskey.shard_node.guards.claim_queries import claim_values, look_up_claims, release_values
from tests.shard_node.conftest import TestDatabase

SEATS = TableName("public", "seats")
CLAIM = Claim(
    id="public.seats(row,place)",
    table=SEATS,
    constraint="seats_key",
    columns=("row", "place"),
    placing=("row", "place"),
    claims=TableName("claims", "seats"),
    nulls_not_distinct=True,
)
HERE = 1

Seat = tuple[int | None, int | None]
ODD_SEATS: list[Seat] = [(1, 1), (1, None), (None, 1), (None, None)]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def claims(database: TestDatabase) -> TestDatabase:
    await database.run(
        "CREATE SCHEMA claims",
        "CREATE TABLE claims.seats (row integer, place integer, crosskey_shard integer)",
        "ALTER TABLE claims.seats ADD UNIQUE NULLS NOT DISTINCT (row, place) DEFERRABLE,"
        " ADD UNIQUE NULLS NOT DISTINCT (row, place, crosskey_shard)",
    )
    return database


@pytest_asyncio.fixture(autouse=True)
async def rolled_back(claims: TestDatabase) -> AsyncIterator[None]:
    async with claims.connection.transaction(force_rollback=True):
        yield


def as_json(*seats: Seat) -> str:
    return json.dumps([{"row": row, "place": place} for row, place in seats])


async def claimed(claims: TestDatabase) -> set[Seat]:
    cursor = await claims.connection.execute("SELECT row, place FROM claims.seats")
    return {(row, place) for row, place in await cursor.fetchall()}


async def test_each_is_looked_up_and_released_by_itself(claims: TestDatabase) -> None:
    await claim_values(claims.connection, CLAIM, HERE, as_json(*ODD_SEATS))
    found = await look_up_claims(claims.connection, CLAIM, as_json(*ODD_SEATS, (None, 2)))
    assert found == [*((HERE, place) for place in range(len(ODD_SEATS))), (None, len(ODD_SEATS))]
    for number, seat in enumerate(ODD_SEATS, start=1):
        await release_values(claims.connection, CLAIM, HERE, as_json(seat, (9, 9)))
        assert await claimed(claims) == set(ODD_SEATS[number:])


async def test_those_that_are_claimed_already_are_counted(claims: TestDatabase) -> None:
    assert await claim_values(claims.connection, CLAIM, HERE, as_json(*ODD_SEATS)) == 0
    assert await claim_values(claims.connection, CLAIM, HERE, as_json(*ODD_SEATS, (2, None))) == len(ODD_SEATS)


async def test_many_are_released_without_comparing_each_with_all(claims: TestDatabase) -> None:
    await claims.run(
        f"INSERT INTO claims.seats SELECT n, nullif(n % 2, 0), {HERE} FROM generate_series(1, 5000) n",
        "ANALYZE claims.seats",
    )
    explain = b"EXPLAIN " + claim_queries._release_text(CLAIM)
    cursor = await claims.connection.execute(explain, (as_json(*ODD_SEATS), HERE))
    plan = "\n".join(line for (line,) in await cursor.fetchall())
    assert "Nested Loop" not in plan
