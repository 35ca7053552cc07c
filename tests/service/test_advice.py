"""What is proposed for schemas without tags, and that planning accepts each proposal as it is pasted."""

from pathlib import Path

import pytest

from crosskey.advice.proposal import advise
from crosskey.advice.report import Advice
from crosskey.advice.sql_text import tagged_copy
from crosskey.advice.survey import Survey
from crosskey.catalog.plan import Plan
from crosskey.catalog.planning import plan_schema
from crosskey.catalog.skipped import Inspection
from crosskey.cli.schema_reading import read_schema
from crosskey.local_cluster.postgres import PostgresServer
from tests.service import untagged_schemas as schemas

PROPOSALS = {
    "messenger": (
        schemas.MESSENGER,
        {
            "accounts": "@shard_by id",
            "follows": "@shard_with follower_id",
            "languages": "@reference",
            "messages": "@shard_with recipient_id",
            "users": "@shard_by id",
            "users_accounts": "@shard_with user_id",
        },
        (4, 7),
    ),
    "tenants": (
        schemas.TENANTS,
        {
            "notes": "@shard_with tenant_id",
            "projects": "@shard_with tenant_id",
            "tasks": "@shard_with tenant_id",
            "tenants": "@shard_by id",
        },
        (3, 3),
    ),
    "instagram": (
        schemas.INSTAGRAM,
        {
            "comments": "@shard_with media_id",
            "likes": "@shard_with comment_id",
            "media": "@shard_with owner_id",
            "users": "@shard_by id",
        },
        (3, 5),
    ),
    "discord": (
        schemas.DISCORD,
        {
            "channels": "@shard_with guild_id",
            "guilds": "@shard_by id",
            "messages": "@shard_with channel_id",
            "users": "@shard_by id",
        },
        (2, 4),
    ),
    "orders": (
        schemas.ORDERS,
        {
            "Order": "@shard_with Customer",
            "countries": "@reference",
            "order_items": "@shard_with order_id",
            "products": "@shard_by id",
            "shop.user": "@shard_by id",
        },
        (3, 4),
    ),
}


def survey_of(postgres: list[PostgresServer], folder: Path, schema_sql: str) -> Survey:
    file = folder / "schema.sql"
    file.write_text(schema_sql)
    return read_schema("survey", postgres[0].dsn(), Survey.from_json, file)


def plan_of_copy(postgres: list[PostgresServer], folder: Path, schema_sql: str, advice: Advice) -> Plan:
    """What `crosskey plan` makes of the tagged copy."""
    file = folder / "tagged.sql"
    file.write_text(tagged_copy(schema_sql, advice.pastes))
    return plan_schema(read_schema("inspect", postgres[0].dsn(), Inspection.from_json, file).database)


@pytest.mark.parametrize("name", PROPOSALS)
def test_a_proposal_is_what_one_would_choose_and_planning_accepts_it(
    postgres: list[PostgresServer], tmp_path: Path, name: str
) -> None:
    schema_sql, tags, (local, keys) = PROPOSALS[name]
    advice = advise(survey_of(postgres, tmp_path, schema_sql))
    assert {table.table: table.tag for table in advice.tables} == tags
    plan = plan_of_copy(postgres, tmp_path, schema_sql, advice)
    kinds = [key.kind for key in plan.keys]
    assert (
        (kinds.count("local"), len(kinds))
        == (local, keys)
        == (
            advice.local_keys,
            advice.local_keys + advice.crossing_keys,
        )
    )


def test_what_is_said_is_kept(postgres: list[PostgresServer], tmp_path: Path) -> None:
    said = "COMMENT ON TABLE messages IS E'Outbox.\\n@shard_by sender_id'"
    schema_sql = f"{schemas.MESSENGER};{said} -- no semicolon"
    advice = advise(survey_of(postgres, tmp_path, schema_sql))
    [messages] = [table for table in advice.tables if table.table == "messages"]
    assert (messages.kept, messages.tag, messages.paste) == (True, "@shard_by sender_id", "")
    plan = plan_of_copy(postgres, tmp_path, schema_sql, advice)
    comments = {str(planned.table.name): planned.table.comment for planned in plan.tables}
    assert comments["messages"] == "Outbox.\n@shard_by sender_id"
    assert comments["languages"] == "Languages that users speak; it's a list.\nC:\\n\n@reference"


def test_names_are_quoted_as_postgresql_would(postgres: list[PostgresServer], tmp_path: Path) -> None:
    advice = advise(survey_of(postgres, tmp_path, schemas.ORDERS))
    pastes = {table.table: table.paste for table in advice.tables}
    assert pastes["shop.user"] == """COMMENT ON TABLE shop."user" IS '@shard_by id';"""
    indexes = {warning.constraint: warning.paste for warning in advice.warnings if warning.kind == "no-index"}
    assert indexes == {
        "Order_Customer_fkey": 'CREATE INDEX ON public."Order" ("Customer");',
        "Order_country_fkey": 'CREATE INDEX ON public."Order" (country);',
        "order_items_product_id_fkey": "CREATE INDEX ON public.order_items (product_id);",
    }


def test_an_index_that_finds_only_some_children_is_none(postgres: list[PostgresServer], tmp_path: Path) -> None:
    schema_sql = """
    CREATE TABLE a (x bigint, y bigint, PRIMARY KEY (x, y));
    CREATE TABLE b (id bigint PRIMARY KEY, x bigint, y bigint, CONSTRAINT key FOREIGN KEY (x, y) REFERENCES a);
    """
    for index, found in (("(x)", False), ("(x, y) WHERE x > 0", False), ("(abs(x), y)", False), ("(y, x, id)", True)):
        survey = survey_of(postgres, tmp_path, f"{schema_sql} CREATE INDEX ON b {index};")
        missing = [warning.constraint for warning in advise(survey).warnings if warning.kind == "no-index"]
        assert missing == ([] if found else ["key"]), index


def test_a_refusal_of_planning_is_told(postgres: list[PostgresServer], tmp_path: Path) -> None:
    schema_sql = "CREATE TABLE p (id bigint NOT NULL) PARTITION BY HASH (id); CREATE TABLE a (id bigint PRIMARY KEY);"
    advice = advise(survey_of(postgres, tmp_path, schema_sql))
    assert advice.plan is None
    assert "partitioned" in advice.refusals[0].message
    assert {table.table: table.tag for table in advice.tables} == {"a": "@shard_by id", "p": ""}
