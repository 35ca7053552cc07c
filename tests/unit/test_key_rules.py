"""Local and cross-shard foreign keys, and those that are refused."""

import itertools
from typing import Any

import msgspec
import pytest

from crosskey.catalog.model import Column, TableName, UniqueKey
from tests.schema_builders import (
    FOLLOWS,
    NOTES,
    REGIONS,
    USERS,
    column,
    foreign_key,
    key_plan,
    plan_of,
    refusal_of,
    table,
)


def test_the_shard_key_naming_the_shard_key_is_local() -> None:
    plan = key_plan(USERS, FOLLOWS, foreign_key("follows", "follower", "users"))
    assert (plan.kind, plan.advice, plan.referenced_key) == ("local", "", None)
    assert plan.reason.startswith("follows.follower and users.id both tell their row's slot")


def test_integers_of_different_width_are_of_one_family() -> None:
    small = table("small", "@shard_by id", column("id", "smallint"))
    assert key_plan(USERS, small, foreign_key("small", "id", "users")).kind == "local"


def test_any_pair_of_locators_makes_a_composite_key_local() -> None:
    key = foreign_key("notes", "reply owner", "notes", "id owner")
    assert key_plan(NOTES, key).kind == "local"


def test_a_key_onto_a_reference_table_is_local() -> None:
    plan = key_plan(REGIONS, FOLLOWS, foreign_key("follows", "region", "regions", "code"))
    assert (plan.kind, plan.reason) == ("local", "regions is a reference table: every shard has all of it")


def test_a_shard_key_naming_a_slot_column_is_local() -> None:
    likes = table("likes", "@shard_by note", column("note", "uuid"), column("id", "uuid"))
    assert key_plan(NOTES, likes, foreign_key("likes", "note", "notes")).kind == "local"


def test_every_other_key_crosses() -> None:
    plan = key_plan(USERS, FOLLOWS, foreign_key("follows", "followee", "users"))
    assert (plan.kind, plan.referenced_key) == ("cross-shard", "public.users(id)")
    assert plan.reason == (
        "rows of users are placed by id, rows of follows by follower, and followee is not what places them"
    )
    assert plan.advice == ("shard follows by followee, or make users @reference if it is small and seldom written")


def test_a_self_reference_crosses() -> None:
    plan = key_plan(NOTES, foreign_key("notes", "reply", "notes"))
    assert plan.kind == "cross-shard"
    assert plan.reason == "rows of notes are placed by owner, and reply is not what places them"


def test_a_reference_table_naming_a_sharded_one_crosses() -> None:
    chosen = table("chosen", "@reference", column("id"))
    plan = key_plan(USERS, chosen, foreign_key("chosen", "id", "users"))
    assert plan.kind == "cross-shard"
    assert "chosen is a reference table" in plan.reason


def test_advice_for_a_key_that_names_a_slot_column() -> None:
    likes = table("likes", "@shard_by who", column("who"), column("note", "uuid"), key=("who", "note"))
    assert key_plan(NOTES, likes, foreign_key("likes", "note", "notes")).advice.startswith("shard likes by note, or")


def test_advice_for_a_self_reference() -> None:
    replies = key_plan(NOTES, foreign_key("notes", "reply", "notes"))
    assert replies.advice.startswith("add owner to both sides of the key if the two rows always share it, or")
    managed = table("staff", "@shard_by id", column("id"), column("manager"))
    managers = key_plan(managed, foreign_key("staff", "manager", "staff"))
    assert managers.advice == "make staff @reference if it is small and seldom written"


BESIDE = table("child", "@shard_by parent", column("parent"), key=())
OWNED = table("child", "@shard_with parent", column("parent"), column("id", "uuid"))


@pytest.mark.parametrize(
    ("attributes", "changing"),
    [
        ({"on_update": "CASCADE"}, "ON UPDATE CASCADE"),
        ({"on_update": "SET DEFAULT", "on_delete": "SET DEFAULT"}, "ON UPDATE SET DEFAULT or ON DELETE SET DEFAULT"),
        ({"on_delete": "CASCADE", "on_update": "SET NULL"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_a_local_key_that_moves_rows_says_what_that_costs(attributes: dict[str, Any], changing: str | None) -> None:
    plan = key_plan(USERS, BESIDE, foreign_key("child", "parent", "users", **attributes))
    moves = f'rows of child move, in the same transaction, where {changing} gives them a "parent" of another shard'
    assert plan.cost == "by PostgreSQL's own key; nothing more" + (f", but {moves}" if changing else "")


def test_a_key_whose_rows_cannot_move_along_says_so() -> None:
    key = foreign_key("child", "parent", "users", on_update="CASCADE")
    cost = key_plan(USERS, OWNED, key).cost
    assert "a new key of users is refused if rows of child reference it and it is of another slot" in cost
    assert "@claim on child" in cost
    claimed = msgspec.structs.replace(OWNED, comment=f"{OWNED.comment}\n@claim")
    assert "rows of child move" in key_plan(USERS, claimed, key).cost


def test_a_key_onto_a_reference_table_or_a_claim_says_that_rows_move() -> None:
    child = table("child", "@shard_by name", column("name", "text"), key=())
    key = foreign_key("child", "name", "regions", "code", on_update="CASCADE")
    assert "over all shards; rows of child move" in key_plan(REGIONS, child, key).cost
    crossing = foreign_key("child", "name", "users", "name", on_update="CASCADE")
    assert "; rows of child move" in key_plan(NAMED, child, crossing).cost


def test_the_plan_is_sorted() -> None:
    keys = foreign_key("follows", "follower", "users"), foreign_key("follows", "followee", "users")
    plan = plan_of(USERS, FOLLOWS, *keys)
    assert [key.foreign_key.name for key in plan.keys] == ["follows_followee_fkey", "follows_follower_fkey"]
    assert [str(placed.table.name) for placed in plan.tables] == ["follows", "users"]


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"match": "PARTIAL"}, "MATCH PARTIAL"),
        ({"validated": False}, "NOT VALID"),
        ({"period": True}, "PERIOD"),
    ],
)
def test_forms_that_are_refused(attributes: dict[str, Any], why: str) -> None:
    assert why in refusal_of(USERS, FOLLOWS, foreign_key("follows", "followee", "users", **attributes))


def test_a_child_column_of_another_family() -> None:
    child = table("child", "@shard_by id", column("id"), column("parent", "numeric"))
    message = refusal_of(USERS, child, foreign_key("child", "parent", "users"))
    assert '"parent" and users.id are of types whose equal values may hash to different slots' in message


def test_a_child_column_whose_collation_is_not_deterministic() -> None:
    parent = table("words", "@shard_by id", column("id", "text"))
    loose = column("word", "text", deterministic_collation=False)
    child = table("child", "@shard_by id", column("id"), loose)
    assert '"word" and words.id' in refusal_of(parent, child, foreign_key("child", "word", "words"))


NAMED = table(
    "users",
    "@shard_by id",
    column("id"),
    column("name", "text"),
    column("day", "date"),
    unique_keys=(UniqueKey("by_name", ("name",)), UniqueKey("by_both", ("name", "day")), UniqueKey("by_id", ("id",))),
)
NAMING = table("child", "@shard_by id", column("id"), column("name", "text"), column("day", "date"))


def test_a_referenced_key_without_a_locator_is_known_by_its_claim() -> None:
    parts = NAMED, NAMING, foreign_key("child", "name", "users", "name")
    plan = key_plan(*parts)
    assert (plan.kind, plan.referenced_key) == ("cross-shard", "public.users(name)")
    assert plan.reason == "rows of users are placed by id, and found by name through the claim on it"
    alternatives = "let rows of child live with it (@shard_with name)", "reference what places the row (id)"
    assert plan.advice.startswith(", or ".join((*alternatives, "make users @reference")))
    [referenced] = plan_of(*parts).referenced_keys
    assert (referenced.locator, referenced.claim) == (None, plan_of(*parts).claims[1])
    assert referenced.claim is not None
    assert referenced.pinned == referenced.claim.claims


def test_the_claim_on_a_key_has_its_columns_in_whatever_order() -> None:
    plan = plan_of(NAMED, NAMING, foreign_key("child", "day name", "users", "day name"))
    [referenced] = plan.referenced_keys
    assert referenced.claim is not None
    assert (referenced.columns, referenced.claim.columns) == (("day", "name"), ("name", "day"))


def test_a_child_whose_values_hash_to_other_slots_than_the_claims() -> None:
    child = table("child", "@shard_by id", column("id"), column("name", "bpchar"), column("day", "timestamp"))
    message = refusal_of(NAMED, child, foreign_key("child", "name day", "users", "name day"))
    assert '"name" and users.name are of types whose equal values may hash to different slots' in message


@pytest.mark.parametrize("action", ["SET NULL", "SET DEFAULT"])
def test_actions_that_would_part_a_row_from_its_id(action: str) -> None:
    for clause in ("on_delete", "on_update"):
        key = foreign_key("notes", "owner", "users", **{clause: action})
        message = refusal_of(USERS, NOTES, key)
        assert f'{clause.upper().replace("_", " ")} {action} would change "owner"' in message
        assert '"id" carries the slot that the row has now' in message


@pytest.mark.parametrize("action", ["SET NULL", "SET DEFAULT"])
def test_actions_that_move_a_row_without_such_an_id(action: str) -> None:
    for clause in ("on_delete", "on_update"):
        plan_of(USERS, FOLLOWS, foreign_key("follows", "follower", "users", **{clause: action}))


def test_actions_on_other_columns() -> None:
    for clause, action in itertools.product(("on_delete", "on_update"), ("SET NULL", "SET DEFAULT", "CASCADE")):
        plan_of(USERS, FOLLOWS, foreign_key("follows", "followee", "users", **{clause: action}))


def test_a_column_list_that_spares_the_locator() -> None:
    key = foreign_key("notes", "owner reply", "notes", "owner id", on_delete="SET NULL")
    assert 'would change "owner"' in refusal_of(NOTES, key)
    plan_of(NOTES, msgspec.structs.replace(key, on_delete_columns=("reply",)))


def test_a_key_that_compares_by_an_operator_class_of_its_own() -> None:
    crossing = foreign_key("follows", "followee", "users", by_default=False)
    assert 'the unique index of users on "id" compares by an operator class' in refusal_of(USERS, FOLLOWS, crossing)
    plan_of(USERS, FOLLOWS, foreign_key("follows", "follower", "users", by_default=False))


def test_an_update_that_cascades_into_a_locator() -> None:
    plan_of(USERS, FOLLOWS, foreign_key("follows", "follower", "users", on_update="CASCADE"))
    plan_of(USERS, NOTES, foreign_key("notes", "owner", "users", on_update="CASCADE"))
    by_region = table("shops", "@shard_by region", column("region", "text"), column("id", "uuid"))
    message = refusal_of(REGIONS, by_region, foreign_key("shops", "region", "regions", "code", on_update="CASCADE"))
    assert 'ON UPDATE CASCADE would change "region"' in message


def test_one_name_for_two_keys() -> None:
    first = foreign_key("follows", "followee", "users", name="same")
    second = foreign_key("follows", "follower", "users", name="same")
    plan_of(USERS, FOLLOWS, msgspec.structs.replace(first, table=FOLLOWS.name), second)
    deferred = msgspec.structs.replace(second, deferrable=True, initially_deferred=True)
    assert "has the same name, and one of them is DEFERRABLE" in refusal_of(USERS, FOLLOWS, first, deferred)
    deferrable = msgspec.structs.replace(first, deferrable=True)
    message = refusal_of(USERS, FOLLOWS, deferrable, deferred)
    assert "has the same name, and one of them is INITIALLY DEFERRED" in message


NUMBERED = column("parent", default="nextval('numbers'::regclass)", sequence=TableName("public", "numbers"))


@pytest.mark.parametrize("drawing", [NUMBERED, column("parent", default="f()", draws_unseen=True)])
@pytest.mark.parametrize("tags", ["@shard_by id", "@shard_by parent", "@reference"])
@pytest.mark.parametrize(
    ("actions", "named"),
    [
        ({"on_delete": "SET DEFAULT"}, "ON DELETE SET DEFAULT"),
        ({"on_update": "SET DEFAULT"}, "ON UPDATE SET DEFAULT"),
        ({"on_delete": "SET DEFAULT", "on_delete_columns": ("parent",)}, "ON DELETE SET DEFAULT"),
    ],
)
def test_a_default_that_a_shard_would_draw_for_itself_is_refused(
    drawing: Column, tags: str, actions: dict[str, Any], named: str
) -> None:
    child = table("child", tags, column("id"), drawing)
    assert refusal_of(USERS, child, foreign_key("child", "parent", "users", **actions)).endswith(
        f'{named} would draw "parent" from a sequence inside a shard, where it does not count through the whole'
        " cluster; use another action, or a default that is not drawn"
    )


@pytest.mark.parametrize(
    "actions",
    [
        {},
        {"on_delete": "SET NULL", "on_update": "CASCADE"},
        {"on_delete": "SET DEFAULT", "on_delete_columns": ("other",)},
    ],
)
def test_a_drawn_default_that_no_action_sets_is_let_through(actions: dict[str, Any]) -> None:
    pairs = table("pairs", "@shard_by a", column("a"), column("b"), key=("a", "b"))
    child = table("child", "@shard_by id", column("id"), NUMBERED, column("other"))
    assert key_plan(pairs, child, foreign_key("child", "parent other", "pairs", "a b", **actions)).kind == "cross-shard"
