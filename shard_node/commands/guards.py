"""`python -m crosskey.shard_node guards`: the DDL that a shard runs after a schema's own, to be read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import click

from crosskey.catalog.plan import Plan
from crosskey.catalog.planning import SchemaRefused, plan_schema
from crosskey.shard_node.commands.schema_command import failures_of_postgres, schema_text
from crosskey.shard_node.guards.foreign_keys import guard_statements
from crosskey.shard_node.schema.introspection import inspect_schema
from crosskey.shard_node.setting_types import CONNECTION_STRING


@click.command()
@click.option(
    "--dsn",
    type=CONNECTION_STRING,
    required=True,
    envvar="CROSSKEY_DSN",
    help="A database whose role may create databases.",
)
@click.option(
    "--schema",
    "schema_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The schema as SQL.",
)
@click.option("--shard", type=click.IntRange(min=0), default=0, show_default=True, help="The shard that runs it.")
@click.option("--shards", type=click.IntRange(min=1), default=3, show_default=True, help="How many shards there are.")
def guards(dsn: str, schema_file: Path, shard: int, shards: int) -> None:
    """Print the DDL that makes a schema's foreign keys and unique keys hold over all shards."""
    if shard >= shards:
        raise click.UsageError(f"there is no shard {shard} among {shards}: they count from 0")
    schema_sql = schema_text(schema_file)
    with failures_of_postgres():
        database = asyncio.run(inspect_schema(dsn, schema_sql)).database
    try:
        plan = plan_schema(database)
    except SchemaRefused as refused:
        raise click.ClickException("\n".join(refusal.message for refusal in refused.refusals)) from None
    click.echo("\n".join(guards_as_text(plan, shard, shards)))


def guards_as_text(plan: Plan, shard: int, shards: int) -> Iterable[str]:
    """Each statement with its semicolon, as psql would run it."""
    for statement in guard_statements(plan, shard, shards):
        # Where there are parameters, as there always are when a statement is run, %% stands for %.
        yield statement.as_string().replace("%%", "%") + ";"
