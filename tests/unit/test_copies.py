"""Copies that cannot be kept, each refused with the reason."""

from typing import Any

import pytest

from crosskey.catalog.model import Table, UniqueKey
from crosskey.catalog.plan import Copy
from tests.schema_builders import column, foreign_key, plan_of, refusal_of, table

AUTHORS = table(
    "authors",
    "@shard_by id",
    column("id"),
    column("name", "text", not_null=False),
    column("full_name", "text", generated=True),
    column("facts", "jsonb"),
    column("code", "short_text", base_type="text", domain=True),
)
BY_AUTHOR = foreign_key("posts", "author", "authors")


def posts(tag: str, type_name: str = "text", comment: str = "@shard_by id", **attributes: Any) -> Table:
    """Rows with a column `copy` that has the tag."""
    copied = column("copy", type_name, comment=tag, not_null=False, **attributes)
    return table("posts", comment, column("id"), column("author"), column("editor"), copied)


def only_copy(*parts: Any) -> Copy:
    """The one copy of a schema."""
    [copy] = plan_of(AUTHORS, *parts).copies
    return copy


def test_kinds() -> None:
    live = only_copy(posts("@copy author.name"), BY_AUTHOR)
    assert (live.kind, live.overridable, live.parent_column) == ("live", False, "name")
    assert live.referenced_key == "public.authors(id)"
    assert only_copy(posts("@copy author.name live"), BY_AUTHOR) == live
    snapshot = only_copy(posts("@copy author.name  snapshot"), BY_AUTHOR)
    assert (snapshot.kind, snapshot.overridable) == ("snapshot", False)
    assert only_copy(posts("@copy author.name snapshot overridable"), BY_AUTHOR).overridable


def test_shadows_have_what_is_copied() -> None:
    [referenced] = plan_of(AUTHORS, posts("@copy author.name"), BY_AUTHOR).referenced_keys
    assert referenced.copied == ("name",)


def test_a_copy_of_a_row_on_the_same_shard() -> None:
    beside = posts("@copy author.name", comment="@shard_by author")
    assert only_copy(beside, BY_AUTHOR).referenced_key is None


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ("@copy", "@copy names no column of a parent, but ''"),
        ("@copy author", "@copy names no column of a parent, but 'author'"),
        ("@copy .name", "@copy names no column of a parent"),
        ("@copy author.name lazy", "'lazy' is no kind of copy; the kinds are live, snapshot, snapshot overridable"),
        ("@copy author.name overridable", "'overridable' is no kind of copy"),
        ("@copy editor.name", 'no foreign key of the table is on "editor"'),
        ("@copy nothing.name", 'no foreign key of the table is on "nothing"'),
        ("@copy author.title", '"authors" has no column "title"'),
        ("@copy author.id", '"authors.id" is part of the key itself'),
        ("@copy author.full_name", '"authors.full_name" is GENERATED'),
        ("@copy author.name\n@copy author.name", "it has 2 tags @copy; keep one"),
    ],
)
def test_what_is_copied(tag: str, why: str) -> None:
    assert why in refusal_of(AUTHORS, posts(tag), BY_AUTHOR)


def test_another_type() -> None:
    message = refusal_of(AUTHORS, posts("@copy author.name", "character varying(5)"), BY_AUTHOR)
    assert '"authors.name" is text, and the copy is character varying(5)' in message
    collated = refusal_of(AUTHORS, posts("@copy author.name", collation='pg_catalog."C"'), BY_AUTHOR)
    assert 'the copy is text COLLATE pg_catalog."C"' in collated


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        ({"generated": True}, "it is GENERATED"),
        ({"identity": "ALWAYS"}, "it is GENERATED"),
        ({"default": "''::text"}, "it has a DEFAULT"),
    ],
)
def test_a_column_with_a_value_of_its_own(attributes: dict[str, Any], why: str) -> None:
    assert why in refusal_of(AUTHORS, posts("@copy author.name", **attributes), BY_AUTHOR)


def test_columns_of_keys() -> None:
    unique = UniqueKey("posts_copy_key", ("copy",))
    with_key = posts("@copy author.name")
    assert 'it is part of the key "posts_copy_key"' in refusal_of(
        AUTHORS,
        table("posts", "@shard_by id", *with_key.columns, key=("id",), unique_keys=(*with_key.unique_keys, unique)),
        BY_AUTHOR,
    )
    by_copy = foreign_key("posts", "copy", "authors", "name")
    assert f'it is part of the key "{by_copy.name}"' in refusal_of(
        table(
            "authors",
            "@shard_by id",
            *AUTHORS.columns,
            unique_keys=(*AUTHORS.unique_keys, UniqueKey("authors_name_key", ("name",))),
        ),
        posts("@copy author.name"),
        BY_AUTHOR,
        by_copy,
    )


def test_types_that_do_not_cross_shards() -> None:
    assert "jsonb does not cross shards" in refusal_of(AUTHORS, posts("@copy author.facts", "jsonb"), BY_AUTHOR)
    short = posts("@copy author.code", "short_text", base_type="text", domain=True)
    assert "short_text is a domain" in refusal_of(AUTHORS, short, BY_AUTHOR)


def test_reference_tables_have_no_copies() -> None:
    assert "the table is @reference" in refusal_of(AUTHORS, posts("@copy author.name", comment="@reference"), BY_AUTHOR)


def test_parents_that_only_a_claim_finds() -> None:
    by_name = table(
        "authors",
        "@shard_by region",
        *AUTHORS.columns,
        column("region"),
    )
    assert "are found by the claim on their key" in refusal_of(by_name, posts("@copy author.name"), BY_AUTHOR)


def test_two_keys_on_one_column() -> None:
    parents = AUTHORS, table("books", "@shard_by id", column("id"), column("shelf"), key=("id", "shelf"))
    keys = (
        foreign_key("posts", "author editor", "books", "id shelf"),
        foreign_key("posts", "author id", "books", "id shelf"),
    )
    message = refusal_of(*parents, posts("@copy author.name"), *keys)
    assert "it does not tell which of the foreign keys" in message
    assert only_copy(parents[1], posts("@copy author.name"), *keys, BY_AUTHOR).constraint == BY_AUTHOR.name


def test_circles() -> None:
    people = table(
        "people",
        "@shard_by id",
        column("id"),
        column("boss"),
        column("top", "text", comment="@copy boss.top", not_null=False),
    )
    message = refusal_of(people, foreign_key("people", "boss", "people"))
    assert 'column "top": it is a copy of itself: people.top of people.top' in message


def test_copies_of_copies() -> None:
    replies = table(
        "replies",
        "@shard_by id",
        column("id"),
        column("post"),
        column("name", "text", comment="@copy post.copy", not_null=False),
    )
    parts = AUTHORS, posts("@copy author.name"), replies, BY_AUTHOR, foreign_key("replies", "post", "posts")
    assert [(str(copy.table), copy.parent_column) for copy in plan_of(*parts).copies] == [
        ("posts", "name"),
        ("replies", "copy"),
    ]
