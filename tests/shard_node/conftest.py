"""A database of its own for each module of tests."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import psycopg
import pytest
import pytest_asyncio
from psycopg.rows import TupleRow

from crosskey.catalog.model import Table
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.shard_node.schema.introspection import describe


@dataclass(frozen=True)
class TestDatabase:
    """A connection to a database that the test may fill as it likes."""

    __test__ = False

    connection: psycopg.AsyncConnection[TupleRow]

    async def run(self, *statements: str) -> None:
        """Runs statements."""
        for statement in statements:
            await self.connection.execute(statement.encode())

    async def create_collation(self, name: str) -> None:
        """Creates a collation that differs from the order of bytes; skips the test if this PostgreSQL has none."""
        try:
            await self.run(f"CREATE COLLATION {name} (provider = icu, locale = 'de')")
        except psycopg.errors.FeatureNotSupported:
            pytest.skip("this PostgreSQL is built without ICU")

    async def table(self, name: str, schema: str = "public") -> Table:
        """The table as a node describes it."""
        database = await describe(self.connection)
        return next(table for table in database.tables if (table.name.schema, table.name.name) == (schema, name))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def database(postgres: list[PostgresServer]) -> AsyncIterator[TestDatabase]:
    """An empty database, dropped at the end of the module."""
    name = f"test_{secrets.token_hex(6)}"
    server = postgres[0]
    async with await psycopg.AsyncConnection.connect(server.dsn(), autocommit=True) as owner:
        await owner.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'".encode())
        async with await psycopg.AsyncConnection.connect(
            server.dsn(database=name), autocommit=True, options="-c timezone=UTC -c client_encoding=UTF8"
        ) as connection:
            yield TestDatabase(connection)
        await owner.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
