"""What a shard adds to the schemas of two examples, word for word: a change of the guards shows as one of these files.

When it is meant, write them anew: crosskey plan examples/NAME/schema.sql --ddl > tests/shard_node/golden/NAME.sql
That of computed_keys.sql, beside this file, is made likewise.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from crosskey.catalog.planning import plan_schema
from crosskey.cli.plan import plan as plan_command
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.shard_node.commands.guards import guards_as_text
from crosskey.shard_node.schema.introspection import inspect_schema

GOLDEN = Path(__file__).with_name("golden")
EXAMPLES = Path(__file__).parents[2] / "examples"
SCHEMAS = {golden.stem: EXAMPLES / golden.stem / "schema.sql" for golden in GOLDEN.glob("*.sql")}
SCHEMAS["computed_keys"] = Path(__file__).with_name("computed_keys.sql")


@pytest.mark.parametrize("name", sorted(SCHEMAS))
async def test_the_ddl_of_an_example(postgres: list[PostgresServer], name: str) -> None:
    plan = plan_schema((await inspect_schema(postgres[0].dsn(), SCHEMAS[name].read_text())).database)
    assert "\n".join(guards_as_text(plan, 0, 3)) + "\n" == (GOLDEN / f"{name}.sql").read_text()


def test_the_command_prints_it(postgres: list[PostgresServer]) -> None:
    done = CliRunner().invoke(plan_command, [str(SCHEMAS["messenger"]), "--dsn", postgres[0].dsn(), "--ddl"])
    assert done.exit_code == 0, done.output
    assert done.output == (GOLDEN / "messenger.sql").read_text()


def test_a_schema_that_is_refused_has_none(postgres: list[PostgresServer], tmp_path: Path) -> None:
    schema = tmp_path / "schema.sql"
    schema.write_text("CREATE TABLE nowhere (id bigint PRIMARY KEY);")
    done = CliRunner().invoke(plan_command, [str(schema), "--dsn", postgres[0].dsn(), "--ddl"])
    assert done.exit_code == 1
    assert 'table "nowhere": no placement' in done.output
