"""Makes what a shard node needs of a PostgreSQL server: a role that is no superuser, its planner, and its database.

Extensions that only a superuser may have are made in that database, and in a template beside it, from which the
databases are made that schemas are planned in: so planning sees what the operator has installed.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from crosskey.pauses import growing_pauses
from crosskey.shard_node.postgres.planner import planner_name, planner_statement
from crosskey.shard_node.schema.scratch import template_name
from crosskey.shard_node.setting_types import CONNECTION_STRING

FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 1.0
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
@click.option("--extension", "extensions", multiple=True, help="An extension that only a superuser may make.")
@click.option("--wait-seconds", type=float, default=0.0, show_default=True, help="For a server that is starting.")
def provision(
    admin_dsn: str, role: str, password: str, database: str, extensions: Sequence[str], wait_seconds: float
) -> None:
    """Make the role and the database of a shard, and the role ROLE_planner, which only plans schemas.

    What exists already is left as it is, but for the roles' password, which is one. Extensions are made in the
    database, and in DATABASE_template, which schemas are planned in copies of.
    """
    try:
        with _connect(admin_dsn, wait_seconds) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [PROVISION_LOCK])
            ensure_role(connection, role, password)
            ensure_database(connection, role, database)
            for extension in extensions:
                ensure_extension(connection, role, database, extension)
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


def ensure_extension(connection: psycopg.Connection, role: str, database: str, extension: str) -> None:
    """Make an extension in `database`, and in the template of the databases that schemas are planned in."""
    template = template_name(database)
    ensure_database(connection, role, template)
    statement = sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension))
    with _open(connection, template), psycopg.connect(_dsn_of(connection, template), autocommit=True) as there:
        there.execute(statement)
    with psycopg.connect(_dsn_of(connection, database), autocommit=True) as there:
        there.execute(statement)


@contextmanager
def _open(connection: psycopg.Connection, template: str) -> Iterator[None]:
    """Let sessions into a template, which nobody else may hold up: a database that is connected to is not copied."""
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    connection.execute(allow.format(sql.Identifier(template), sql.SQL("true")))
    try:
        yield
    finally:
        connection.execute(allow.format(sql.Identifier(template), sql.SQL("false")))


def _dsn_of(connection: psycopg.Connection, database: str) -> str:
    return make_conninfo(connection.info.dsn, dbname=database, password=connection.info.password)


def _connect(dsn: str, wait_seconds: float) -> psycopg.Connection:
    """Connect, trying again until `wait_seconds` are over while the server does not answer."""
    pauses = growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, within=wait_seconds)
    while True:
        try:
            return psycopg.connect(dsn, autocommit=True)
        except psycopg.OperationalError:
            pause = next(pauses, None)
            if pause is None:
                raise
            time.sleep(pause)
