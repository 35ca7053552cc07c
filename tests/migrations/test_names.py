"""Names that change, that are given to something else, and that SQL would read as more than a name."""

from collections.abc import Iterator

import psycopg
import pytest

from crosskey import Client, SchemaRefused
from crosskey.local_cluster.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.shard_sql import as_superuser, query

SCHEMA = """
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE people (id bigint PRIMARY KEY, nick text, mood mood);
COMMENT ON TABLE people IS '@shard_by id';
CREATE TABLE posts (id bigserial PRIMARY KEY, title text, words text UNIQUE);
COMMENT ON TABLE posts IS '@reference';
CREATE INDEX by_title ON posts (title);
CREATE TABLE "rates 5%" (id bigint PRIMARY KEY, "in %" numeric);
COMMENT ON TABLE "rates 5%" IS '@shard_by id';
-- The end.
"""

END = "-- The end."
NOTES = "CREATE TABLE notes (id bigint);\nCOMMENT ON TABLE notes IS '@reference';"


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, shards=2)


@pytest.fixture(scope="module")
def filled(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address, timeout=120) as client:
        client.insert("people", [{"id": number, "nick": "n"} for number in range(8)])
        client.insert("posts", [{"title": f"title {number}", "words": f"{number}"} for number in range(3)])
        client.insert("rates 5%", [{"id": number} for number in range(8)])
        yield client


@pytest.fixture
def client(filled: Client) -> Iterator[Client]:
    """The schema is in force as it was, before and after a test."""
    yield filled
    assert filled.audit() == []
    assert filled.plan_migration(SCHEMA).steps == []


def test_a_table_with_a_percent_sign_is_changed_and_looked_at_for_rows(client: Client) -> None:
    client.apply_migration(_changed(('"in %" numeric', '"in %" numeric, "of %" text')))
    client.update("rates 5%", {"of %": "all"}, key={"id": 1})
    assert client.get("rates 5%", {"id": 1})["of %"] == "all"
    client.apply_migration(SCHEMA, allow_destructive=True)
    with pytest.raises(SchemaRefused, match="the table has rows"):
        client.apply_migration(_changed(('"in %" numeric', '"in %" numeric, n integer NOT NULL')))


def test_a_session_of_an_older_epoch_cannot_write_a_new_table(cluster: LocalCluster, client: Client) -> None:
    [(before,)] = query(cluster, 0, "SELECT max(epoch) FROM crosskey.epoch")
    client.apply_migration(_changed((END, "CREATE TABLE tags (id bigint);\nCOMMENT ON TABLE tags IS '@reference';\n")))
    with as_superuser(cluster, 0) as connection:
        connection.execute("SELECT set_config('crosskey.epoch', %s, false)", (str(before),))
        with pytest.raises(psycopg.Error, match='relation "tags" has changed since'):
            connection.execute("INSERT INTO tags VALUES (1)")
    client.insert("tags", {"id": 1})
    client.apply_migration(SCHEMA, allow_destructive=True)


@pytest.mark.parametrize(
    ("replaced", "renames", "why"),
    [
        (("nick text", "handle text, nick text"), {"people.nick": "handle"}, 'column "nick" of public.people'),
        (("nick text, mood", "mood text, nick"), {"people.nick": "mood", "people.mood": "nick"}, 'column ".*" of'),
        ((END, f"{NOTES}\n"), {"posts": "notes"}, 'table "public.posts"'),
        (("TABLE posts", "TABLE articles"), {"posts": "articles"}, 'table "public.posts"'),
    ],
    ids=["a new column", "two columns", "a table that stays", "a view"],
)
def test_a_name_that_something_else_has_at_once_is_refused(
    client: Client, replaced: tuple[str, str], renames: dict[str, str], why: str
) -> None:
    changed = _changed(replaced)
    if "TABLE articles" in changed:
        changed = changed.replace("ON posts (", "ON articles (").replace(END, "CREATE VIEW posts AS SELECT 1 AS one;")
    with pytest.raises(SchemaRefused, match=f"{why}.*is given to another"):
        client.apply_migration(changed, renames=renames)


def _changed(*replaced: tuple[str, str]) -> str:
    text = SCHEMA
    for old, new in replaced:
        assert old in text, old
        text = text.replace(old, new)
    return text
