"""The subcommand that serves a cluster on this machine."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from crosskey import Client, CrosskeyError, SchemaNotLoaded
from crosskey.cli.applying import apply_file
from crosskey.cli.extensions import extension_option
from crosskey.cli.grpcurl import grpcurl_lines
from crosskey.local_cluster.cluster import ClusterOptions, LocalCluster, running_cluster
from crosskey.local_cluster.cluster_error import ClusterError
from crosskey.local_cluster.data_folder import claimed
from crosskey.local_cluster.postgres import PostgresServer, postgres_servers
from crosskey.local_cluster.process import ChildProcess
from crosskey.local_cluster.stop_signals import Stopped, StopRequest, stoppable
from crosskey.serving.address import ADDRESS

POLL_SECONDS = 0.2
APPLY_SECONDS = 120.0
MAX_RESTARTS = 20
"""Of one process that is killed. What is killed so often, such as for want of memory, will be again."""

EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--schema", type=EXISTING_FILE, help="The schema to apply; the one in force if not given.")
@click.option("--shards", type=click.IntRange(1, 8), default=3, show_default=True, help="How many shards.")
@click.option("--listen", type=ADDRESS, default="127.0.0.1:7400", show_default=True, help="Where the router serves.")
@click.option("--data", type=FOLDER, default=".crosskey", show_default=True, help="Keeps the data between runs.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes of each server.")
@click.option("--postgres-bin", type=EXISTING_FOLDER, help="Where initdb and postgres are; the embedded ones if not.")
@extension_option
def up(
    schema: Path | None,
    shards: int,
    listen: str,
    data: Path,
    workers: int,
    postgres_bin: Path | None,
    extensions: Sequence[str],
) -> None:
    """Serve a cluster of several PostgreSQL servers until Ctrl-C or SIGTERM, keeping its data."""
    folder = data.resolve()
    sharing = {"CROSSKEY_WORKERS": str(workers)}
    options = ClusterOptions(listen=listen, extensions=extensions, node_environment=sharing, router_environment=sharing)
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
    """Watch the processes until a signal comes. One that is killed is started again.

    Raises ProcessDiedError for one that ends by itself, or is killed again and again.
    """
    restarts: Counter[str] = Counter()
    while not stop.made:
        for server in servers:
            _keep_running(server.process, server.start_again, restarts)
        for process in [*cluster.nodes, *cluster.routers]:
            _keep_running(process, process.start_serving, restarts)
        time.sleep(POLL_SECONDS)


def _keep_running(process: ChildProcess, start: Callable[[], None], restarts: Counter[str]) -> None:
    if process.running:
        return
    was_killed = process.exit_code is not None and process.exit_code < 0
    if not was_killed or restarts[process.name] == MAX_RESTARTS:
        process.check_running()
    restarts[process.name] += 1
    click.echo(f"{process.name} was killed; it is started again.", err=True)
    start()


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
