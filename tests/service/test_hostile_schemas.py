"""Schemas that are none: neither their plan nor their application changes anything beyond a schema."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from crosskey import Client, errors
from crosskey.local_cluster.cluster import ROLE, LocalCluster
from crosskey.shard_node.postgres.planner import planner_name
from tests.fresh_cluster import FreshClusters
from tests.shard_sql import as_superuser, query

pytestmark = pytest.mark.searches

PLACED = "CREATE TABLE t (id int PRIMARY KEY); COMMENT ON TABLE t IS '@shard_by id';"

# What a shard and its server are, beyond schemas.
STATE = """
SELECT
    (SELECT json_agg(a ORDER BY a.rolname) FROM pg_authid AS a),
    (SELECT json_agg(m::text ORDER BY m::text) FROM pg_auth_members AS m),
    (SELECT json_agg(s::text ORDER BY s::text) FROM pg_db_role_setting AS s),
    (SELECT json_agg(json_build_array(datname, datdba, datallowconn, datconnlimit, datacl::text) ORDER BY datname)
        FROM pg_database WHERE datname <> 'template0'),
    (SELECT json_agg(gid) FROM pg_prepared_xacts),
    (SELECT json_agg(c::text ORDER BY c::text) FROM crosskey.decision AS c),
    (SELECT json_agg(c.relname ORDER BY c.relname) FROM pg_class AS c
        WHERE relnamespace::regnamespace::text !~ '^(pg_|information_schema)'),
    (SELECT json_agg(md5(p.prosrc) ORDER BY p.oid) FROM pg_proc AS p
        WHERE pronamespace::regnamespace::text = 'crosskey')
"""


def hidden(deed: str) -> str:
    """Put together by a block, so that no word of it tells."""
    quoted = "' || '".join(deed.replace("'", "''"))
    return f"{PLACED} DO $$ BEGIN EXECUTE '{quoted}'; END $$"


def only_for_real(deed: str) -> str:
    """A plan sees nothing of it."""
    quoted = "' || '".join(deed.replace("'", "''"))
    condition = "current_database() !~ 'scratch'"
    return f"{PLACED} DO $$ BEGIN IF {condition} THEN EXECUTE '{quoted}'; END IF; END $$"


DEEDS = [
    f"ALTER ROLE {ROLE} PASSWORD 'taken'",
    f"ALTER ROLE {ROLE} SET default_transaction_read_only = on",
    f"ALTER ROLE {ROLE} IN DATABASE {{database}} SET default_transaction_read_only = on",
    "ALTER ROLE CURRENT_USER PASSWORD NULL",
    "ALTER DATABASE {database} ALLOW_CONNECTIONS false",
    "ALTER DATABASE {database} CONNECTION LIMIT 0",
    "ALTER DATABASE {database} SET default_transaction_read_only = on",
    f"REVOKE CONNECT ON DATABASE {{database}} FROM PUBLIC, {ROLE}",
    f"GRANT {planner_name(ROLE)} TO pg_monitor",
    "ALTER SYSTEM SET work_mem = 1",
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'idle witness'",
    "DROP TABLE crosskey.decision",
    "DROP SCHEMA IF EXISTS crosskey CASCADE",
    "INSERT INTO crosskey.decision VALUES ('forged', true)",
    "CREATE OR REPLACE FUNCTION crosskey.keep_numbers() RETURNS void LANGUAGE sql AS 'SELECT 1'",
    "CREATE SCHEMA crosskey_mine",
    "COPY t FROM PROGRAM 'true'",
]
# It ends sessions of the node's own role, which are made again; no rollback takes that back.
NOT_TAKEN_BACK = "SELECT pg_terminate_backend"


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """Without a schema."""
    return fresh_cluster(shards=1)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address, timeout=60) as client:
        yield client


def state_of(cluster: LocalCluster) -> list[tuple[Any, ...]]:
    return query(cluster, 0, STATE)


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("put", [hidden, only_for_real])
def test_a_schema_changes_nothing_else(cluster: LocalCluster, client: Client, deed: str, put: Any) -> None:
    if put is only_for_real and deed.startswith(NOT_TAKEN_BACK):
        pytest.skip("only a plan is proof against it")
    text = put(deed.format(database=cluster.databases[0].name))
    with as_superuser(cluster, 0) as witness:
        witness.execute("SET application_name = 'idle witness'")
        before = state_of(cluster)
        # Where there is nothing to drop or revoke, a plan may go well.
        with suppress(errors.SchemaRefused):
            client.apply_schema(text, dry_run=True)
        assert state_of(cluster) == before
        with pytest.raises(errors.SchemaRefused) as raised:
            client.apply_schema(text)
        assert "/" not in raised.value.message
        assert state_of(cluster) == before
        # Nobody has ended this session.
        assert witness.execute("SELECT 1").fetchall() == [(1,)]


@pytest.mark.parametrize(
    "text",
    [
        f"{PLACED} {DEEDS[0]}",
        f"{PLACED} COMMIT; {DEEDS[0]}",
        f"ROLLBACK; {DEEDS[0]}; BEGIN",
        f"{PLACED} SET ROLE pg_database_owner",
        f"{PLACED} SET SESSION AUTHORIZATION {ROLE}; {DEEDS[0]}",
        f"{PLACED} SELECT set_config('role', '{ROLE}', false); {DEEDS[0]}",
        # A trigger that waits for the commit would run as whoever commits.
        f"""{PLACED} CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN EXECUTE 'ALTER ' || 'ROLE {ROLE} PASSWORD NULL'; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION f();
        DO $$ BEGIN INSERT INTO t VALUES (1); DELETE FROM t; END $$""",
        # One statement to a reader of words, two to PostgreSQL, or the other way round.
        f"SET standard_conforming_strings = off; SELECT '\\'; {DEEDS[0]}; --'",
        f"DO $$ BEGIN SET standard_conforming_strings = off; END $$; COMMENT ON SCHEMA a IS '\\'; {DEEDS[0]}; --'",
        f"{PLACED} SET client_encoding = 'SJIS'; COMMENT ON TABLE t IS '\u8868'; {DEEDS[0]}; --'",
        # PostgreSQL evaluates a constant function while it plans.
        f"""CREATE FUNCTION f() RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$
            BEGIN EXECUTE 'ALTER ' || 'ROLE {ROLE} PASSWORD NULL'; RETURN 1; END $$;
        CREATE TABLE t (id int PRIMARY KEY) PARTITION BY LIST (id);
        CREATE TABLE u PARTITION OF t FOR VALUES IN (f())""",
    ],
)
def test_no_trick_of_reading_or_timing_gets_past(cluster: LocalCluster, client: Client, text: str) -> None:
    before = state_of(cluster)
    for dry_run in (True, False):
        with pytest.raises(errors.SchemaRefused):
            client.apply_schema(text, dry_run=dry_run)
    assert state_of(cluster) == before


def test_a_plan_may_spoil_its_scratch_database_only(cluster: LocalCluster, client: Client) -> None:
    """What it does to its own role and database, which a block may, is rolled back."""
    before = state_of(cluster)
    deeds = [f"ALTER ROLE {planner_name(ROLE)} PASSWORD NULL", f"ALTER ROLE {planner_name(ROLE)} SET role = {ROLE}"]
    for deed in deeds:
        with pytest.raises(errors.SchemaRefused, match=r"the schema touches (roles or databases|a database)"):
            client.apply_schema(hidden(deed), dry_run=True)
    scratch = (
        f"{PLACED} DO $$ BEGIN EXECUTE format('ALTER ' || 'DATABASE %I CONNECTION LIMIT 0', current_database()); END $$"
    )
    with pytest.raises(errors.SchemaRefused, match=r"the schema touches (roles or databases|a database)"):
        client.apply_schema(scratch, dry_run=True)
    assert state_of(cluster) == before


def test_what_gives_the_schema_to_the_nodes_role_is_let_through(client: Client) -> None:
    text = f"""
    SET client_encoding = 'LATIN1';
    SET standard_conforming_strings = on;
    SELECT pg_catalog.set_config('search_path', '', false);
    CREATE TABLE public.t (id int PRIMARY KEY, "n\u00e4me" text);
    ALTER TABLE public.t OWNER TO {ROLE};
    COMMENT ON TABLE public.t IS '@shard_by id';
    """
    table = client.apply_schema(text, dry_run=True).schema.tables[0]
    assert table.table == "t"


def test_a_shard_without_a_planner_says_how_to_make_one(cluster: LocalCluster, client: Client) -> None:
    planner = planner_name(ROLE)
    query(cluster, 0, f"ALTER ROLE {planner} CREATEDB")
    try:
        with pytest.raises(errors.NotSupported) as raised:
            client.apply_schema(PLACED, dry_run=True)
        assert f'"{planner}"' in raised.value.message
        assert "provision" in raised.value.metadata["hint"]
    finally:
        query(cluster, 0, f"ALTER ROLE {planner} NOCREATEDB")
    assert client.apply_schema(PLACED, dry_run=True).schema.tables
