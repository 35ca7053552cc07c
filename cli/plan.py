"""The subcommand that shows what Crosskey makes of a schema, before there is a cluster."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from crosskey.catalog.plan import Plan
from crosskey.catalog.planning import Refusal, SchemaRefused, plan_schema
from crosskey.catalog.skipped import Inspection, Skipped, skipped_lines
from crosskey.cli.extensions import extension_option
from crosskey.cli.plan_tables import print_plan
from crosskey.cli.schema_reading import read_schema
from crosskey.local_cluster.cluster import ShardDatabase
from crosskey.local_cluster.cluster_error import ClusterError
from crosskey.local_cluster.postgres import postgres_servers

EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.argument("schema", type=EXISTING_FILE)
@click.option("--dsn", help="A PostgreSQL to load it into, in a scratch database; a temporary server if not given.")
@click.option("--postgres-bin", type=EXISTING_FOLDER, help="Where initdb and postgres are; the embedded ones if not.")
@click.option("--format", "output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@extension_option
@click.option("--ddl", is_flag=True, help="Print the SQL that the first of three shards would add to the schema's own.")
def plan(
    schema: Path,
    dsn: str | None,
    postgres_bin: Path | None,
    output: str,
    extensions: Sequence[str],
    *,
    ddl: bool,
) -> None:
    """Show where the rows of SCHEMA would live, which foreign keys cross shards, and why.

    Exits with 1, and prints each reason on a line, if the schema cannot be sharded.
    """
    try:
        with some_database(dsn, postgres_bin, extensions) as database_dsn:
            if ddl:
                click.echo(read_schema("guards", database_dsn, bytes, schema), nl=False)
                return
            inspection = read_schema("inspect", database_dsn, Inspection.from_json, schema)
        planned = plan_schema(inspection.database)
    except ClusterError as error:
        raise click.ClickException(str(error)) from None
    except SchemaRefused as refused:
        print_refusals(refused.refusals, output)
        sys.exit(1)
    _print_plan(planned, inspection.skipped, output)


@contextmanager
def some_database(dsn: str | None, postgres_bin: Path | None, extensions: Sequence[str] = ()) -> Iterator[str]:
    """Give the DSN of a database: the one that the user named, or one of a temporary server with the extensions."""
    if dsn is not None:
        yield dsn
        return
    with (
        tempfile.TemporaryDirectory(prefix="crosskey-plan-") as folder,
        postgres_servers(Path(folder), 1, binaries=postgres_bin, fast=True) as [server],
    ):
        database = ShardDatabase(server, "plan")
        database.provision(extensions)
        yield database.dsn


def print_refusals(refusals: tuple[Refusal, ...], output: str) -> None:
    """Print each reason on a line, or all as JSON if `output` says so."""
    if output == "json":
        click.echo(msgspec.json.encode({"refusals": refusals}))
        return
    for refusal in refusals:
        click.echo(refusal.message, err=True)


def _print_plan(planned: Plan, skipped: tuple[Skipped, ...], output: str) -> None:
    if output == "json":
        click.echo(msgspec.json.encode({**msgspec.structs.asdict(planned), "skipped": skipped}))
        return
    print_plan(planned)
    for line in skipped_lines(skipped):
        click.echo(line)
