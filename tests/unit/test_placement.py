"""Where the rows of a table live, and what cannot be a shard key."""

from typing import Any

import msgspec
import pytest

from crosskey.catalog.model import TableName, UniqueKey
from tests.schema_builders import NOTES, USERS, column, foreign_key, placement_of, plan_of, refusal_of, table


def test_a_sharded_table() -> None:
    plan = placement_of(USERS)
    assert (plan.placement, plan.shard_key, plan.slot_column, plan.locators) == ("sharded", "id", None, ("id",))


def test_a_reference_table_takes_any_key() -> None:
    identity = column("id", identity="ALWAYS")
    plan = placement_of(table("regions", "@reference", identity, column("code", "numeric")))
    assert (plan.placement, plan.shard_key, plan.locators) == ("reference", None, ())


def test_a_uuid_primary_key_carries_the_slot() -> None:
    assert placement_of(NOTES).locators == ("owner", "id")


def test_a_uuid_primary_key_that_is_the_shard_key_is_no_slot_column() -> None:
    assert placement_of(table("users", "@shard_by id", column("id", "uuid"))).locators == ("id",)


def test_a_computed_uuid_carries_no_slot() -> None:
    computed = table("notes", "@shard_by owner", column("owner"), column("id", "uuid", generated=True))
    assert placement_of(computed).slot_column is None


@pytest.mark.parametrize("type_name", ["smallint", "integer", "bigint", "uuid", "text", "character varying(5)"])
def test_fit_types(type_name: str) -> None:
    assert placement_of(table("users", "@shard_by id", column("id", type_name))).shard_key == "id"


@pytest.mark.parametrize(
    "attributes", [{"default": "nextval('s'::regclass)"}, {"identity": "BY DEFAULT"}, {"identity": "ALWAYS"}]
)
def test_a_shard_key_that_is_generated_by_a_default_is_fine(attributes: dict[str, Any]) -> None:
    assert placement_of(table("users", "@shard_by id", column("id", **attributes))).shard_key == "id"


@pytest.mark.parametrize(
    ("base_type", "why"),
    [
        ("numeric", "1.0 and 1.00"),
        ("bpchar", "trailing spaces"),
        ("float8", "0 and -0"),
        ("public.citext", "differ in case"),
        ("bool", "two values"),
        ("timestamptz", "settings of the session"),
        ("public.mood", "a shard key is smallint"),
        ("public.uuid", "a shard key is smallint"),
    ],
)
def test_unfit_types(base_type: str, why: str) -> None:
    message = refusal_of(table("users", "@shard_by id", column("id", base_type)))
    assert message.startswith(f'table "users": column "id" cannot be the shard key: it is {base_type}')
    assert why in message


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"not_null": False}, "it can be NULL"),
        ({"generated": True}, "it is GENERATED, so"),
    ],
)
def test_unfit_columns(attributes: dict[str, Any], why: str) -> None:
    assert why in refusal_of(table("users", "@shard_by id", column("id", **attributes)))


def test_a_collation_that_is_not_deterministic() -> None:
    message = refusal_of(table("users", "@shard_by id", column("id", "text", deterministic_collation=False)))
    assert "its collation is not deterministic" in message


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"kind": "p", "unique_keys": ()}, "a partitioned table needs a PRIMARY KEY"),
        ({"kind": "p", "keys_of_partitions": ("k of users_1",)}, "k of users_1 is a key of a single partition"),
        ({"kind": "f"}, "only ordinary tables"),
        ({"inherits": True}, "inheritance"),
        ({"unlogged": True}, "UNLOGGED"),
    ],
)
def test_unfit_tables(attributes: dict[str, Any], why: str) -> None:
    assert why in refusal_of(table("users", "@shard_by id", **attributes))


def test_a_schema_of_our_own() -> None:
    ours = msgspec.structs.replace(USERS, name=TableName("crosskey_mine", "users"))
    assert "Crosskey's own" in refusal_of(ours)


def test_columns_named_like_those_of_guards_are_refused() -> None:
    ours = table("ours", "@shard_by id", column("id"), column("crosskey_shard", "integer"))
    assert refusal_of(ours).endswith('columns named crosskey_... are Crosskey\'s own; rename "crosskey_shard"')
    assert placement_of(table("theirs", "@shard_by id", column("id"), column("crosskey"))).shard_key == "id"


def test_rows_that_live_with_their_parent() -> None:
    comments = table("comments", "@shard_with note", column("note", "uuid"), column("id", "uuid"))
    likes = table("likes", "@shard_with comment", column("comment", "uuid"), column("who"), key=("comment", "who"))
    plan = plan_of(
        NOTES, comments, likes, foreign_key("comments", "note", "notes"), foreign_key("likes", "comment", "comments")
    )
    assert [(placed.shard_key, placed.slot_column) for placed in plan.tables] == [
        ("note", "id"),
        ("comment", None),
        ("owner", "id"),
    ]
    assert {key.kind for key in plan.keys} == {"local"}


@pytest.mark.parametrize("parent_column", [None, "reply"])
def test_rows_that_would_live_with_nobody(parent_column: str | None) -> None:
    alone = table("comments", "@shard_with note", column("note", "uuid"), column("id", "uuid"), column("text", "text"))
    by_reply = UniqueKey("by_reply", ("reply", "text"))
    parent = msgspec.structs.replace(
        NOTES, columns=(*NOTES.columns, column("text", "text")), unique_keys=(*NOTES.unique_keys, by_reply)
    )
    keys = [foreign_key("comments", "note text", "notes", f"{parent_column} text")] if parent_column else []
    assert "@shard_with note: no foreign key leads" in refusal_of(parent, alone, *keys)


def test_a_key_that_is_refused_says_why_rows_live_with_nobody() -> None:
    alone = table("comments", "@shard_with note", column("note", "uuid"), column("id", "uuid"))
    assert "no foreign key leads" not in refusal_of(
        NOTES, alone, foreign_key("comments", "note", "notes", "reply", period=True)
    )


def test_a_uuid_that_is_claimed_instead_of_carrying_the_slot() -> None:
    plan = plan_of(table("notes", "@shard_by owner\n@claim", column("owner"), column("id", "uuid")))
    assert plan.tables[0].locators == ("owner",)
    assert [claim.columns for claim in plan.claims] == [("id",)]


@pytest.mark.parametrize(
    ("comment", "message"),
    [
        ("@shard_by owner\n@claim id", "@claim takes nothing after it"),
        ("@shard_by id\n@claim", "@claim is for a uuid PRIMARY KEY beside the shard key"),
        ("@reference\n@claim", "@claim is for a uuid PRIMARY KEY beside the shard key"),
    ],
)
def test_claim_tags_that_say_nothing(comment: str, message: str) -> None:
    assert message in refusal_of(table("notes", comment, column("owner"), column("id", "uuid")))
