"""`python -m crosskey.shard_node survey`: reads what advice on placement is given from, and prints it as JSON."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from crosskey.shard_node.commands.schema_command import failures_of_postgres, schema_text
from crosskey.shard_node.commands.surveying import survey_database, survey_schema
from crosskey.shard_node.setting_types import CONNECTION_STRING


@click.command()
@click.option(
    "--dsn",
    type=CONNECTION_STRING,
    required=True,
    envvar="CROSSKEY_DSN",
    help="The database to read; with --schema, one whose role may create databases.",
)
@click.option(
    "--schema",
    "schema_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A schema as SQL, to be loaded into a scratch database and read there.",
)
def survey(dsn: str, schema_file: Path | None) -> None:
    """Print the tables, keys, indexes and statistics of a live database, or of a schema, as JSON."""
    schema_sql = None if schema_file is None else schema_text(schema_file)
    with failures_of_postgres():
        surveyed = asyncio.run(survey_database(dsn) if schema_sql is None else survey_schema(dsn, schema_sql))
    click.echo(surveyed.to_json())
