"""`crosskey advise`: of files and of live databases, what it writes, and how it refuses."""

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from click.testing import CliRunner, Result

from crosskey.cli.advise import advise
from crosskey.cli.plan import plan
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.shard_node.commands.surveying import read_only, survey_database
from tests.service.untagged_schemas import INSTAGRAM, MESSENGER

pytestmark = pytest.mark.processes

USE = """
INSERT INTO users SELECT md5(n::text)::uuid, 'user ' || n FROM generate_series(1, 2000) n;
INSERT INTO media SELECT md5('m' || n)::uuid, md5(n::text)::uuid FROM generate_series(1, 2000) n;
ANALYZE;
"""


def run_advise(*arguments: str | Path) -> Result:
    return CliRunner().invoke(advise, list(map(str, arguments)))


@pytest.fixture(scope="module")
def counting(postgres: list[PostgresServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A server of its own that counts statements."""
    server = PostgresServer(tmp_path_factory.mktemp("counting"), postgres[0].binaries, fast=True)
    server.start()
    try:
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
        server.stop()
        server.start()
        with psycopg.connect(server.dsn(), autocommit=True) as connection:
            connection.execute("CREATE SCHEMA stats")
            connection.execute("CREATE EXTENSION pg_stat_statements SCHEMA stats")
            connection.execute(f"{INSTAGRAM}{USE}")
        yield server
    finally:
        server.stop()


def test_a_file_and_its_tagged_copy(tmp_path: Path) -> None:
    schema, copy = tmp_path / "schema.sql", tmp_path / "tagged.sql"
    schema.write_text(MESSENGER)
    result = run_advise(schema, "--write", copy)
    assert result.exit_code == 0, result.output
    words = " ".join(result.stdout.split())
    assert "Local keys: 4 of 7." in words
    assert "Single-shard statements: not known, no database was asked." in words
    assert "COMMENT ON TABLE public.users IS '@shard_by id';" in words
    assert copy.read_text().startswith(MESSENGER.rstrip())
    assert CliRunner().invoke(plan, [str(copy)]).exit_code == 0


def run_statements(server: PostgresServer) -> None:
    """Runs statements that are counted, and nothing before them is."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute("SELECT stats.pg_stat_statements_reset()")
        for _ in range(8):
            connection.execute("SELECT * FROM media WHERE owner_id = %s", [None])
        connection.execute("SELECT * FROM users WHERE username = 'nobody'")
        connection.execute("SELECT count(*) FROM likes")
        connection.execute("SELECT * FROM users WHERE id IN (SELECT owner_id FROM media)")


def test_a_live_database_with_statements(counting: PostgresServer) -> None:
    run_statements(counting)
    result = run_advise("--dsn", counting.dsn(), "--json")
    assert result.exit_code == 0, result.output
    advice = json.loads(result.stdout)
    assert advice["has_statistics"]
    share = advice["statements"]
    assert {name: share[name] for name in ("single_shard", "by_claim", "many_shards", "not_read")} == {
        "single_shard": 8,
        "by_claim": 1,
        "many_shards": 1,
        "not_read": 1,
    }
    assert [statement["query"] for statement in share["most_frequent"]] == ["SELECT count(*) FROM likes"]
    # The survey itself has read a sample of each table by now, which does not count.
    assert "Single-shard statements: 80.0% of 10 calls" in run_advise("--dsn", counting.dsn()).stdout


async def test_a_partitioned_table_has_the_rows_of_its_partitions(counting: PostgresServer) -> None:
    with psycopg.connect(counting.dsn(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE parts")
    with psycopg.connect(counting.dsn(database="parts"), autocommit=True) as connection:
        connection.execute("CREATE TABLE events (id int PRIMARY KEY, kind int) PARTITION BY RANGE (id)")
        connection.execute(
            "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (100) PARTITION BY HASH (id)"
        )
        connection.execute("CREATE TABLE events_1a PARTITION OF events_1 FOR VALUES WITH (MODULUS 2, REMAINDER 0)")
        connection.execute("CREATE TABLE events_1b PARTITION OF events_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1)")
        connection.execute("CREATE TABLE events_2 PARTITION OF events DEFAULT")
        connection.execute("INSERT INTO events SELECT n, n % 4 FROM generate_series(1, 200) n; ANALYZE")
    survey = await survey_database(counting.dsn(database="parts"))
    assert [(str(facts.name), facts.rows) for facts in survey.tables] == [("events", 200)]
    assert {column.name: column.distinct for column in survey.tables[0].columns} == {"id": -1, "kind": 4}


def test_a_file_with_the_statistics_of_a_database(counting: PostgresServer, tmp_path: Path) -> None:
    schema, copy = tmp_path / "schema.sql", tmp_path / "tagged.sql"
    schema.write_text(INSTAGRAM)
    result = run_advise(schema, "--dsn", counting.dsn(), "--write", copy, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["has_statistics"]
    assert "COMMENT ON TABLE public.likes IS '@shard_with comment_id';" in copy.read_text()


def test_without_the_extension_it_says_so(postgres: list[PostgresServer]) -> None:
    with psycopg.connect(postgres[0].dsn(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE advise_plain")
        try:
            dsn = postgres[0].dsn(database="advise_plain")
            with psycopg.connect(dsn, autocommit=True) as plain:
                plain.execute(MESSENGER)
            words = " ".join(run_advise("--dsn", dsn).stdout.split())
            assert "not known, the extension pg_stat_statements is not in the database" in words
            assert "a file alone" not in words
            with psycopg.connect(dsn, autocommit=True) as plain:
                plain.execute("CREATE EXTENSION pg_stat_statements")
            assert "pg_stat_statements is not in shared_preload_libraries" in run_advise("--dsn", dsn).stdout
        finally:
            connection.execute("DROP DATABASE advise_plain")


async def test_a_live_database_is_only_read(postgres: list[PostgresServer]) -> None:
    async with read_only(postgres[0].dsn()) as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            await connection.execute("CREATE TABLE anything ()")


def test_a_dsn_that_leads_nowhere_is_not_repeated() -> None:
    result = run_advise("--dsn", "host=/nowhere password=hush")
    assert result.exit_code == 1
    assert "cannot reach PostgreSQL" in result.stderr
    assert "hush" not in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("dsn", ["postgresql://me:hush%zz@nowhere/", "hush"])
def test_what_is_no_dsn_is_an_error_of_the_commands_own(dsn: str, tmp_path: Path) -> None:
    (tmp_path / "schema.sql").write_text(INSTAGRAM)
    for command, arguments in ((advise, []), (plan, [str(tmp_path / "schema.sql")])):
        result = CliRunner().invoke(command, ["--dsn", dsn, *arguments])
        assert result.exit_code == 2
        assert f"Usage: {command.name} [OPTIONS] " in result.stderr
        assert "Error: Invalid value for '--dsn': it is neither like" in result.stderr
        assert "hush" not in result.output


def test_a_database_without_tables(postgres: list[PostgresServer]) -> None:
    result = run_advise("--dsn", postgres[0].dsn(database="template1"))
    assert (result.exit_code, result.stderr) == (1, "Error: there are no tables to give advice on\n")


def test_sql_that_does_not_load(tmp_path: Path) -> None:
    schema = tmp_path / "schema.sql"
    schema.write_text("\nCREATE TABEL a ();")
    result = run_advise(schema)
    assert (result.exit_code, result.stderr) == (
        1,
        f'{schema}: line 2: syntax error at or near "TABEL", in: CREATE TABEL a ()\n',
    )


def test_a_schema_that_planning_refuses_is_not_written(tmp_path: Path) -> None:
    schema, copy = tmp_path / "schema.sql", tmp_path / "tagged.sql"
    schema.write_text("CREATE TABLE a (id bigint PRIMARY KEY); ALTER TABLE a SET UNLOGGED;")
    result = run_advise(schema, "--write", copy)
    assert result.exit_code == 1
    assert "UNLOGGED" in result.stderr
    assert "no placement" not in result.stderr
    assert "is not written" in result.stderr
    assert not copy.exists()


def test_flags_that_do_not_go_together(tmp_path: Path) -> None:
    schema = tmp_path / "schema.sql"
    schema.write_text(INSTAGRAM)
    for arguments in ([], [tmp_path / "missing.sql"], ["--dsn", "x=1", "--write", "y"], [schema, "--write", schema]):
        assert run_advise(*arguments).exit_code == 2, arguments
    assert schema.read_text() == INSTAGRAM
