"""The subcommand that serves a cluster on this machine."""

import time
from collections.abc import Sequence
from pathlib import Path

import click

from crosskey import Client, CrosskeyError, SchemaNotLoaded
from crosskey_cli.applying import apply_file
from crosskey_cli.cluster import ClusterOptions, LocalCluster, running_cluster
from crosskey_cli.cluster_error import ClusterError
from crosskey_cli.data_folder import claimed
from crosskey_cli.extensions import extension_option
from crosskey_cli.grpcurl import grpcurl_lines
from crosskey_cli.postgres import PostgresServer, postgres_servers
from crosskey_cli.stop_signals import Stopped, StopRequest, stoppable
from serving.address import ADDRESS

POLL_SECONDS = 0.2
APPLY_SECONDS = 120.0

EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--schema", type=EXISTING_FILE, help="The schema to apply; the one in force if not given.")
@click.option("--shards", type=click.IntRange(1, 8), default=3, show_default=True, help="How many shards.")
@click.option("--listen", type=ADDRESS, default="127.0.0.1:7400", show_default=True, help="Where the router serves.")
@click.option("--data", type=FOLDER, default=".crosskey", show_default=True, help="Keeps the data between runs.")
@click.option("--postgres-bin", type=EXISTING_FOLDER, help="Where initdb and postgres are; the embedded ones if not.")
@extension_option
def up(
    schema: Path | None,
    shards: int,
    listen: str,
    data: Path,
    postgres_bin: Path | None,
    extensions: Sequence[str],
) -> None:
    """Serve a cluster of several PostgreSQL servers until Ctrl-C or SIGTERM, keeping its data."""
    folder = data.resolve()
    options = ClusterOptions(listen=listen, extensions=extensions)
    click.echo(f"Starting {shards} PostgreSQL servers, {shards} shard nodes and a router.")
    try:
        with (
            stoppable() as stop,
            claimed(folder, shards),
            postgres_servers(folder, shards, binaries=postgres_bin) as servers,
            running_cluster(servers, folder / "logs", options) as cluster,
        ):
            stop.check()
            tables = _tables_of(cluster.address, schema)
            _print_addresses(cluster, tables)
            _serve_until_stopped(cluster, servers, stop)
    except Stopped:
        return
    except (ClusterError, CrosskeyError) as error:
        raise click.ClickException(str(error)) from None


def _serve_until_stopped(cluster: LocalCluster, servers: Sequence[PostgresServer], stop: StopRequest) -> None:
    """Watch the processes until a signal comes; ProcessDiedError if one of them ends."""
    while not stop.made:
        cluster.check_running()
        for server in servers:
            server.process.check_running()
        time.sleep(POLL_SECONDS)


def _tables_of(address: str, schema: Path | None) -> list[str]:
    """Apply the schema, if one is given, and return the tables of the one in force."""
    with Client(address, timeout=APPLY_SECONDS) as client:
        if schema is not None:
            apply_file(client, schema)
        try:
            return [table.table for table in client.describe_schema().tables]
        except SchemaNotLoaded:
            return []


def _print_addresses(cluster: LocalCluster, tables: Sequence[str]) -> None:
    click.echo(f"Crosskey serves on {cluster.address}")
    for shard, (node, database) in enumerate(zip(cluster.nodes, cluster.databases, strict=True)):
        click.echo(f'  shard {shard}: node {node.address}, psql "{database.superuser_dsn}"')
    click.echo("Try:")
    for line in grpcurl_lines(cluster.address, tables):
        click.echo(f"  {line}")
    click.echo("Ctrl-C stops it.")
