"""What all examples have in common: the list of them, and schemas that need nothing of Crosskey's."""

import re
from pathlib import Path

import psycopg
import pytest

from crosskey.local_cluster.postgres import PostgresServer
from tests.examples import test_stories
from tests.examples.telling import EXAMPLES

SCHEMAS = sorted(EXAMPLES.glob("*/schema.sql"))
NAMES = [schema.parent.name for schema in SCHEMAS]


@pytest.mark.parametrize("schema", SCHEMAS, ids=NAMES)
def test_a_schema_runs_on_a_single_postgres(postgres: list[PostgresServer], schema: Path) -> None:
    with psycopg.connect(postgres[0].dsn()) as connection:
        connection.execute(schema.read_text(encoding="utf-8").encode())
        connection.rollback()


def test_each_example_is_listed_and_told() -> None:
    listed = re.findall(r"^\| \[(\w+)\]\(\1/README.md\)", (EXAMPLES / "README.md").read_text("utf-8"), re.MULTILINE)
    assert listed == NAMES
    assert [name for name in NAMES if not hasattr(test_stories, f"test_{name}")] == []
