"""Applying a schema file: errors name the file, and what was skipped of it is told."""

from pathlib import Path

import click

from crosskey import Client, SchemaRefused
from crosskey.catalog.skipped import Skipped, skipped_lines
from crosskey.v1 import admin_pb2


def apply_file(client: Client, file: Path, *, dry_run: bool = False) -> admin_pb2.ApplySchemaResponse:
    """Apply the schema in a file, and tell on standard error what of it means nothing here.

    Raises click.ClickException if it is not UTF-8 text, SchemaRefused with the file's name, and what else the router
    answers.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise click.ClickException(f"{file} is not UTF-8 text") from None
    try:
        response = client.apply_schema(text, dry_run=dry_run)
    except SchemaRefused as refused:
        refused.message = f"{file}: {refused.message}"
        raise
    for line in skipped_lines(Skipped(each.line, each.statement, each.reason) for each in response.skipped):
        click.echo(line, err=True)
    return response
