"""What makes another schema of a text, and what does not."""

import pytest

from crosskey.shard_node.schema.fingerprint import Fingerprint
from crosskey.shard_node.schema.skipping import take
from crosskey.shard_node.sql_text.sql_script import statements

TABLE = "CREATE TABLE a (id bigint PRIMARY KEY);"
TAGGED = f"{TABLE} COMMENT ON TABLE a IS '@shard_by id';"


def fingerprint(text: str) -> str:
    taken_in = Fingerprint()
    for statement in statements(text):
        taken_in.take_in(take(statement, 1, empty=False), text)
    return taken_in.hexdigest()


@pytest.mark.parametrize(
    "text",
    [
        f"-- A table.\n{TABLE}\n\n/* Its place: */ COMMENT  ON table a IS '@shard_by id'",
        f"{TABLE} COMMENT ON TABLE a IS E'Prose; its long.\\n@shard_by id';",
        f"{TABLE} COMMENT ON TABLE a IS 'Prose.\n  @shard_by   id  \nMore.';",
        f"{TABLE} COMMENT ON TABLE a IS $$It's a table.\n@shard_by id$$;",
        f"{TAGGED} COMMENT ON COLUMN a.id IS 'A number.';",
        f"{TAGGED} COMMENT ON COLUMN a.id IS NULL;",
    ],
)
def test_prose_and_white_space_do_not_count(text: str) -> None:
    assert fingerprint(text) == fingerprint(TAGGED)


@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        f"{TABLE} COMMENT ON TABLE a IS '@reference';",
        f"{TABLE} COMMENT ON TABLE a IS '@shard_by id'\n'x';",
        f"{TABLE} COMMENT ON TABLE a IS E'@shard_by id'\n'\\n@claim';",
        f"{TAGGED} COMMENT ON TABLE a IS 'Prose alone takes the tag away.';",
        f"{TAGGED} COMMENT ON TABLE a IS NULL;",
        f"{TAGGED} COMMENT ON COLUMN a.id IS '@copy x.y';",
    ],
)
def test_tags_do(text: str) -> None:
    assert fingerprint(text) != fingerprint(TAGGED)


def test_what_only_postgresql_can_read_counts_as_it_is() -> None:
    plain, other = (f"{TABLE} COMMENT ON TABLE a IS E'\\x41{word}';" for word in ("one", "two"))
    assert fingerprint(plain) != fingerprint(other)
