"""Tags in the wrong place, with wrong arguments, or unknown."""

import pytest

from crosskey.catalog.model import Database, OtherComment
from crosskey.catalog.planning import SchemaRefused, plan_schema
from tests.schema_builders import FOLLOWS, USERS, column, foreign_key, refusal_of, table


def test_no_placement() -> None:
    assert refusal_of(table("users", "People.")).startswith('table "users": no placement; say COMMENT ON TABLE')


@pytest.mark.parametrize("comment", ["@shard_by id\n@reference", "@shard_by id\n@shard_by id"])
def test_two_placements(comment: str) -> None:
    assert "two placements" in refusal_of(table("users", comment))


@pytest.mark.parametrize(
    ("comment", "why"),
    [
        ("@shard_by", "names no column"),
        ("@shard_by nothing", 'no column "nothing"'),
        ("@shard_by id, name", 'no column "id, name"'),
        ("@reference all", "takes nothing after it"),
        ("@shard_by id\n@events all", "@events takes nothing after it"),
    ],
)
def test_arguments_of_tags(comment: str, why: str) -> None:
    assert why in refusal_of(table("users", comment))


def test_an_unknown_tag_is_answered_with_the_known_ones() -> None:
    message = refusal_of(table("users", "@shard_by id\n@shardby id"))
    assert "unknown tag @shardby; the tags are @shard_by, @shard_with, @reference" in message


def test_column_tags() -> None:
    copy = column("id", comment="@copy author.name")
    assert 'no foreign key of the table is on "author"' in refusal_of(table("users", "@shard_by id", copy))
    placed = column("id", comment="@shard_by id")
    assert "@shard_by belongs on a table, not on a table's column" in refusal_of(table("users", "@shard_by id", placed))


def test_tags_of_foreign_keys() -> None:
    parts = USERS, FOLLOWS
    shard_by = foreign_key("follows", "followee", "users", comment="@shard_by followee")
    assert "@shard_by belongs on a table, not on a foreign key" in refusal_of(*parts, shard_by)


def test_our_tags_on_anything_else() -> None:
    comments = OtherComment("view v", "@reference"), OtherComment("function f()", "@param x\n@copy y")
    with pytest.raises(SchemaRefused) as raised:
        plan_schema(Database((), (), comments))
    assert raised.value.message.splitlines() == [
        "view v: @reference belongs on a table",
        "function f(): @copy belongs on a table's column",
    ]
