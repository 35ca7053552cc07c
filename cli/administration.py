"""Commands on the cluster: its schema, its topology, its health."""

from __future__ import annotations

from pathlib import Path

import click

from crosskey.cli.applying import apply_file
from crosskey.cli.connection import connected, print_message, router_options


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Plan only.")
@router_options
def apply(file: Path, dry_run: bool, router: str, timeout: float) -> None:
    """Install the schema in FILE on every shard, and print how it was planned."""
    with connected(router, timeout) as client:
        print_message(apply_file(client, file, dry_run=dry_run))


@click.command()
@router_options
def schema(router: str, timeout: float) -> None:
    """Print the schema in force: tables, keys, and how each is enforced."""
    with connected(router, timeout) as client:
        print_message(client.describe_schema())


@click.command()
@router_options
def topology(router: str, timeout: float) -> None:
    """Print the shards and their state."""
    with connected(router, timeout) as client:
        print_message(client.describe_topology())


@click.command()
@router_options
def audit(router: str, timeout: float) -> None:
    """Look for damage on every shard; print each finding, and exit with 1 if there is one."""
    with connected(router, timeout) as client:
        findings = client.audit()
    for finding in findings:
        print_message(finding)
    if findings:
        raise click.ClickException(f"{len(findings)} findings")
    click.echo("no damage found", err=True)


@click.command()
@router_options
def in_doubt(router: str, timeout: float) -> None:
    """Print the transactions whose outcome has not been carried out everywhere yet."""
    with connected(router, timeout) as client:
        print_message(client.list_in_doubt())


@click.command()
@router_options
def sweep(router: str, timeout: float) -> None:
    """Drop the shadows that no child references any more, and print how many; routers do so now and then anyway."""
    with connected(router, timeout) as client:
        click.echo(client.drop_unused_shadows())


@click.command()
@router_options
def events(router: str, timeout: float) -> None:
    """Print how many events each shard keeps, since when, and what holds back the next."""
    with connected(router, timeout) as client:
        print_message(client.describe_events())


@click.command()
@router_options
def cleanups(router: str, timeout: float) -> None:
    """Print what is being cleaned up after deletions, along foreign keys with @enforce eventual."""
    with connected(router, timeout) as client:
        print_message(client.list_cleanups())
