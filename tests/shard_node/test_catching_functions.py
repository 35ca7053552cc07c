"""Which functions make a schema one that may catch errors, where only a superuser can write them."""

from crosskey.shard_node.schema.introspection import describe
from tests.shard_node.conftest import TestDatabase


async def catches_errors(database: TestDatabase, *statements: str) -> bool:
    """Whether a database with these statements may catch errors; leaves nothing behind."""
    async with database.connection.transaction(force_rollback=True):
        await database.run(*statements)
        return (await describe(database.connection)).catches_errors


async def test_a_language_that_nobody_looks_into(database: TestDatabase) -> None:
    language = "CREATE LANGUAGE other HANDLER plpgsql_call_handler"
    assert not await catches_errors(database, language)
    function = "CREATE FUNCTION f() RETURNS integer LANGUAGE other AS 'BEGIN RETURN 1; END'"
    assert await catches_errors(database, language, function)


async def test_what_crosskey_itself_brings(database: TestDatabase) -> None:
    source = "'BEGIN PERFORM 1; EXCEPTION WHEN others THEN NULL; END'"
    function = f"CREATE FUNCTION crosskey.f() RETURNS void LANGUAGE plpgsql AS {source}"
    assert not await catches_errors(database, "CREATE SCHEMA crosskey", function)
