"""Provisioning: a role that is no superuser, and a database of its own."""

from collections.abc import Iterator

import psycopg
import pytest
from click.testing import CliRunner, Result

from crosskey.local_cluster.postgres import PostgresServer
from crosskey.shard_node.commands.provision import provision

pytestmark = pytest.mark.processes

NAME = "provisioned"


@pytest.fixture(scope="module")
def server(postgres: list[PostgresServer]) -> Iterator[PostgresServer]:
    yield postgres[0]
    with psycopg.connect(postgres[0].dsn(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {NAME}")
        connection.execute(f"DROP ROLE {NAME}")


def test_the_role_owns_the_database_and_is_no_superuser(server: PostgresServer) -> None:
    assert _provision(server.dsn()).exit_code == 0
    with psycopg.connect(server.dsn(user=NAME, database=NAME)) as connection:
        connection.execute("CREATE SCHEMA mine")
        role = connection.execute("SELECT rolsuper, rolcreatedb FROM pg_roles WHERE rolname = current_user").fetchone()
    assert role == (False, True)


def test_provisioning_again_keeps_the_data(server: PostgresServer) -> None:
    _provision(server.dsn())
    with psycopg.connect(server.dsn(user=NAME, database=NAME)) as connection:
        connection.execute("CREATE TABLE kept ()")
    assert _provision(server.dsn()).exit_code == 0
    with psycopg.connect(server.dsn(user=NAME, database=NAME)) as connection:
        assert connection.execute("SELECT to_regclass('kept')::text").fetchone() == ("kept",)


def test_a_server_that_does_not_answer_is_an_error_in_one_sentence() -> None:
    result = _provision("host=/nowhere")
    assert result.exit_code == 1
    assert result.output.startswith("Error: cannot make role 'provisioned'")


def _provision(admin_dsn: str) -> Result:
    flags = {"--admin-dsn": admin_dsn, "--role": NAME, "--password": "secret", "--database": NAME}
    return CliRunner().invoke(provision, [part for flag in flags.items() for part in flag])
