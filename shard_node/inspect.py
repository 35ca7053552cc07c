"""`python -m shard_node inspect`: describes a schema file as JSON, for planning without a cluster."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click
import psycopg

from crosskey import errors
from shard_node.introspection import inspect_schema
from shard_node.setting_types import CONNECTION_STRING


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
    """Print the tables and keys of a schema as JSON."""
    try:
        database = asyncio.run(inspect_schema(dsn, schema_file.read_text(encoding="utf-8")))
    except errors.SchemaRefused as error:
        raise click.ClickException(error.message) from None
    except UnicodeDecodeError:
        raise click.ClickException(f"{schema_file} is not UTF-8 text") from None
    except psycopg.OperationalError as error:
        raise click.ClickException(f"cannot reach PostgreSQL: {error}") from None
    click.echo(database.to_json())
