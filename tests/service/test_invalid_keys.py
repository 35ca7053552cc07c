"""Foreign keys that PostgreSQL does not take are refused in its own words, before anything is touched."""

from collections.abc import Iterator

import psycopg
import pytest

from crosskey import Client, SchemaRefused
from crosskey.local_cluster.postgres import PostgresServer
from tests.fresh_cluster import FreshClusters

PARENTS = """
CREATE TABLE parents (id bigint PRIMARY KEY, name text, code integer, a integer, b integer, UNIQUE (a, b));
COMMENT ON TABLE parents IS '@shard_by id';
CREATE TABLE late (id bigint PRIMARY KEY DEFERRABLE);
COMMENT ON TABLE late IS '@shard_by id';
CREATE UNIQUE INDEX ON parents (code) WHERE code > 0;
CREATE VIEW seen AS SELECT id FROM parents;
"""

INVALID = {
    "a parent that is not there": "x bigint REFERENCES nobody",
    "a column of the parent that is not there": "x bigint REFERENCES parents (nothing)",
    "a column of the child that is not there": "x bigint, FOREIGN KEY (y) REFERENCES parents",
    "a column that is not unique": "x text REFERENCES parents (name)",
    "columns that are unique only together": "x integer REFERENCES parents (a)",
    "columns of which only some are unique": "x bigint, y text, FOREIGN KEY (x, y) REFERENCES parents (id, name)",
    "a partial unique index": "x integer REFERENCES parents (code)",
    "a key that may wait": "x bigint REFERENCES late",
    "more columns than the parent has": "x bigint, y bigint, FOREIGN KEY (x, y) REFERENCES parents (id)",
    "fewer columns than the parent has": "x bigint, FOREIGN KEY (x) REFERENCES parents (a, b)",
    "two columns for a key of one": "x bigint, y bigint, FOREIGN KEY (x, y) REFERENCES parents",
    "a column twice": "x integer, FOREIGN KEY (x, x) REFERENCES parents (a, a)",
    "types that do not compare": "x date REFERENCES parents",
    "a text for a number": "x text REFERENCES parents",
    "a view": "x bigint REFERENCES seen",
    "a system column": "x bigint, FOREIGN KEY (tableoid) REFERENCES parents (tableoid)",
    "SET NULL of a column that is not in the key": (
        "x bigint, y bigint, FOREIGN KEY (x) REFERENCES parents ON DELETE SET NULL (y)"
    ),
    "a column list for what sets none": "x bigint, FOREIGN KEY (x) REFERENCES parents ON UPDATE SET NULL (x)",
    "MATCH PARTIAL": "x bigint REFERENCES parents MATCH PARTIAL",
    "deferred and not deferrable": "x bigint REFERENCES parents NOT DEFERRABLE INITIALLY DEFERRED",
    "a generated column that would have to change": (
        "x bigint GENERATED ALWAYS AS (id) STORED REFERENCES parents ON DELETE SET NULL"
    ),
    "a generated column that would have to follow": (
        "x bigint GENERATED ALWAYS AS (id) STORED REFERENCES parents ON UPDATE CASCADE"
    ),
}


@pytest.fixture(scope="module")
def client(fresh_cluster: FreshClusters) -> Iterator[Client]:
    with Client(fresh_cluster().address, timeout=60) as client:
        yield client


@pytest.mark.parametrize("columns", INVALID.values(), ids=INVALID)
def test_it_is_refused_in_the_words_of_postgres(client: Client, postgres: list[PostgresServer], columns: str) -> None:
    schema = f"{PARENTS}CREATE TABLE children (id bigint PRIMARY KEY, {columns});\n"
    schema += "COMMENT ON TABLE children IS '@shard_by id';"
    with psycopg.connect(postgres[0].dsn()) as plain, pytest.raises(psycopg.Error) as expected:
        plain.execute(schema.encode())
    with pytest.raises(SchemaRefused) as refused:
        client.apply_schema(schema)
    assert f": {expected.value.diag.message_primary}, in: " in refused.value.message
    assert refused.value.metadata.get("sqlstate") == expected.value.sqlstate
