"""`python -m crosskey.shard_node accept`: takes a database that was restored, or replaced, for the shard's own."""

import asyncio

import click
import psycopg

from crosskey.shard_node.postgres.startup import UnfitDatabase, accept_server
from crosskey.shard_node.setting_types import CONNECTION_STRING


@click.command()
@click.option(
    "--dsn", type=CONNECTION_STRING, required=True, envvar="CROSSKEY_DSN", help="How the shard's node connects."
)
def accept(dsn: str) -> None:
    """Accept a shard's database after a restore or a failover.

    A node refuses to serve a database whose server has changed since it last used it: the newest transactions may be
    lost, and with them one half of what other shards have kept. Accept it when no better copy can be had, start the
    node, and run `crosskey audit` before clients write: it names every row that has lost its other half.
    """
    try:
        incarnation = asyncio.run(_accept(dsn))
    except (UnfitDatabase, psycopg.Error) as error:
        raise click.ClickException(f"cannot accept the database: {error}") from None
    click.echo(f"accepted as incarnation {incarnation}")


async def _accept(dsn: str) -> str:
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        return await accept_server(connection)
