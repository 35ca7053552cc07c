"""Names that change, that are given to something else, and that SQL would read as more than a name."""

from collections.abc import Iterator

import psycopg
import pytest

from crosskey import CheckViolation, Client, SchemaRefused, UniqueViolation
from crosskey.local_cluster.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.shard_sql import as_superuser, query, query_all

SCHEMA = """
CREATE TYPE weather AS ENUM ('dry', 'wet');
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
INDEXED = "SELECT tablename::text FROM pg_indexes WHERE indexname = %s"
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


ARTICLES = (("TABLE posts", "TABLE articles"), ("ON posts", "ON articles"))


def test_a_table_that_is_renamed_keeps_its_keys_and_goes_on_counting(cluster: LocalCluster, client: Client) -> None:
    [(files,)] = query(cluster, 1, "SELECT pg_relation_filenode('posts_pkey')")
    spaces = _spaces(cluster, "posts_id_seq")
    with_check = ("title text", "title text NOT NULL CHECK (title <> '')")
    client.apply_migration(_changed(*ARTICLES, with_check), renames={"posts": "articles"})
    assert client.audit() == []
    [row] = client.insert("articles", [{"title": "title 4", "words": "4"}])
    assert int(row["id"]) > 3
    with pytest.raises(CheckViolation, match="articles_title_check"):
        client.insert("articles", {"title": "", "words": "5"})
    with pytest.raises(UniqueViolation, match="articles_words_key"):
        client.insert("articles", {"title": "t", "words": "4"})
    assert query(cluster, 1, "SELECT pg_relation_filenode('articles_pkey')") == [(files,)]
    assert _spaces(cluster, "articles_id_seq") == spaces
    client.apply_migration(SCHEMA, renames={"articles": "posts"})
    assert client.count("posts") == 4


def test_a_column_that_is_renamed_gets_a_check_a_key_and_an_index_at_once(client: Client) -> None:
    handle = "handle text NOT NULL CHECK (handle <> '')"
    index = "CREATE INDEX by_handle ON people (handle);"
    renamed = _changed(("nick text, mood mood", f"{handle}, mood mood, UNIQUE (id, handle)"), (END, index))
    client.apply_migration(renamed, renames={"people.nick": "handle"})
    assert client.audit() == []
    with pytest.raises(CheckViolation, match="people_handle_check"):
        client.insert("people", {"id": 100, "handle": ""})
    client.apply_migration(SCHEMA, renames={"people.handle": "nick"})


@pytest.mark.processes
def test_a_rename_with_a_check_that_rows_fail_leaves_the_old_names(client: Client) -> None:
    refused = _changed(*ARTICLES, ("title text", "title text CHECK (title = '')"))
    with pytest.raises(SchemaRefused, match="articles_title_check"):
        client.apply_migration(refused, renames={"posts": "articles"})
    assert client.count("posts") >= 3


FAILS = ("nick text", "nick text CHECK (nick = 'other')")


@pytest.mark.parametrize(
    "index",
    [
        "CREATE INDEX by_title ON people (nick);",
        pytest.param(
            "ALTER TABLE people ADD CONSTRAINT by_title UNIQUE (id, nick);", id="a key", marks=pytest.mark.processes
        ),
    ],
)
def test_an_index_whose_name_goes_to_another_table_stays_if_that_is_refused(
    cluster: LocalCluster, client: Client, index: str
) -> None:
    moved = (("CREATE INDEX by_title ON posts (title);", ""), (END, index))
    with pytest.raises(SchemaRefused, match="people_nick_check"):
        client.apply_migration(_changed(*moved, FAILS))
    assert set(query_all(cluster, INDEXED, "by_title")) == {("posts",)}
    client.apply_migration(_changed(*moved))
    assert set(query_all(cluster, INDEXED, "by_title")) == {("people",)}
    client.apply_migration(SCHEMA)


def test_an_index_made_by_hand_is_not_taken_for_that_of_a_migration(cluster: LocalCluster, client: Client) -> None:
    with as_superuser(cluster, 1) as connection:
        connection.execute("CREATE INDEX by_nick ON people (id)")
        try:
            with pytest.raises(SchemaRefused, match=r"by_nick.*something else of the name"):
                client.apply_migration(_changed((END, "CREATE INDEX by_nick ON people (nick);")))
            assert query(cluster, 1, INDEXED, "by_nick") == [("people",)]
        finally:
            connection.execute("DROP INDEX by_nick")


@pytest.mark.parametrize("use", ["", "CREATE VIEW storms AS SELECT 'hot'::weather AS weather;"], ids=["alone", "used"])
def test_a_label_of_a_migration_that_is_refused_is_in_nobodys_way(client: Client, use: str) -> None:
    refused = _changed(("'wet'", "'wet', 'hot'"), FAILS, (END, use))
    with pytest.raises(SchemaRefused, match="people_nick_check"):
        client.apply_migration(refused)
    if not use:
        assert client.audit() == []
    client.apply_migration(_changed(("nick text", "nick text DEFAULT 'n'")))
    client.apply_migration(_changed(("'wet'", "'wet', 'hot'"), (END, use)))
    assert client.audit() == []
    # Labels are not dropped, but a type is.
    client.apply_migration(_changed(("CREATE TYPE weather AS ENUM ('dry', 'wet');", "")), allow_destructive=True)
    client.apply_migration(SCHEMA)


def _spaces(cluster: LocalCluster, sequence: str) -> list[tuple[object, ...]]:
    spaces = "SELECT increment_by, max_value FROM pg_sequences WHERE sequencename = %s"
    return query_all(cluster, spaces, sequence)


def _changed(*replaced: tuple[str, str]) -> str:
    text = SCHEMA
    for old, new in replaced:
        assert old in text, old
        text = text.replace(old, new)
    return text
