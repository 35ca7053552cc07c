"""PostgreSQL servers as child processes."""

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from crosskey.local_cluster.postgres import PostgresError, PostgresServer, embedded_binaries

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("postgres"), fast=True)
    server.start()
    yield server
    server.stop()


def test_it_allows_prepared_transactions_and_is_durable_unless_told_otherwise(server: PostgresServer) -> None:
    with psycopg.connect(server.dsn()) as connection:
        shown = [connection.execute(f"SHOW {name}").fetchone() for name in ("max_prepared_transactions", "fsync")]
    assert shown == [("64",), ("off",)]
    assert "fsync=off" not in PostgresServer(server.folder).command(Path("/socket"))


def test_only_its_user_can_reach_it(server: PostgresServer) -> None:
    folder = Path(str(conninfo_to_dict(server.dsn())["host"]))
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IRWXU
    with psycopg.connect(server.dsn()) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_data_survives_a_restart(server: PostgresServer) -> None:
    with psycopg.connect(server.dsn()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    server.start()
    with psycopg.connect(server.dsn()) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)


def test_data_survives_a_crash(server: PostgresServer) -> None:
    with psycopg.connect(server.dsn()) as connection:
        connection.execute("CREATE TABLE kept_too AS SELECT 42 AS answer")
    _crash(server)
    server.start()
    with psycopg.connect(server.dsn()) as connection:
        assert connection.execute("SELECT answer FROM kept_too").fetchone() == (42,)


def test_a_folder_that_another_server_uses_is_refused(server: PostgresServer) -> None:
    with pytest.raises(PostgresError, match=f"stop process {server.process.pid} first"):
        PostgresServer(server.folder, fast=True).start()


def test_a_server_that_cannot_be_initialised_says_why(tmp_path: Path) -> None:
    folder = tmp_path / "postgres"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "something").touch()
    with pytest.raises(PostgresError, match="exists but is not empty"):
        PostgresServer(folder).start()


def test_the_embedded_binaries_are_postgresql_18() -> None:
    version = subprocess.run(
        [embedded_binaries() / "postgres", "--version"], capture_output=True, text=True, check=True
    )
    assert " 18." in version.stdout


def _crash(server: PostgresServer) -> None:
    """End the whole server as a power cut would: its backends go with it once they notice."""
    os.kill(server.process.pid, 9)
    server.stop()
