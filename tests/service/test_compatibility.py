"""Every construct of docs/compatibility.md, tried: the page says what became of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from crosskey import Client, errors
from crosskey.local_cluster.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters

pytestmark = pytest.mark.searches

PAGE = Path(__file__).parents[2] / "docs" / "compatibility.md"

# What every construct may lean on. Rows of both tables live by their own id.
BASE = """
CREATE TABLE a (id bigint PRIMARY KEY, code text NOT NULL UNIQUE, n integer, day date, other bigint);
COMMENT ON TABLE a IS '@shard_by id';
CREATE TABLE r (code text PRIMARY KEY);
COMMENT ON TABLE r IS '@reference';
"""
PLACED = "COMMENT ON TABLE t IS '@shard_by id';"
TRIGGER = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;"
KEY = "ALTER TABLE a ADD CONSTRAINT k FOREIGN KEY"

CONSTRUCTS = {
    "columns of any type": "ALTER TABLE a ADD b jsonb, ADD c int4range, ADD d point, ADD e text[], ADD f bytea",
    "`DEFAULT`, `NOT NULL`, `CHECK`": "ALTER TABLE a ADD b int NOT NULL DEFAULT 1 CHECK (b > 0)",
    "`GENERATED ALWAYS AS (..) STORED`": "ALTER TABLE a ADD b int GENERATED ALWAYS AS (n + 1) STORED",
    "`serial`, identity, `nextval`": "ALTER TABLE a ADD b serial, ADD c int GENERATED ALWAYS AS IDENTITY",
    "enums, domains, composite types": "CREATE TYPE e AS ENUM ('x'); CREATE DOMAIN d AS int; CREATE TYPE c AS (x int)",
    "collations": "CREATE COLLATION c (locale = 'C'); ALTER TABLE a ADD b text COLLATE c",
    "schemas of your own": "CREATE SCHEMA s; CREATE TABLE s.t (a int NOT NULL); COMMENT ON TABLE s.t IS '@shard_by a'",
    "`CREATE TABLE .. (LIKE ..)`": f"CREATE TABLE t (LIKE a INCLUDING ALL); {PLACED}",
    "`CREATE TABLE .. AS`, `SELECT INTO`": "CREATE TABLE t AS SELECT 1 AS id",
    "`CREATE UNLOGGED TABLE`": f"CREATE UNLOGGED TABLE t (id int NOT NULL); {PLACED}",
    "`CREATE TEMPORARY TABLE`": "CREATE TEMP TABLE t (id int)",
    "partitioned tables": (
        f"CREATE TABLE t (id int PRIMARY KEY) PARTITION BY LIST (id); CREATE TABLE p PARTITION OF t DEFAULT; {PLACED}"
    ),
    "partitioned tables without a key": f"CREATE TABLE t (id int NOT NULL) PARTITION BY LIST (id); {PLACED}",
    "keys of a single partition, or onto one": (
        "CREATE TABLE t (id int PRIMARY KEY, n int) PARTITION BY LIST (id);"
        f"CREATE TABLE p PARTITION OF t (UNIQUE (n)) DEFAULT; {PLACED}"
    ),
    "`INHERITS`": f"CREATE TABLE t () INHERITS (a); {PLACED}",
    "typed tables, `OF`": f"CREATE TYPE c AS (id int); CREATE TABLE t OF c (id NOT NULL); {PLACED}",
    "foreign tables": "CREATE FOREIGN TABLE t (id int) SERVER s",
    "`PRIMARY KEY`, `UNIQUE` with the shard key": "ALTER TABLE a ADD UNIQUE (id, n)",
    "`UNIQUE` without the shard key": "ALTER TABLE a ADD UNIQUE (n)",
    "`UNIQUE` of dates, numerics, citext alone": "ALTER TABLE a ADD UNIQUE (day)",
    "`UNIQUE NULLS NOT DISTINCT`": "ALTER TABLE a ADD UNIQUE NULLS NOT DISTINCT (n)",
    "`UNIQUE .. DEFERRABLE`": "ALTER TABLE a ADD UNIQUE (n) DEFERRABLE INITIALLY DEFERRED",
    "partial unique indexes without the shard key": "CREATE UNIQUE INDEX ON a (code) WHERE n > 0",
    "unique indexes over expressions": "CREATE UNIQUE INDEX ON a (lower(code))",
    "the same with the shard key as a column": "CREATE UNIQUE INDEX ON a (id, lower(code)) WHERE n > 0",
    "the same on a reference table": "CREATE UNIQUE INDEX ON r (lower(code))",
    "`EXCLUDE` with the shard key by `=`": "ALTER TABLE a ADD EXCLUDE USING btree (id WITH =, day WITH =)",
    "`EXCLUDE` without it": "ALTER TABLE a ADD EXCLUDE USING btree (day WITH =)",
    "other indexes, of any kind": "CREATE INDEX ON a USING hash (n); CREATE INDEX ON a (n) INCLUDE (day) WHERE n > 1",
    "`CREATE INDEX CONCURRENTLY`": "CREATE INDEX CONCURRENTLY ON a (n)",
    "`FOREIGN KEY` across shards, five actions": f"{KEY} (other) REFERENCES a ON DELETE CASCADE ON UPDATE SET NULL",
    "`FOREIGN KEY` onto a unique key": f"ALTER TABLE a ADD b text; {KEY} (b) REFERENCES a (code)",
    "`FOREIGN KEY` onto a reference table": f"{KEY} (code) REFERENCES r",
    "`FOREIGN KEY .. DEFERRABLE`": f"{KEY} (other) REFERENCES a DEFERRABLE INITIALLY DEFERRED",
    "`MATCH FULL`": f"{KEY} (other) REFERENCES a MATCH FULL",
    "`ON DELETE SET NULL (columns)`": f"{KEY} (other) REFERENCES a ON DELETE SET NULL (other)",
    "`ON DELETE SET DEFAULT` of a sequence": (
        f"ALTER TABLE a ADD b serial; {KEY} (b) REFERENCES a ON DELETE SET DEFAULT"
    ),
    "`FOREIGN KEY` from a reference table to a sharded one": "ALTER TABLE r ADD b bigint REFERENCES a",
    "`NOT VALID`": f"{KEY} (other) REFERENCES a NOT VALID; ALTER TABLE a ADD CHECK (n > 0) NOT VALID",
    "views": "CREATE VIEW v AS SELECT id FROM a",
    "materialized views": "CREATE MATERIALIZED VIEW v AS SELECT id FROM a WITH NO DATA",
    "functions and procedures": "CREATE FUNCTION g() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "functions that say `SET CONSTRAINTS`": (
        "CREATE FUNCTION g() RETURNS void LANGUAGE sql AS 'SET CONSTRAINTS ALL DEFERRED'"
    ),
    "functions that end sessions, read files and the like": (
        "CREATE FUNCTION g() RETURNS text LANGUAGE sql AS $$ SELECT pg_read_file('x') $$"
    ),
    "functions that call `pg_notify`": (
        "CREATE FUNCTION g() RETURNS void LANGUAGE sql AS $$ SELECT pg_notify('x', '') $$"
    ),
    "triggers for each row": f"{TRIGGER} CREATE TRIGGER t BEFORE INSERT ON a FOR EACH ROW EXECUTE FUNCTION f()",
    "triggers of a sharded table that write a reference table": (
        "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM r; RETURN NULL; END $$;"
        "CREATE TRIGGER t AFTER INSERT ON a FOR EACH ROW EXECUTE FUNCTION g()"
    ),
    "triggers of a reference table that insert into a sharded table": (
        "CREATE FUNCTION g() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO a SELECT; RETURN NULL; END $$;"
        "CREATE TRIGGER t AFTER INSERT ON r FOR EACH ROW EXECUTE FUNCTION g()"
    ),
    "triggers for each statement": f"{TRIGGER} CREATE TRIGGER t AFTER INSERT ON a EXECUTE FUNCTION f()",
    "constraint triggers": (
        f"{TRIGGER} CREATE CONSTRAINT TRIGGER t AFTER INSERT ON a DEFERRABLE FOR EACH ROW EXECUTE FUNCTION f()"
    ),
    "event triggers": (
        "CREATE FUNCTION g() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';"
        "CREATE EVENT TRIGGER t ON ddl_command_end EXECUTE FUNCTION g()"
    ),
    "rules": "CREATE RULE q AS ON DELETE TO a DO ALSO NOTHING",
    "aggregates, operators, casts": "CREATE AGGREGATE total (int) (SFUNC = int4pl, STYPE = int)",
    "text search": "CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)",
    "extended statistics": "CREATE STATISTICS s ON id, n FROM a",
    "trusted extensions": "CREATE EXTENSION citext",
    "other extensions": "CREATE EXTENSION IF NOT EXISTS autoinc",
    "extensions for operators": "CREATE EXTENSION pg_stat_statements",
    "`ENABLE ROW LEVEL SECURITY`": "ALTER TABLE a ENABLE ROW LEVEL SECURITY",
    "`FORCE ROW LEVEL SECURITY`": "ALTER TABLE a FORCE ROW LEVEL SECURITY",
    "policies": "CREATE POLICY p ON a TO nobody USING (true)",
    "`OWNER TO`": "ALTER TABLE a OWNER TO nobody",
    "`GRANT` and `REVOKE` on objects": "GRANT SELECT ON a TO nobody",
    "`GRANT role TO role`": "GRANT x TO y",
    "roles, users, tablespaces, servers": "CREATE ROLE x",
    "`CREATE DATABASE`, `ALTER DATABASE`": "ALTER DATABASE x SET timezone = 'UTC'",
    "publications, subscriptions": "CREATE PUBLICATION p FOR TABLE a",
    "comments": "COMMENT ON COLUMN a.n IS 'A number.'",
    "security labels": "SECURITY LABEL FOR x ON TABLE a IS 'y'",
    "`SET` of what a text means": "SET datestyle = 'German'",
    "`SET` of time-outs and the like": "SET lock_timeout = 0",
    "`SET ROLE`, `SET SESSION AUTHORIZATION`": "SET ROLE x",
    "`DO`": "DO $$ BEGIN CREATE TYPE e AS ENUM ('x'); EXCEPTION WHEN duplicate_object THEN END $$",
    "`INSERT`, `UPDATE`, `DELETE`": "INSERT INTO r VALUES ('x')",
    "`COPY .. FROM stdin` with its rows": "COPY r (code) FROM stdin;\nx\n\\.\n",
    "`SELECT setval(..)`": "CREATE SEQUENCE s; SELECT pg_catalog.setval('public.s', 5, true)",
    "other `SELECT`s and calls": "SELECT now()",
    "large objects": "SELECT pg_catalog.lo_create('5')",
    "`BEGIN`, `COMMIT`": "BEGIN; COMMIT",
    "`ROLLBACK`, savepoints": "ROLLBACK",
    "`DROP` and `ALTER .. RENAME` of what the file made": (
        "CREATE TYPE t AS (); DROP TYPE t; ALTER TABLE a RENAME n TO m"
    ),
    "`\\restrict`, `\\connect`": "\\restrict x\n",
    "`\\i`, `\\gexec` and other commands of psql": "\\i other.sql\n",
}


@pytest.fixture(scope="module")
def client(fresh_cluster: FreshClusters) -> Iterator[Client]:
    """Of a cluster without a schema."""
    cluster: LocalCluster = fresh_cluster(shards=1)
    with Client(cluster.address, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def told() -> dict[str, str]:
    """What the page says of each construct."""
    rows = re.findall(r"^\| (.+?) \| (taken|skipped|refused)\b", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return dict(rows)


def test_the_page_has_every_construct_and_no_other(told: dict[str, str]) -> None:
    assert list(told) == list(CONSTRUCTS)


@pytest.mark.parametrize("construct", CONSTRUCTS)
def test_a_construct(client: Client, told: dict[str, str], construct: str) -> None:
    assert becomes(client, CONSTRUCTS[construct]) == told[construct]


def becomes(client: Client, text: str) -> str:
    try:
        response = client.apply_schema(f"{BASE}{text}", dry_run=True)
    except errors.SchemaRefused as refused:
        # Else it is this test that is wrong.
        return "misspelt" if "syntax error" in refused.message else "refused"
    return "skipped" if response.skipped else "taken"
