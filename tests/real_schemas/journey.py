"""The way of a schema from an application's own migrations into a cluster.

The application is brought up on one PostgreSQL, filled, and dumped. The dump goes through advise, plan and apply as it
is; the rows through load; then rows are inserted through the router, and the audit finds nothing.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg import sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from crosskey import Client
from crosskey.catalog.model import Database, Table
from crosskey.catalog.plan import Plan
from crosskey.catalog.planning import plan_schema
from crosskey.catalog.skipped import Inspection
from crosskey.cli.advise import advise
from crosskey.cli.load.command import load
from crosskey.cli.plan import plan as plan_command
from crosskey.cli.schema_reading import read_schema
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.local_cluster.postgres import PostgresServer
from tests.fresh_cluster import FreshClusters
from tests.real_schemas.made_rows import Row, Words, make_rows
from tests.real_schemas.published import Application
from tests.shard_sql import query, query_all

ON_POSTGRES = range(101, 106)
THROUGH_THE_ROUTER = range(201, 204)

LABELS = """
SELECT format_type(t.oid, NULL), min(e.enumlabel)
FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid
GROUP BY t.oid
"""
CHECKED = """
SELECT n.nspname || '.' || t.relname, a.attname, (regexp_match(pg_get_constraintdef(c.oid), $$'([^']+)'$$))[1]
FROM pg_constraint c
JOIN pg_class t ON t.oid = c.conrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = c.conkey[1]
WHERE c.contype = 'c' AND cardinality(c.conkey) = 1 AND pg_get_constraintdef(c.oid) LIKE '%ANY%ARRAY[%'
"""


@dataclass(frozen=True)
class Expected:
    """What is asked of the advice on a schema, and of rows made for it.

    `local` is the least share of keys that are local, `copied` the most tables on every shard, `without_rows` the most
    tables that get no rows, since a CHECK or a trigger of theirs takes knowing the application.
    """

    local: float
    copied: int
    without_rows: int = 0
    refused: str = ""
    """What Crosskey still says of it: the test is then an expected failure, and the reason is shown."""


def go_all_the_way(postgres: list[PostgresServer], folder: Path, application: Application, expected: Expected) -> None:
    """Takes the application's schema and rows into a cluster of three shards.

    Fails where one PostgreSQL and the cluster differ; the test is an expected failure where what is known to be refused
    is refused, and skipped where the application is not installed.
    """
    # A cluster that ends with its test: eight at once are many processes.
    with new_database(postgres[0], f"real_{application.name}") as dsn, ExitStack() as clusters:
        application.bring_up(dsn)
        taken = fill(postgres[0], dsn, folder, expected)
        advised = advise_on(dump(postgres[0], dsn, folder), dsn, folder, expected)
        planned = plan_of(postgres[0], advised)
        cluster = FreshClusters(postgres, folder / "cluster", clusters)(advised.read_text(encoding="utf-8"))
        with Client(cluster.address, timeout=60) as client:
            load_into(cluster, dsn, folder, expected)
            assert differing_tables(cluster, dsn, planned) == {}
            assert client.audit() == []
            insert_through_router(client, planned, taken, words_of(dsn))
            assert client.audit() == []


@contextmanager
def new_database(server: PostgresServer, name: str) -> Iterator[str]:
    """The DSN of an empty database, which is dropped at the end."""
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            yield server.dsn(database=name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def dump(server: PostgresServer, dsn: str, folder: Path) -> Path:
    """What pg_dump writes of a database's schema, as it is."""
    file = folder / "dump.sql"
    options = ["--schema-only", "--file", str(file), "--dbname", dsn]
    subprocess.run([server.binaries / "pg_dump", *options], check=True)
    return file


def fill(server: PostgresServer, dsn: str, folder: Path, expected: Expected) -> Database:
    """Insert rows into every table, beside those that the migrations left; answers the tables that took them."""
    database = read_schema("inspect", server.dsn(), Inspection.from_json, dump(server, dsn, folder)).database
    refused: list[str] = []
    with psycopg.connect(dsn, autocommit=True, row_factory=dict_row) as connection:

        def insert(table: Table, row: Row) -> Row | None:
            names = sql.SQL(", ").join(map(sql.Identifier, row))
            values = sql.SQL(", ").join(sql.Placeholder() for _ in row)
            into = sql.Identifier(table.name.schema, table.name.name)
            command = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING *").format(into, names, values)
            empty = sql.SQL("INSERT INTO {} DEFAULT VALUES RETURNING *").format(into)
            try:
                return connection.execute(
                    command if row else empty, [_adapt(value) for value in row.values()]
                ).fetchone()
            except psycopg.Error as error:
                refused.append(f"{table.name}: {error.diag.message_primary}")
                return None

        made = make_rows(database, words_of(dsn), ON_POSTGRES, insert, minted={})
        connection.execute("ANALYZE")
    tables = tuple(table for table in database.tables if made[table.name])
    assert len(database.tables) - len(tables) <= expected.without_rows, refused
    keys = tuple(key for key in database.foreign_keys if made[key.table] and made[key.parent])
    return Database(tables, keys)


def _adapt(value: Any) -> Any:
    return Jsonb(value) if isinstance(value, dict) else value


def words_of(dsn: str) -> Words:
    """The labels of enums, and what CHECKs list."""
    with psycopg.connect(dsn) as connection:
        connection.execute("SET search_path TO pg_catalog")
        labels: dict[str, str] = dict(connection.execute(LABELS).fetchall())
        checked = {(table, column): text for table, column, text in connection.execute(CHECKED).fetchall()}
    return Words(labels, checked)


def advise_on(dumped: Path, dsn: str, folder: Path, expected: Expected) -> Path:
    """The tagged copy of a dump, once its score was judged."""
    advised = folder / "advised.sql"
    arguments = [str(dumped), "--dsn", dsn, "--write", str(advised), "--json"]
    result = CliRunner().invoke(advise, arguments)
    expect_success(result, expected)
    score = json.loads(result.stdout)["score"]
    assert score["local_keys"] >= expected.local * score["keys"], score
    assert score["copied_tables"] <= expected.copied, score
    assert score["largest_shard"] < 0.5, score
    return advised


def expect_success(result: Result, expected: Expected) -> None:
    """The command has gone well, or has ended with what is known to be refused."""
    if expected.refused and result.exit_code != 0 and expected.refused in result.output:
        pytest.xfail(expected.refused)
    assert result.exit_code == 0, result.output


def plan_of(server: PostgresServer, advised: Path) -> Plan:
    """The plan of a tagged schema, which the command prints as well."""
    result = CliRunner().invoke(plan_command, [str(advised), "--dsn", server.dsn()])
    assert result.exit_code == 0, result.output
    return plan_schema(read_schema("inspect", server.dsn(), Inspection.from_json, advised).database)


def load_into(cluster: LocalCluster, dsn: str, folder: Path, expected: Expected) -> None:
    """Load all rows of a database by the command."""
    options = ["--router", cluster.address, "--state", str(folder / "state.json"), "--from", dsn]
    expect_success(CliRunner().invoke(load, options), expected)


def differing_tables(cluster: LocalCluster, dsn: str, planned: Plan) -> dict[str, tuple[int, int]]:
    """The tables whose rows on the shards are others than those of a database, with the numbers of both."""
    differing = {}
    with psycopg.connect(dsn) as connection:
        for table in planned.tables:
            name = sql.Identifier(table.table.name.schema, table.table.name.name).as_string()
            text = f"SELECT t::text FROM {name} t"
            stored = sorted(connection.execute(text.encode()).fetchall())
            loaded = sorted(query(cluster, 0, text)) if table.placement == "reference" else query_all(cluster, text)
            if stored != loaded:
                differing[str(table.table.name)] = (len(stored), len(loaded))
    return differing


def insert_through_router(client: Client, planned: Plan, database: Database, words: Words) -> None:
    """Insert rows made from the schema by a client: what PostgreSQL took, the cluster takes."""

    def insert(table: Table, row: Row) -> Row | None:
        [stored] = client.insert(str(table.name), row)
        return stored

    minted = {table.table.name: table.slot_column for table in planned.tables if table.slot_column}
    made = make_rows(database, words, THROUGH_THE_ROUTER, insert, minted=minted)
    assert all(made.values())
