"""Variables of libpq's and PostgreSQL's in the environment change nothing: connections come from the DSN alone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psycopg
import pytest

from crosskey import Client
from crosskey.local_cluster.cluster import ROLE
from crosskey.local_cluster.postgres import PostgresServer, postgres_servers
from tests.fresh_cluster import FreshClusters

pytestmark = pytest.mark.processes

SCHEMA = "CREATE TABLE things (id bigint PRIMARY KEY); COMMENT ON TABLE things IS '@shard_by id'"

MISLEADING = {
    "PGHOST": "127.0.0.1",
    "PGHOSTADDR": "127.0.0.1",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGPASSWORD": "wrong",
    "PGPASSFILE": "/nowhere",
    "PGDATABASE": "nothing",
    "PGOPTIONS": "-c search_path=pg_catalog -c default_transaction_read_only=on",
    "PGSERVICE": "nothing",
    "PGSSLMODE": "require",
    "PGSSLROOTCERT": "system",
    "PGGSSENCMODE": "require",
    "PGREQUIREAUTH": "none",
    "PGTARGETSESSIONATTRS": "standby",
    "PGCLIENTENCODING": "SJIS",
    "PGDATESTYLE": "German",
    "PGTZ": "Asia/Tokyo",
    "PGCONNECT_TIMEOUT": "1",
}


def test_a_node_plans_writes_and_audits(fresh_cluster: FreshClusters) -> None:
    cluster = fresh_cluster(shards=2, node_environment=MISLEADING)
    with Client(cluster.address, timeout=60) as client:
        assert client.apply_schema(SCHEMA).changed
        client.insert("things", [{"id": number} for number in range(10)])
        assert client.audit() == []


def run(environment: Mapping[str, str], *arguments: str) -> str:
    command = [sys.executable, "-m", "crosskey.shard_node", *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("names", [["PGPORT"], sorted(MISLEADING)], ids=["PGPORT", "all"])
def test_every_command_connects_by_its_dsn(postgres: list[PostgresServer], tmp_path: Path, names: list[str]) -> None:
    environment = {name: MISLEADING[name] for name in names}
    (tmp_path / "schema.sql").write_text(SCHEMA)
    dsn = postgres[0].dsn()
    assert "things" in run(environment, "inspect", "--dsn", dsn, "--schema", str(tmp_path / "schema.sql"))
    assert "things" in run(environment, "survey", "--dsn", dsn, "--schema", str(tmp_path / "schema.sql"))
    assert "tables" in run(environment, "survey", "--dsn", dsn)
    provisioned = ["--role", ROLE, "--password", "x", "--database", "postgres"]
    run(environment, "provision", "--admin-dsn", dsn, *provisioned)


def test_a_server_of_ours_takes_none_for_a_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in MISLEADING.items():
        monkeypatch.setenv(name, value)
    with postgres_servers(tmp_path, 1, fast=True) as [server]:
        for name in MISLEADING:
            monkeypatch.delenv(name)
        with psycopg.connect(server.dsn()) as connection:
            row = connection.execute(
                "SELECT current_setting('datestyle'), current_setting('server_encoding')"
            ).fetchone()
    assert row == ("ISO, MDY", "UTF8")
