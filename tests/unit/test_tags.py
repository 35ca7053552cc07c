"""Smart comments."""

from crosskey.catalog.tags import Tag, parse_tags


def test_no_comment_has_no_tags() -> None:
    assert parse_tags(None) == ()
    assert parse_tags("") == ()


def test_tags_are_lines_that_start_with_an_at_sign() -> None:
    comment = "People.\n@shard_by id\n  @events\r\nAsk ann@example.org about @reference."
    assert parse_tags(comment) == (Tag("shard_by", "id"), Tag("events"))


def test_the_argument_is_the_rest_of_the_line() -> None:
    assert parse_tags("@copy  author.name snapshot ") == (Tag("copy", "author.name snapshot"),)
    assert parse_tags("@shard_by\tid") == (Tag("shard_by", "id"),)
    assert parse_tags("@shard_by my column") == (Tag("shard_by", "my column"),)


def test_a_lone_at_sign_is_a_tag_without_a_name() -> None:
    assert parse_tags("@") == (Tag(""),)
