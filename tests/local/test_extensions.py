"""Extensions that only a superuser may make: the operator has them made, and planning sees them."""

from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from crosskey import Client, errors
from crosskey.cli.plan import plan
from crosskey.local_cluster.cluster import ClusterOptions, LocalCluster, running_cluster
from crosskey.local_cluster.postgres import PostgresServer
from tests.shard_sql import query

pytestmark = pytest.mark.processes

# Every PostgreSQL has it, and it is not trusted.
EXTENSION = "earthdistance"
SCHEMA = """
CREATE EXTENSION IF NOT EXISTS cube;
CREATE EXTENSION IF NOT EXISTS {extension};
CREATE TABLE places (id bigint PRIMARY KEY, spot earth);
COMMENT ON TABLE places IS '@shard_by id';
"""
HOW_TO_MAKE_IT = f"Run `python -m crosskey.shard_node provision` with --extension {EXTENSION} for every shard"


def run_plan(folder: Path, extension: str, *options: str) -> Result:
    file = folder / "schema.sql"
    file.write_text(SCHEMA.format(extension=extension))
    return CliRunner().invoke(plan, [str(file), *options])


def test_what_nobody_made_is_refused_with_what_to_do(postgres: list[PostgresServer], tmp_path: Path) -> None:
    refused = run_plan(tmp_path, EXTENSION, "--dsn", postgres[0].dsn())
    assert refused.exit_code == 1
    assert f'permission denied to create extension "{EXTENSION}"' in refused.stderr
    assert HOW_TO_MAKE_IT in refused.stderr


def test_what_the_server_lacks_is_refused_with_what_to_do(postgres: list[PostgresServer], tmp_path: Path) -> None:
    refused = run_plan(tmp_path, "postgis", "--dsn", postgres[0].dsn())
    assert refused.exit_code == 1
    assert 'extension "postgis" is not available' in refused.stderr or "extension control file" in refused.stderr
    assert "This PostgreSQL does not have it: install it on the server of every shard" in refused.stderr


def test_a_plan_alone_takes_the_option(tmp_path: Path, postgres: list[PostgresServer]) -> None:
    binaries = str(postgres[0].binaries)
    planned = run_plan(tmp_path, EXTENSION, "--extension", "cube", "--extension", EXTENSION, "--postgres-bin", binaries)
    assert planned.exit_code == 0, planned.output


def test_what_the_operator_made_is_there_for_plan_and_apply(postgres: list[PostgresServer], tmp_path: Path) -> None:
    options = ClusterOptions(name="extended", extensions=["cube", EXTENSION])
    schema = SCHEMA.format(extension=EXTENSION)
    with running_cluster(postgres[:2], tmp_path, options) as cluster, Client(cluster.address, timeout=60) as client:
        try:
            assert run_plan(tmp_path, EXTENSION, "--dsn", cluster.databases[1].dsn).exit_code == 0
            assert client.apply_schema(schema, dry_run=True).schema.tables[0].table == "places"
            query(cluster, 1, f"DROP EXTENSION {EXTENSION}")
            with pytest.raises(errors.SchemaRefused, match="does not load on shard 1: line 3: permission") as refused:
                client.apply_schema(schema)
            assert HOW_TO_MAKE_IT in refused.value.metadata["hint"]
            cluster.databases[1].provision([EXTENSION])
            assert client.apply_schema(schema).changed
            client.insert("places", [{"id": number, "spot": "(6378168, 0, 0)"} for number in range(4)])
            assert client.audit() == []
        finally:
            cluster.stop()
            drop(cluster)


def drop(cluster: LocalCluster) -> None:
    for database in cluster.databases:
        with psycopg.connect(database.server.dsn(), autocommit=True) as connection:
            for name in (database.name, f"{database.name}_template"):
                connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
