"""The subcommand that shows it all: a cluster with real data, and a story told on it."""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from crosskey import Client, CrosskeyError
from crosskey.cli.demo.les_miserables import Characters, Row
from crosskey.cli.demo.stage import opened_stage
from crosskey.cli.demo.story import SCENES, SHARDS
from crosskey.cli.demo.story_page import StoryPage
from crosskey.local_cluster.cluster import ClusterOptions, LocalCluster, running_cluster
from crosskey.local_cluster.cluster_error import ClusterError
from crosskey.local_cluster.postgres import postgres_servers
from crosskey.local_cluster.stop_signals import Stopped, StopRequest, stoppable

SCHEMA = Path(__file__).with_name("schema.sql")
BATCH_ROWS = 100
LOAD_SECONDS = 60.0

STOPPED_EXIT_CODE = 130
"""What shells answer for a command that Ctrl-C ended."""


@click.command()
def demo() -> None:
    """Start a cluster with real data, tell the story, stop it.

    Three PostgreSQL servers, three shard nodes and a router run in a temporary folder; nothing is left of them. Exits
    with 1 if anything goes another way than the story says, with 130 if it is stopped.
    """
    page = StoryPage()
    try:
        _run(page)
    except Stopped:
        sys.exit(STOPPED_EXIT_CODE)
    except (ClusterError, CrosskeyError) as error:
        raise click.ClickException(str(error)) from None
    page.space()
    page.tell("Everything is stopped and removed. `crosskey up` starts a cluster that stays.")


def _run(page: StoryPage) -> None:
    schema_sql = _schema_sql()
    rows = Characters().rows()
    with stoppable() as stop, _cluster(page, stop) as cluster:
        with Client(cluster.address, timeout=LOAD_SECONDS) as client:
            _apply_schema(client, schema_sql, page)
            _load(client, rows, page)
        with opened_stage(cluster.address, [node.address for node in cluster.nodes], page) as stage:
            for scene in SCENES:
                stop.check()
                scene(stage)


def _schema_sql() -> str:
    """Return the schema of the messenger. Raises ClusterError where it is not installed: in the servers' image."""
    try:
        return SCHEMA.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ClusterError("the demo's schema is not installed here: pip install 'crosskey[local]' brings it") from None


@contextmanager
def _cluster(page: StoryPage, stop: StopRequest) -> Iterator[LocalCluster]:
    """Run a cluster in a temporary folder. Raises ClusterError if it cannot be started."""
    page.tell(f"Starting {SHARDS} PostgreSQL servers, {SHARDS} shard nodes and a router.")
    with (
        tempfile.TemporaryDirectory(prefix="crosskey-demo-") as name,
        postgres_servers(Path(name), SHARDS, fast=True) as servers,
    ):
        stop.check()
        with running_cluster(servers, Path(name) / "logs", ClusterOptions(name="demo")) as cluster:
            stop.check()
            yield cluster


def _apply_schema(client: Client, schema_sql: str, page: StoryPage) -> None:
    schema = client.apply_schema(schema_sql).schema
    page.tell("Applied examples/messenger/schema.sql. Its foreign keys:")
    for key in schema.keys:
        page.note(f"{key.constraint:32}{key.kind:13} ON DELETE {key.on_delete}")


def _load(client: Client, rows_by_table: Mapping[str, Sequence[Row]], page: StoryPage) -> None:
    page.tell("Loading who appears with whom in Les Misérables:")
    for table, rows in rows_by_table.items():
        batches = [rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS)]
        for batch in batches:
            client.insert(table, batch)
        page.note(f"{len(rows):3} {table:15} requests: {len(batches)}")
