"""Makes PgQueuer's tables, in the database that libpq's environment names."""

import asyncio

import psycopg
from pgqueuer.db import PsycopgDriver
from pgqueuer.queries import Queries


async def main() -> None:
    """Run the application's own installation."""
    async with await psycopg.AsyncConnection.connect("", autocommit=True) as connection:
        await Queries(PsycopgDriver(connection)).install()


asyncio.run(main())
