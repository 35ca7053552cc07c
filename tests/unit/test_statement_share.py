"""Which statements find all their rows on one shard."""

import pytest

from crosskey.advice.statement_reading import NotRead, read_statement
from crosskey.advice.statement_share import read_statements, share_statements
from crosskey.advice.survey import Statement
from crosskey.catalog.model import Database, Table, UniqueKey
from crosskey.catalog.planning import plan_schema
from tests.schema_builders import column, foreign_key, table

USERS = table(
    "users",
    "@shard_by id",
    column("id"),
    column("email", "text"),
    column("name", "text"),
    unique_keys=(UniqueKey("users_pkey", ("id",), primary=True), UniqueKey("users_email_key", ("email",))),
)
MEDIA = table("media", "@shard_by owner", column("id", "uuid"), column("owner"), column("title", "text"))
COMMENTS = table("comments", "@shard_by media", column("id", "uuid"), column("media", "uuid"), column("author"))
REGIONS = table("regions", "@reference", column("code", "text"), key=("code",))
QUOTED = table("Odd Name", "@shard_by Id", column("Id"), key=("Id",))

DATABASE = Database(
    (USERS, MEDIA, COMMENTS, REGIONS, QUOTED),
    (foreign_key("media", "owner", "users"), foreign_key("comments", "media", "media")),
)

SINGLE = [
    "SELECT * FROM users WHERE id = $1",
    "select u.name from public.users as u where $1 = u.id and (u.name = $2 or u.name = $3) limit $4",
    "SELECT * FROM users WHERE id = CAST($1 AS bigint) FOR UPDATE",
    "SELECT * FROM users WHERE id IN ($1)",
    "SELECT * FROM media WHERE id = $1::uuid",
    "SELECT * FROM users WHERE (id, name) = ($1, $2)",
    "SELECT * FROM ONLY users WHERE id = coalesce($1, $2)",
    "SELECT * FROM users u JOIN media m ON m.owner = u.id WHERE m.id = $1",
    "SELECT * FROM users u LEFT JOIN media m ON m.owner = u.id AND m.title = $2 WHERE u.id = $1",
    "SELECT * FROM media m, comments c WHERE c.media = m.id AND m.owner = $1",
    "SELECT count(*) FROM users, regions WHERE users.id = $1",
    "SELECT * FROM regions",
    'SELECT * FROM "Odd Name" WHERE "Id" = $1',
    "INSERT INTO media (owner,title) VALUES ($1,$2) RETURNING id",
    "INSERT INTO users (id, name) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    "INSERT INTO users DEFAULT VALUES",
    "UPDATE users SET name = $1 WHERE id = $2",
    "DELETE FROM media USING users WHERE media.owner = users.id AND users.id = $1",
    "SELECT * FROM users u, media m WHERE u.id = $1 AND m.owner = $1",
]
MANY = [
    "SELECT * FROM users",
    "SELECT * FROM users WHERE name = $1",
    "SELECT * FROM users WHERE id = $1 OR id = $2",
    "SELECT * FROM users WHERE NOT id = $1",
    "SELECT * FROM users WHERE id > $1",
    "SELECT * FROM users WHERE id = ANY($1)",
    "SELECT * FROM users WHERE id IN ($1, $2)",
    "SELECT * FROM users WHERE id IN ($1 /*, ... */)",
    "SELECT * FROM users u, media m WHERE u.id = $1 AND m.owner = $2",
    "SELECT * FROM users u JOIN media m ON m.owner = u.id AND u.id = $1 JOIN comments c ON c.author = u.id",
    "SELECT * FROM users u LEFT JOIN media m ON m.owner = u.id AND u.id = $1",
    "SELECT * FROM comments c JOIN users u ON u.id = c.author WHERE u.id = $1",
    "INSERT INTO users (id, name) VALUES ($1, $2), ($3, $4)",
    "UPDATE regions SET code = $1 WHERE code = $2",
    "DELETE FROM users WHERE email LIKE $1",
]
NOT_READ = [
    "SELECT * FROM users WHERE id IN (SELECT author FROM comments)",
    "WITH u AS (SELECT * FROM users) SELECT * FROM u WHERE id = $1",
    "INSERT INTO users SELECT * FROM users",
    "MERGE INTO users USING media ON users.id = media.owner WHEN MATCHED THEN DELETE",
    "SELECT * FROM users, generate_series($1, $2) AS n WHERE users.id = n",
    "(SELECT * FROM users WHERE id = $1)",
    "SELECT * FROM users WHERE id = $1 UNION SELECT * FROM users WHERE id = $2",
    "SELECT * FROM users JOIN some_view USING (id)",
    "SELECT * FROM media m RIGHT JOIN users u ON u.id = m.owner WHERE m.id = $1",
]
ABOUT_CATALOGS = "-- Comments of users.\nSELECT description FROM pg_description /* media */"
NOTHING = [
    ABOUT_CATALOGS,
    "BEGIN",
    "SET x = $1",
    "SELECT $1",
    "SELECT * FROM elsewhere",
    "VACUUM users",
    "SELECT * FROM pg_class -- users",
]


def shares(query: str) -> tuple[int, int, int, int]:
    """Return the calls on one shard, through a claim, on several, and not judged."""
    share = share_statements(read_statements([Statement(query, 1)], DATABASE), plan_schema(DATABASE))
    return share.single_shard, share.by_claim, share.many_shards, share.not_read


@pytest.mark.parametrize("query", SINGLE)
def test_on_one_shard(query: str) -> None:
    assert shares(query) == (1, 0, 0, 0)


@pytest.mark.parametrize("query", MANY)
def test_on_several_shards(query: str) -> None:
    assert shares(query) == (0, 0, 1, 0)


@pytest.mark.parametrize("query", NOT_READ)
def test_what_is_not_seen_through_is_not_judged(query: str) -> None:
    with pytest.raises(NotRead):
        read_statement(query, DATABASE)
    assert shares(query) == (0, 0, 0, 1)


@pytest.mark.parametrize("query", NOTHING)
def test_what_touches_none_of_the_tables_does_not_count(query: str) -> None:
    assert shares(query) == (0, 0, 0, 0)


def test_what_cannot_be_parsed_is_not_judged() -> None:
    assert shares("SELECT FROM FROM users WHERE (") == (0, 0, 0, 1)


def test_a_unique_value_is_found_through_its_claim() -> None:
    assert shares("SELECT * FROM users WHERE email = $1") == (0, 1, 0, 0)


def test_the_most_frequent_statements_on_several_shards_come_first() -> None:
    statements = [Statement("SELECT * FROM users", 3), Statement("SELECT id FROM users", 9)]
    share = share_statements(read_statements(statements, DATABASE), plan_schema(DATABASE))
    assert [statement.calls for statement in share.most_frequent] == [9, 3]


def test_tables_of_one_name_are_told_apart_by_their_schema() -> None:
    other: Table = table("orders", "@shard_by id")
    assert read_statement("SELECT * FROM app.orders", Database((other,))) is None
