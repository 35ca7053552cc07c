"""Small schemas on which advice went wrong, and what a person would say; each proposal is judged by its score."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from crosskey.advice.proposal import advise
from crosskey.advice.report import Advice, Warned
from crosskey.advice.survey import Survey
from crosskey.catalog.model import Database, TableName
from crosskey.catalog.planning import plan_schema
from crosskey.catalog.refusals import SchemaRefused
from crosskey.catalog.slots import mint_uuid, slot_of_value
from crosskey.cli.schema_reading import read_schema
from crosskey.local_cluster.postgres import PostgresServer

pytestmark = pytest.mark.searches

FLAG = "CREATE TABLE people (nick text UNIQUE, is_admin smallint NOT NULL DEFAULT 0, hash text, joined bigint);"

SHARE_CODE = """
CREATE TABLE shops (id bigserial PRIMARY KEY, url text NOT NULL);
CREATE TABLE pages (
    id bigserial PRIMARY KEY,
    shop_id bigint NOT NULL REFERENCES shops ON DELETE CASCADE,
    title text NOT NULL,
    share_code text NOT NULL DEFAULT ''
);
CREATE INDEX ON pages (title);
CREATE INDEX ON pages (share_code);
"""

COUNTER = """
CREATE TABLE authors (id serial PRIMARY KEY, name text NOT NULL, entries integer NOT NULL DEFAULT 0);
CREATE TABLE entries (id serial PRIMARY KEY, author integer NOT NULL REFERENCES authors);
CREATE FUNCTION count_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- Not DELETE FROM editors.
    RAISE DEBUG 'UPDATE editors';
    UPDATE ONLY public."authors" SET entries = entries + 1 WHERE id = NEW.author;
    RETURN NULL;
END $$;
CREATE TRIGGER count_entry AFTER INSERT ON entries FOR EACH ROW EXECUTE FUNCTION count_entry();
CREATE TABLE editors (code text PRIMARY KEY, name text);
"""

LINES = """
CREATE TABLE products (id bigserial PRIMARY KEY, name text NOT NULL);
CREATE TABLE stock_items (id bigserial PRIMARY KEY, product_id bigint NOT NULL REFERENCES products);
CREATE TABLE customers (id bigserial PRIMARY KEY, email text NOT NULL);
CREATE TABLE orders (id bigserial PRIMARY KEY, customer_id bigint NOT NULL REFERENCES customers);
CREATE TABLE order_lines (
    id bigserial PRIMARY KEY,
    stock_item_id bigint NOT NULL REFERENCES stock_items,
    order_id bigint NOT NULL REFERENCES orders
);
"""

KINDS = """
CREATE TABLE content_types (id serial PRIMARY KEY, app text NOT NULL, model text NOT NULL);
CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL);
CREATE TABLE log (
    id serial PRIMARY KEY,
    content_type_id integer NOT NULL REFERENCES content_types,
    user_id integer NOT NULL REFERENCES users
);
"""

PROPOSALS = {
    "flag": (FLAG, {"people": "@reference"}),
    "share_code": (SHARE_CODE, {"pages": "@shard_with shop_id", "shops": "@shard_by id"}),
    "counter": (
        COUNTER,
        {"authors": "@shard_by id", "editors": "@shard_by code", "entries": "@shard_with author"},
    ),
    "lines": (
        LINES,
        {
            "customers": "@shard_by id",
            "order_lines": "@shard_with order_id",
            "orders": "@shard_by id",
            "products": "@shard_by id",
            "stock_items": "@shard_with product_id",
        },
    ),
    "kinds": (KINDS, {"content_types": "@reference", "log": "@shard_with user_id", "users": "@shard_by id"}),
}
SCORES = {"flag": (0, 0, 1), "share_code": (1, 1, 0), "counter": (1, 1, 0), "lines": (2, 4, 0), "kinds": (2, 2, 1)}
"""Of each: the keys that are local, all keys, the tables that are copied to all shards."""


def survey_of(postgres: list[PostgresServer], folder: Path, schema_sql: str) -> Survey:
    file = folder / "schema.sql"
    file.write_text(schema_sql)
    return read_schema("survey", postgres[0].dsn(), Survey.from_json, file)


@contextmanager
def live(postgres: list[PostgresServer], schema_sql: str) -> Iterator[str]:
    """The DSN of a database that has been filled and analysed."""
    with psycopg.connect(postgres[0].dsn(), autocommit=True) as connection:
        connection.execute("CREATE DATABASE advised")
        try:
            dsn = postgres[0].dsn(database="advised")
            with psycopg.connect(dsn, autocommit=True) as database:
                database.execute(schema_sql.encode())
                database.execute("ANALYZE")
            yield dsn
        finally:
            connection.execute("DROP DATABASE advised")


def advice_on_live(postgres: list[PostgresServer], schema_sql: str) -> Advice:
    with live(postgres, schema_sql) as dsn:
        return advise(read_schema("survey", dsn, Survey.from_json))


def tags(advice: Advice) -> dict[str, str]:
    return {table.table: table.tag for table in advice.tables}


def urgent(advice: Advice) -> list[Warned]:
    return [warning for warning in advice.warnings if warning.urgent]


@pytest.mark.parametrize("name", PROPOSALS)
def test_the_proposal_is_what_a_person_would_say(postgres: list[PostgresServer], tmp_path: Path, name: str) -> None:
    schema_sql, expected = PROPOSALS[name]
    advice = advise(survey_of(postgres, tmp_path, schema_sql))
    assert tags(advice) == expected
    score = advice.score
    assert score is not None
    assert (score.local_keys, score.keys, score.copied_tables) == SCORES[name]
    assert score.copied_tables == score.tables or score.largest_shard == pytest.approx(1 / 3)


def test_what_is_copied_for_want_of_a_shard_key_is_told_first(postgres: list[PostgresServer], tmp_path: Path) -> None:
    [warning] = urgent(advise(survey_of(postgres, tmp_path, FLAG)))
    assert (warning.kind, warning.table, warning.column) == ("no-shard-key", "people", "nick")
    assert "make nick NOT NULL" in warning.advice


def test_prose_and_what_is_mostly_empty_are_no_candidates(postgres: list[PostgresServer], tmp_path: Path) -> None:
    advice = advise(survey_of(postgres, tmp_path, SHARE_CODE))
    [candidates] = [[one.tag for one in table.candidates] for table in advice.tables if table.table == "pages"]
    assert candidates == ["@shard_by shop_id", "@shard_by id"]


def test_a_reference_table_that_a_trigger_writes_is_refused_at_planning(
    postgres: list[PostgresServer], tmp_path: Path
) -> None:
    def planned(authors: str) -> None:
        places = {"authors": authors, "entries": "@shard_by id", "editors": "@reference"}
        said = ";".join(f"COMMENT ON TABLE {name} IS '{tag}'" for name, tag in places.items())
        plan_schema(survey_of(postgres, tmp_path, COUNTER + said).database)

    with pytest.raises(SchemaRefused) as raised:
        planned("@reference")
    [refusal] = raised.value.refusals
    assert (refusal.table, refusal.constraint) == ("entries", "count_entry")
    assert 'trigger "count_entry" writes authors, a reference table' in refusal.message
    planned("@shard_by id")


TENANTS_SQL = """
CREATE TABLE tenants (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE invoices (
    id bigint PRIMARY KEY,
    tenant_id bigint NOT NULL REFERENCES tenants ON DELETE CASCADE,
    status text NOT NULL
);
CREATE INDEX ON invoices (tenant_id);
CREATE INDEX ON invoices (status);
INSERT INTO tenants SELECT n, 'tenant ' || n FROM generate_series(1, 200) n;
INSERT INTO invoices SELECT n, n % 200 + 1, 'open' FROM generate_series(1, 3000) n;
"""


def test_a_tenant_of_two_hundred_is_no_fault_where_nothing_better_exists(postgres: list[PostgresServer]) -> None:
    advice = advice_on_live(postgres, TENANTS_SQL)
    assert tags(advice) == {"invoices": "@shard_with tenant_id", "tenants": "@shard_by id"}
    assert {warning.kind for warning in advice.warnings} == {"claimed-id"}
    assert advice.score is not None
    assert advice.score.largest_shard < 0.4


def test_counts_make_no_advice_worse(postgres: list[PostgresServer], tmp_path: Path) -> None:
    """A database that is new has small tables only: they are no lookup tables for that."""
    rows = """
    INSERT INTO content_types (app, model) VALUES ('a', 'b');
    INSERT INTO users (name) SELECT 'user' FROM generate_series(1, 20);
    INSERT INTO log (content_type_id, user_id) SELECT 1, n % 20 + 1 FROM generate_series(1, 40) n;
    """
    alone, counted = advise(survey_of(postgres, tmp_path, KINDS)), advice_on_live(postgres, KINDS + rows)
    assert tags(counted) == tags(alone)
    assert counted.score is not None
    assert alone.score is not None
    assert (counted.score.local_keys, counted.score.copied_tables) == (alone.score.local_keys, 1)


def test_a_reference_table_that_is_big_is_told_first(postgres: list[PostgresServer]) -> None:
    schema_sql = """
    CREATE TABLE readings (sensor bigint PRIMARY KEY, amount numeric);
    COMMENT ON TABLE readings IS '@reference';
    CREATE TABLE small (id bigint PRIMARY KEY);
    COMMENT ON TABLE small IS '@reference';
    INSERT INTO readings SELECT n, n FROM generate_series(1, 12000) n;
    INSERT INTO small VALUES (1);
    """
    advice = advice_on_live(postgres, schema_sql)
    assert [(warning.kind, warning.table) for warning in urgent(advice)] == [("copied-to-all", "readings")]
    assert advice.warnings[0].urgent
    assert advice.score is not None
    assert advice.score.copied_rows == 1.0


DOCUMENTS = """
CREATE TABLE owners (id bigint PRIMARY KEY);
CREATE TABLE documents (id uuid PRIMARY KEY, owner_id bigint NOT NULL REFERENCES owners ON DELETE CASCADE);
CREATE INDEX ON documents (owner_id);
INSERT INTO owners SELECT n FROM generate_series(1, 40) n;
"""


def test_uuids_of_foreign_make_are_seen_and_claimed(postgres: list[PostgresServer]) -> None:
    foreign = "INSERT INTO documents SELECT gen_random_uuid(), n FROM generate_series(1, 40) n;"
    advice = advice_on_live(postgres, DOCUMENTS + foreign)
    assert tags(advice)["documents"] == "@shard_with owner_id\n@claim"
    [warning] = [warning for warning in advice.warnings if warning.kind == "foreign-ids"]
    assert (warning.table, warning.column) == ("documents", "id")
    assert "each insert then claims its id" in warning.advice
    assert warning.paste == "COMMENT ON TABLE public.documents IS '@shard_by id';"
    assert advice.plan is not None
    assert [claim.columns for claim in advice.plan.claims] == [("id",)]


def test_uuids_that_carry_their_slots_are_seen_too(postgres: list[PostgresServer]) -> None:
    values = ", ".join(f"('{mint_uuid(slot_of_value('int8', owner))}', {owner})" for owner in range(1, 41))
    advice = advice_on_live(postgres, f"{DOCUMENTS} INSERT INTO documents VALUES {values};")
    assert tags(advice)["documents"] == "@shard_with owner_id"
    assert "foreign-ids" not in {warning.kind for warning in advice.warnings}


def test_a_placement_that_was_said_is_warned_of_ids_that_it_would_refuse(postgres: list[PostgresServer]) -> None:
    said = "COMMENT ON TABLE documents IS '@shard_by owner_id'; INSERT INTO documents VALUES (gen_random_uuid(), 1);"
    [warning] = urgent(advice_on_live(postgres, DOCUMENTS + said))
    assert (warning.kind, warning.table) == ("foreign-ids", "documents")
    assert warning.paste == "COMMENT ON TABLE public.documents IS E'@shard_by owner_id\\n@claim';"


def test_a_trigger_writes_what_its_own_text_says(postgres: list[PostgresServer], tmp_path: Path) -> None:
    database: Database = survey_of(postgres, tmp_path, COUNTER).database
    written = {str(table.name): table.written_by_triggers for table in database.tables if table.trigger_writes}
    assert written == {"entries": frozenset({TableName("public", "authors")})}
