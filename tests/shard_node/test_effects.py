"""Effects that were not carried out are not committed, and seeing to that costs the same for each."""

from collections.abc import AsyncIterator

import psycopg
import pytest
import pytest_asyncio

from crosskey.internal.v1.effects_pb2 import Effect
from crosskey.shard_node import sql as sql_files
from crosskey.shard_node.guards.noted_effects import take_effects
from crosskey.shard_node.writing.tidying import tidy
from tests.shard_node.conftest import TestDatabase

_NOTE = f"""
INSERT INTO crosskey.effect (kind, referenced_key, shard, old_key)
SELECT {Effect.PIN_PARENTS_FIELD_NUMBER}, 'public.users(id)', 1, json_build_object('id', n)
FROM generate_series(1, %s) n
"""
_SCANS = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE relid = 'crosskey.effect'::regclass"
_LEFT = "SELECT count(*) FROM crosskey.effect"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shard(database: TestDatabase) -> AsyncIterator[TestDatabase]:
    """A database that holds what every shard's does."""
    await database.run(sql_files.load("bootstrap"))
    yield database
    [(left,)] = await (await database.connection.execute(_LEFT)).fetchall()
    assert left == 0


async def note_effects(shard: TestDatabase, number: int) -> None:
    """What triggers do."""
    await shard.connection.execute(_NOTE.encode(), (number,))


async def refuses_to_commit(shard: TestDatabase) -> None:
    """The transaction that is open has effects left."""
    with pytest.raises(psycopg.DatabaseError, match="effects on other shards that were not carried out"):
        await shard.run("COMMIT")


async def test_effects_that_were_taken_are_no_obstacle(shard: TestDatabase) -> None:
    async with shard.connection.transaction():
        await note_effects(shard, 3)
        assert await take_effects(shard.connection)


async def test_effects_that_nobody_took_are_refused(shard: TestDatabase) -> None:
    await shard.run("BEGIN")
    await note_effects(shard, 3)
    await refuses_to_commit(shard)


@pytest.mark.parametrize("left", ["1", "2", "3"])
async def test_one_that_is_left_is_refused_wherever_it_is(shard: TestDatabase, left: str) -> None:
    await shard.run("BEGIN")
    await note_effects(shard, 3)
    await shard.run(f"DELETE FROM crosskey.effect WHERE old_key->>'id' <> '{left}'")
    await refuses_to_commit(shard)


async def test_what_was_taken_before_a_savepoint_was_rolled_back_to_is_left_again(shard: TestDatabase) -> None:
    await shard.run("BEGIN")
    await note_effects(shard, 2)
    await shard.run("SAVEPOINT before")
    await take_effects(shard.connection)
    await shard.run("ROLLBACK TO before")
    await refuses_to_commit(shard)


async def test_what_was_noted_before_a_savepoint_was_rolled_back_to_is_no_obstacle(shard: TestDatabase) -> None:
    async with shard.connection.transaction():
        async with shard.connection.transaction(force_rollback=True):
            await note_effects(shard, 2)
        await note_effects(shard, 2)
        await take_effects(shard.connection)


async def test_the_table_is_not_searched_once_an_effect(shard: TestDatabase) -> None:
    """Effects that were taken stay in it, dead, until it is vacuumed: a search for any would pass them all."""

    async def scans() -> int:
        [(number,)] = await (await shard.connection.execute(_SCANS)).fetchall()
        return int(number)

    async def scans_of(number: int) -> int:
        async with shard.connection.transaction(force_rollback=True):
            before = await scans()
            await note_effects(shard, number)
            await take_effects(shard.connection)
            await shard.run("SET CONSTRAINTS ALL IMMEDIATE")
            return await scans() - before

    assert await scans_of(100) == await scans_of(10)


async def test_what_many_effects_leave_behind_is_cleared_away(shard: TestDatabase) -> None:
    async def size() -> int:
        [(number,)] = await (await shard.connection.execute("SELECT pg_relation_size('crosskey.effect')")).fetchall()
        return int(number)

    async with shard.connection.transaction():
        await note_effects(shard, 20_000)
        await take_effects(shard.connection)
    before = await size()
    await tidy(shard.connection)
    assert await size() < before / 10


async def test_a_few_are_left_to_those_that_follow(shard: TestDatabase) -> None:
    async with shard.connection.transaction():
        await note_effects(shard, 10)
        await take_effects(shard.connection)
    async with shard.connection.transaction():
        # VACUUM would be refused in a transaction.
        await tidy(shard.connection)
