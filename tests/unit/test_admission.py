"""Which statements are a schema's."""

import pytest

from crosskey import errors
from crosskey.shard_node.schema.admission import check_statement
from crosskey.shard_node.schema.skipping import take
from crosskey.shard_node.sql_text.sql_script import statements

OF_A_DUMP = """
SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET SESSION default_table_access_method = heap;
SET default_tablespace = '';
CREATE SCHEMA app;
ALTER SCHEMA app OWNER TO somebody;
CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;
COMMENT ON EXTENSION citext IS 'data type for case-insensitive character strings';
CREATE TYPE app.mood AS ENUM ('good', 'bad');
CREATE OR REPLACE FUNCTION app.f() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN UPDATE users SET role = 'x', "session" = DEFAULT; RAISE 'alter role';
    PERFORM pg_notify('a', 'b'); RETURN NULL; END $$;
CREATE PROCEDURE app.p() LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END;
CREATE UNLOGGED TABLE app.users (id bigint NOT NULL, role text DEFAULT 'drop role', "user" text);
COMMENT ON TABLE app.users IS 'Set role and drop database.';
CREATE SEQUENCE app.users_id_seq;
ALTER SEQUENCE app.users_id_seq OWNED BY app.users.id;
ALTER TABLE ONLY app.users ALTER COLUMN id SET DEFAULT nextval('app.users_id_seq'::regclass);
SELECT pg_catalog.setval('app.users_id_seq', -1, false);
CREATE UNIQUE INDEX users_key ON app.users (id);
CREATE MATERIALIZED VIEW app.m AS SELECT 1 AS one WITH NO DATA;
CREATE CONSTRAINT TRIGGER t AFTER INSERT ON app.users FOR EACH ROW EXECUTE FUNCTION app.f();
CREATE POLICY p ON app.users USING (true);
GRANT SELECT ON TABLE app.users TO PUBLIC;
REVOKE ALL ON FUNCTION app.f() FROM PUBLIC;
ALTER DEFAULT PRIVILEGES IN SCHEMA app REVOKE ALL ON TABLES FROM PUBLIC;
REFRESH MATERIALIZED VIEW app.m;
SET TIME ZONE 'UTC';
RESET ALL;
DO $$ BEGIN CREATE TYPE app.mood AS ENUM (); EXCEPTION WHEN duplicate_object THEN NULL; END $$;
"""

NO_SCHEMA = [
    "ALTER ROLE crosskey PASSWORD 'x'",
    "ALTER USER crosskey SET work_mem = 1",
    "CREATE USER MAPPING FOR x SERVER y",
    "CREATE SERVER y FOREIGN DATA WRAPPER z",
    "CREATE ROLE x",
    "DROP OWNED BY x",
    "ALTER SYSTEM SET work_mem = 1",
    "ALTER /* so */ SYSTEM RESET ALL",
    "CREATE TABLESPACE x LOCATION 'y'",
    "CREATE LANGUAGE plperlu",
    "COPY t FROM PROGRAM 'id'",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "SET ROLE x",
    "SET LOCAL ROLE x",
    'SET "role" = x',
    'SET U&"\\0072ole" = x',
    "SET SESSION ROLE x",
    "SET SESSION AUTHORIZATION x",
    "SET SESSION SESSION AUTHORIZATION x",
    "SET session_authorization = x",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
    "SET TRANSACTION READ ONLY",
    "RESET ROLE",
    "RESET SESSION AUTHORIZATION",
    "SELECT set_config('role', 'x', false)",
    "SELECT set_config('ROLE', 'x', false)",
    "SELECT set_config(E'r\\x6fle', 'x', false)",
    "SELECT set_config('x', (SELECT 'y'), false)",
    "SELECT pg_terminate_backend(1)",
    "SELECT 1",
    "(SELECT 1)",
    "WITH x AS (SELECT 1) SELECT 1",
    "VALUES (1)",
    "TABLE t",
    "INSERT INTO t VALUES (1)",
    "UPDATE t SET a = 1",
    "DELETE FROM t",
    "MERGE INTO t USING t ON true WHEN MATCHED THEN DELETE",
    "TRUNCATE t",
    "LISTEN x",
    "NOTIFY x",
    "LOCK t",
    "LOAD 'x'",
    "CALL p()",
    "EXECUTE x",
    "DISCARD ALL",
    "DECLARE c CURSOR FOR SELECT 1",
    "GRANT x TO y",
    "REVOKE x FROM y",
    "CHECKPOINT",
    "VACUUM",
    "CREATE TABLE t AS SELECT pg_terminate_backend(1)",
    "CREATE VIEW v AS SELECT lo_import('/etc/passwd')",
    "DO $$ BEGIN ALTER ROLE crosskey PASSWORD 'x'; END $$",
    "DO 'BEGIN EXECUTE ''ALTER ROLE crosskey PASSWORD NULL''; END'",
    "DO $$ BEGIN IF true THEN SET ROLE x; END IF; END $$",
    "DO $$ BEGIN PERFORM pg_catalog.pg_sleep(1000); END $$",
    "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET SESSION AUTHORIZATION x; END $$",
    "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS 'ALTER DATABASE x CONNECTION LIMIT 0'",
    "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ SELECT dblink_exec('', 'x') $$",
]


def check(text: str) -> None:
    for statement in statements(text):
        if take(statement, 1, empty=False).tokens:
            check_statement(statement, 1)


def test_what_a_dump_has_is_a_schema() -> None:
    check(OF_A_DUMP)


@pytest.mark.parametrize("text", NO_SCHEMA)
def test_what_is_no_schema(text: str) -> None:
    with pytest.raises(errors.SchemaRefused, match=r"is no part of a schema|reaches beyond the schema"):
        check(text)


@pytest.mark.parametrize(
    "text",
    [
        "END",
        "ROLLBACK AND CHAIN",
        "COMMIT AND CHAIN",
        "SAVEPOINT x",
        "PREPARE TRANSACTION 'x'",
        "/* */ COMMIT PREPARED 'x'",
    ],
)
def test_what_ends_a_transaction(text: str) -> None:
    with pytest.raises(errors.SchemaRefused, match="ends its transaction"):
        check(text)


def test_row_security_is_not_forced_on_the_node() -> None:
    with pytest.raises(errors.SchemaRefused, match="would hide rows from the shard's own node"):
        check("ALTER TABLE ONLY a FORCE ROW LEVEL SECURITY")
    check("ALTER TABLE a NO FORCE ROW LEVEL SECURITY; ALTER TABLE a ENABLE ROW LEVEL SECURITY")
