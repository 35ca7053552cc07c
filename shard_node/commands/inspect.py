"""`python -m crosskey.shard_node inspect`: describes a schema file as JSON, for planning without a cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from crosskey.catalog.skipped import Inspection
from crosskey.shard_node.commands.schema_command import failures_of_postgres, schema_text
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
def inspect(dsn: str, schema_file: Path) -> None:
    """Print the tables and keys of a schema, and what of it was skipped, as JSON."""
    schema_sql = schema_text(schema_file)
    with failures_of_postgres():
        inspected = asyncio.run(inspect_schema(dsn, schema_sql))
    click.echo(Inspection(inspected.database, inspected.run.skipped).to_json())
