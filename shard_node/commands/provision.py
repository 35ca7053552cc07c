"""Makes what a shard node needs of a PostgreSQL server: a role that is no superuser, its planner, and its database."""

import time

import click
import psycopg
from psycopg import sql

from crosskey.shard_node.postgres.planner import planner_name, planner_statement
from crosskey.shard_node.setting_types import CONNECTION_STRING

RETRY_SECONDS = 0.2
# Any number that is ours: shards on one server may be provisioned at the same moment, and a role cannot be.
PROVISION_LOCK = 0x43524F53534B4559


@click.command()
@click.option(
    "--admin-dsn",
    type=CONNECTION_STRING,
    required=True,
    envvar="CROSSKEY_ADMIN_DSN",
    help="How to connect as a superuser.",
)
@click.option("--role", required=True, envvar="CROSSKEY_ROLE", help="The role that the node connects as.")
@click.option("--password", required=True, envvar="CROSSKEY_PASSWORD", help="The role's password.")
@click.option("--database", required=True, envvar="CROSSKEY_DATABASE", help="The shard's database.")
@click.option("--wait-seconds", type=float, default=0.0, show_default=True, help="For a server that is starting.")
def provision(admin_dsn: str, role: str, password: str, database: str, wait_seconds: float) -> None:
    """Make the role and the database of a shard, and the role ROLE_planner, which only plans schemas.

    What exists already is left as it is, but for the roles' password, which is one.
    """
    try:
        with _connect(admin_dsn, wait_seconds) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [PROVISION_LOCK])
            ensure_role(connection, role, password)
            ensure_database(connection, role, database)
    except psycopg.Error as error:
        raise click.ClickException(f"cannot make role {role!r} and database {database!r}: {error}") from None


def ensure_role(connection: psycopg.Connection, role: str, password: str) -> None:
    """Make `role` and its planner, or set their password.

    It may log in and create databases (the scratch ones), and no more.
    """
    exists = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role]).rowcount
    verb = sql.SQL("ALTER" if exists else "CREATE")
    connection.execute(
        sql.SQL("{verb} ROLE {role} LOGIN CREATEDB NOSUPERUSER PASSWORD {password}").format(
            verb=verb, role=sql.Identifier(role), password=sql.Literal(password)
        )
    )
    _ensure_planner(connection, role, password)


def _ensure_planner(connection: psycopg.Connection, role: str, password: str) -> None:
    """Make the role that schemas are planned as, with the same password; `role` makes databases for it."""
    planner = planner_name(role)
    exists = bool(connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [planner]).rowcount)
    connection.execute(planner_statement(planner, password, exists=exists))
    connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(planner), sql.Identifier(role)))


def ensure_database(connection: psycopg.Connection, role: str, database: str) -> None:
    """Make `database` with `role` as its owner, unless it exists."""
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [database]).rowcount:
        return
    connection.execute(
        sql.SQL("CREATE DATABASE {database} OWNER {role} TEMPLATE template0 ENCODING 'UTF8'").format(
            database=sql.Identifier(database), role=sql.Identifier(role)
        )
    )


def _connect(dsn: str, wait_seconds: float) -> psycopg.Connection:
    """Connect, trying again until `wait_seconds` are over while the server does not answer."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            return psycopg.connect(dsn, autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(RETRY_SECONDS)
