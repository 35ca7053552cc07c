"""The subcommand that prints committed changes as they come."""

from __future__ import annotations

from dataclasses import asdict

import click

from crosskey.cli.connection import connected, router_option
from crosskey.client import DEFAULT_TIMEOUT
from crosskey.exact_json import encode


@click.command()
@click.argument("tables", nargs=-1, required=True)
@click.option("--after", default="", help="Begin behind this token, which an event has had.")
@click.option("--count", type=click.IntRange(min=1), help="End after so many events.")
@router_option
def watch(tables: tuple[str, ...], after: str, count: int | None, router: str) -> None:
    """Print each committed change of TABLES, which have the tag @events, as a line of JSON, until Ctrl-C."""
    with connected(router, DEFAULT_TIMEOUT) as client, client.watch(tables, after=after) as stream:
        for number, event in enumerate(stream, start=1):
            click.echo(encode({**asdict(event), "time": event.time.isoformat()}))
            if number == count:
                return
