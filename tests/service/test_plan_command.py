"""`crosskey plan`: what it prints, and how it refuses."""

import json
from pathlib import Path

from click.testing import CliRunner, Result

from crosskey.cli.plan import plan
from crosskey.local_cluster.postgres import PostgresServer

SCHEMA = """
CREATE TABLE users (id bigint PRIMARY KEY);
COMMENT ON TABLE users IS '@shard_by id';
CREATE TABLE follows (
    follower bigint REFERENCES users,
    followee bigint CONSTRAINT "[red]followee" REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (follower, followee)
);
COMMENT ON TABLE follows IS '@shard_by follower';
"""


def run_plan(folder: Path, schema_sql: str, *options: str) -> Result:
    (folder / "schema.sql").write_text(schema_sql)
    return CliRunner().invoke(plan, [str(folder / "schema.sql"), *options])


def test_tables_for_people(postgres: list[PostgresServer], tmp_path: Path) -> None:
    result = run_plan(tmp_path, SCHEMA, "--dsn", postgres[0].dsn())
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    assert "users sharded id" in words
    assert "[red]followee" in words
    assert "cross-shard" in words
    assert "shard follows by" in words


def test_tables_that_tell_events(postgres: list[PostgresServer], tmp_path: Path) -> None:
    telling = SCHEMA.replace("'@shard_by id'", "E'@shard_by id\\n@events'")
    assert "told as events: users." in run_plan(tmp_path, telling, "--dsn", postgres[0].dsn()).stdout
    ddl = run_plan(tmp_path, telling, "--dsn", postgres[0].dsn(), "--ddl").stdout
    assert ddl.count("INSERT INTO crosskey.event (") == 3
    assert "crosskey.event" not in run_plan(tmp_path, SCHEMA, "--dsn", postgres[0].dsn(), "--ddl").stdout


def test_json(postgres: list[PostgresServer], tmp_path: Path) -> None:
    result = run_plan(tmp_path, SCHEMA, "--dsn", postgres[0].dsn(), "--format", "json")
    assert result.exit_code == 0
    kinds = {key["foreign_key"]["name"]: key["kind"] for key in json.loads(result.stdout)["keys"]}
    assert kinds == {"[red]followee": "cross-shard", "follows_follower_fkey": "local"}


def test_each_refusal_is_a_line(postgres: list[PostgresServer], tmp_path: Path) -> None:
    result = run_plan(tmp_path, "CREATE TABLE a (); CREATE TABLE b ();", "--dsn", postgres[0].dsn())
    assert result.exit_code == 1
    assert [line.split(";")[0] for line in result.stderr.splitlines()] == [
        'table "a": no placement',
        'table "b": no placement',
    ]


def test_sql_that_does_not_load(postgres: list[PostgresServer], tmp_path: Path) -> None:
    result = run_plan(tmp_path, "\nCREATE TABEL a ();", "--dsn", postgres[0].dsn(), "--format", "json")
    assert result.exit_code == 1
    [refusal] = json.loads(result.stdout)["refusals"]
    assert refusal["message"] == (
        f'{tmp_path / "schema.sql"}: line 2: syntax error at or near "TABEL", in: CREATE TABEL a ()'
    )


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    result = run_plan(tmp_path, SCHEMA, "--dsn", "host=/nowhere")
    assert result.exit_code == 1
    assert "cannot reach PostgreSQL" in result.stderr
    assert "Traceback" not in result.stderr


def test_without_a_server_it_starts_one(tmp_path: Path) -> None:
    assert run_plan(tmp_path, SCHEMA).exit_code == 0


def test_views_are_told(postgres: list[PostgresServer], tmp_path: Path) -> None:
    views = "CREATE VIEW glance AS SELECT id FROM users; CREATE MATERIALIZED VIEW stare AS SELECT id FROM users;"
    result = run_plan(tmp_path, SCHEMA + views, "--dsn", postgres[0].dsn())
    words = " ".join(result.stdout.split())
    assert "glance sharded id id" in words
    assert "stare it is materialized" in words
