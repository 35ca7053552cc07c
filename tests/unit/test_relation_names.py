"""What relations are called, and where a name stands for none."""

from __future__ import annotations

import pytest

from crosskey.catalog.model import ForeignKey, Table, TableName, UniqueKey
from crosskey.catalog.relations import ambiguity, find_relations
from tests.schema_builders import column, foreign_key, refusal_of, table

USERS = table("users", "@shard_by id", column("id"), column("country"), column("nick", "text"))
ACCOUNTS = table("accounts", "@shard_by id")
POSTS = table("posts", "@shard_by id", column("id"), column("author_id"), column("users"))
LINKS = table("links", "@shard_by a_id", column("a_id"), column("b_id"), column("note", "text"), key=("a_id", "b_id"))


def names(table_name: str, *parts: Table | ForeignKey) -> dict[str, list[tuple[str, str]]]:
    """For each name of a table's relations, their kinds and targets."""
    tables = [part for part in parts if isinstance(part, Table)]
    found = find_relations(tables, [part for part in parts if isinstance(part, ForeignKey)])
    return {
        name: [(one.kind, one.target.name) for one in relations]
        for name, relations in found[TableName("public", table_name)].items()
    }


@pytest.mark.parametrize(
    ("columns", "parent_columns", "name"),
    [
        ("author_id", "id", "author"),
        ("authorId", "id", "author"),
        ("author", "id", "users"),
        ("id", "id", "users"),
        ("_id", "id", "users"),
        ("tenant_id author_id", "tenant_id id", "author"),
        ("tenant_id user_id", "tenant_id user_id", "user"),
    ],
)
def test_a_parent_is_called_by_the_column(columns: str, parent_columns: str, name: str) -> None:
    key = foreign_key("posts", columns, "users", parent_columns)
    assert names("posts", USERS, POSTS, key) == {name: [("belongs to", "users")]}
    assert names("users", USERS, POSTS, key) == {"posts": [("has one" if columns == "id" else "has many", "posts")]}


def test_a_child_of_which_there_is_one_at_most() -> None:
    unique = table("posts", "@shard_by id", unique_keys=(UniqueKey("u", ("author_id",)),))
    partial = table("posts", "@shard_by id", unique_keys=(UniqueKey("u", ("author_id",), plain=False, by_equals=True),))
    key = foreign_key("posts", "author_id", "users")
    assert names("users", USERS, unique, key) == {"posts": [("has one", "posts")]}
    assert names("users", USERS, partial, key) == {"posts": [("has many", "posts")]}


def test_a_table_that_refers_to_itself_is_seen_both_ways() -> None:
    key = foreign_key("posts", "parent_id", "posts")
    assert names("posts", POSTS, key) == {"parent": [("belongs to", "posts")], "posts": [("has many", "posts")]}


def test_a_join_table() -> None:
    keys = foreign_key("links", "a_id", "users"), foreign_key("links", "b_id", "accounts")
    assert names("users", USERS, ACCOUNTS, LINKS, *keys) == {
        "links": [("has many", "links")],
        "accounts": [("many to many", "accounts")],
    }
    assert names("links", USERS, ACCOUNTS, LINKS, *keys) == {
        "a": [("belongs to", "users")],
        "b": [("belongs to", "accounts")],
    }


def test_a_table_joined_with_itself() -> None:
    keys = foreign_key("links", "a_id", "users"), foreign_key("links", "b_id", "users", comment="@through liked")
    assert names("users", USERS, LINKS, *keys) == {
        "links": [("has many", "links")] * 2,
        "liked": [("many to many", "users")],
        "a": [("many to many", "users")],
    }


def test_tags_name_both_ends() -> None:
    key = foreign_key("posts", "author_id", "users", comment="Prose.\n@relation writer\n@inverse written")
    assert list(names("posts", USERS, POSTS, key)) == ["writer"]
    assert list(names("users", USERS, POSTS, key)) == ["written"]


def test_a_key_with_period_is_no_relation() -> None:
    assert names("posts", USERS, POSTS, foreign_key("posts", "author_id", "users", period=True)) == {}


def test_a_name_that_another_table_takes_stands_for_neither() -> None:
    keys = foreign_key("posts", "author_id", "users"), foreign_key("posts", "reader_id", "users")
    found = find_relations([USERS, POSTS], keys)[USERS.name]["posts"]
    assert ambiguity(USERS, "posts", found[:1]) == ""
    assert ambiguity(USERS, "posts", found) == (
        'it is ambiguous between those along "posts_author_id_fkey" of "posts"; "posts_reader_id_fkey" of "posts";'
        " tell them apart by @inverse in the constraints' comments"
    )


def test_a_name_that_a_column_has_stands_for_no_relation() -> None:
    key = foreign_key("posts", "author", "users")
    found = find_relations([USERS, POSTS], [key])[POSTS.name]["users"]
    assert ambiguity(POSTS, "users", found) == (
        'it is also a column; name the relation along "posts_author_fkey" of "posts" by @relation in the'
        " constraint's comment"
    )


@pytest.mark.parametrize(
    ("comment", "why"),
    [
        ("@relation", "@relation takes one name, which does not begin with crosskey_, not ''"),
        ("@inverse two words", "@inverse takes one name, which does not begin with crosskey_, not 'two words'"),
        ("@through crosskey_next", "@through takes one name, which does not begin with crosskey_, not 'crosskey_next'"),
        ("@relation users", '@relation users: "posts" has a column of that name'),
    ],
)
def test_names_that_are_refused(comment: str, why: str) -> None:
    refusal = refusal_of(USERS, POSTS, foreign_key("posts", "author_id", "users", comment=comment))
    assert refusal == f'foreign key "posts_author_id_fkey" of table "posts": {why}'


def test_a_name_that_is_given_twice_is_refused() -> None:
    keys = [foreign_key("posts", one, "users", comment="@inverse written") for one in ("author_id", "id")]
    assert refusal_of(USERS, POSTS, *keys).endswith(
        '@inverse written: that is what "users" calls the relation along "posts_author_id_fkey" of "posts" already;'
        " choose another name"
    )
