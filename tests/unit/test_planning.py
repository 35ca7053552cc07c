"""A whole plan: referenced keys and their names, order, collected refusals."""

import msgspec
import pytest

from crosskey.catalog.model import Database, OtherComment, TableName, UniqueKey
from crosskey.catalog.naming import MAX_NAME_BYTES, name_tables, shorten
from crosskey.catalog.plan import Plan
from crosskey.catalog.planning import SchemaRefused, plan_schema
from tests.schema_builders import FOLLOWS, NOTES, USERS, column, foreign_key, plan_of, table


def test_one_referenced_key_for_all_foreign_keys_that_share_it() -> None:
    keys = foreign_key("follows", "followee", "users"), foreign_key("notes", "id", "users")
    likes = table("notes", "@shard_by owner", column("owner"), column("id"), key=("owner", "id"))
    [referenced] = plan_of(USERS, FOLLOWS, likes, *keys).referenced_keys
    assert (referenced.id, referenced.locator, referenced.columns) == ("public.users(id)", "id", ("id",))
    assert referenced.shadow == TableName("crosskey_shadow_public", "users")
    assert referenced.pin == TableName("crosskey", "pin_public_users_id")


def test_a_second_referenced_key_of_a_parent_has_a_schema_of_its_own() -> None:
    notes = msgspec.structs.replace(
        NOTES, unique_keys=(*NOTES.unique_keys, UniqueKey("again", ("reply", "id"), constraint=False))
    )
    child = table("child", "@shard_by c", column("c"), column("a", "uuid"), column("b", "uuid"), key=("c",))
    keys = foreign_key("child", "a", "notes"), foreign_key("child", "a b", "notes", "id reply")
    first, second = plan_of(notes, child, *keys).referenced_keys
    assert (first.shadow.schema, second.shadow.schema) == ("crosskey_shadow_public", "crosskey_shadow_public_2")
    assert (first.shadow.name, second.shadow.name) == ("notes", "notes")
    assert second.locator == "id"


def test_names_never_collide() -> None:
    schemas = "app", "app_2", "x" * 63, "x" * 62 + "y", "ü" * 31
    keys = [
        (TableName(schema, name), columns)
        for schema in schemas
        for name in ("t", "t_id")
        for columns in (("id",), ("id", "b"), ("id_b",))
    ]
    names = [name for pair in name_tables(keys).values() for name in pair]
    assert len(set(names)) == 2 * len(keys)
    assert all(len(part.encode()) <= MAX_NAME_BYTES for name in names for part in (name.schema, name.name))


def test_short_names_are_left_alone() -> None:
    assert shorten("a" * MAX_NAME_BYTES) == "a" * MAX_NAME_BYTES


def test_every_refusal_is_collected_and_the_first_gives_the_attributes() -> None:
    bad = table("bad", "@shard_by nothing"), table("worse", None)
    with pytest.raises(SchemaRefused) as raised:
        plan_of(*bad, foreign_key("bad", "id", "worse"))
    assert len(raised.value.refusals) == 2
    assert (raised.value.table, raised.value.column, raised.value.constraint) == ("bad", "nothing", "")
    assert raised.value.message == "\n".join(refusal.message for refusal in raised.value.refusals)


def test_an_empty_schema_has_an_empty_plan() -> None:
    assert plan_schema(Database(())) == Plan((), (), ())


def test_a_description_survives_json() -> None:
    database = Database((USERS, NOTES), (foreign_key("notes", "reply", "notes"),), (OtherComment("view v", "@x"),))
    assert Database.from_json(database.to_json()) == database


def test_a_description_without_later_fields_is_read() -> None:
    description = msgspec.json.decode(Database((USERS,), catches_errors=True).to_json())
    del description["catches_errors"]
    assert Database.from_json(msgspec.json.encode(description)) == Database((USERS,))


@pytest.mark.parametrize("catches_errors", [False, True])
def test_a_plan_says_whether_functions_catch_errors(catches_errors: bool) -> None:
    assert plan_schema(Database((USERS,), catches_errors=catches_errors)).catches_errors == catches_errors
