"""Each kind of change, there and back, while clients read and write: the shards then are as if newly installed.

The audit compares each shard, guards and all, with an installation of the schema in force.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from crosskey import Client, SchemaRefused
from crosskey.local_cluster.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.migrations.schema import END, SCHEMA, Load, fill, with_changes

BY_ID = "CREATE TABLE tags (id bigserial PRIMARY KEY, owner bigint REFERENCES users ON DELETE CASCADE, tag text);"


@dataclass(frozen=True)
class Change:
    """Texts of the schema to replace; what to say there and back; and a new row that only the new schema takes."""

    name: str
    replaced: tuple[tuple[str, str], ...]
    there: dict[str, Any] = field(default_factory=dict)
    back: dict[str, Any] = field(default_factory=dict)
    row: tuple[str, dict[str, Any]] | None = None


LOSING = {"allow_destructive": True}

CHANGES = [
    Change("column", (("age integer", "email text, age integer"),), back=LOSING, row=("users", {"email": "a@x.org"})),
    Change(
        "column with a default",
        (("age integer", "email text NOT NULL DEFAULT 'none' CHECK (email <> ''), age integer"),),
        back=LOSING,
        row=("users", {"email": "a@x.org"}),
    ),
    Change(
        "generated column",
        (("age integer", "older integer GENERATED ALWAYS AS (age + 1) STORED, age integer"),),
        there={"allow_rewrites": True},
        back=LOSING,
    ),
    Change(
        "renamed column",
        (("nick ", "handle "),),
        {"renames": {"users.nick": "handle"}},
        {"renames": {"users.handle": "nick"}},
        ("users", {"handle": "h"}),
    ),
    Change("default", (("DEFAULT 7", "DEFAULT 8"),)),
    Change("longer text", (("varchar(20)", "text"),), back={"allow_rewrites": True}, row=("users", {"nick": "n" * 30})),
    Change("not null", (("home text", "home text NOT NULL"),)),
    Change("check", (("home text", "home text CHECK (home <> '')"),)),
    Change("local key", (("home text", "home text REFERENCES countries"),)),
    Change("index", (("CREATE VIEW", "CREATE UNIQUE INDEX by_text ON notes (user_id, id, text);\nCREATE VIEW"),)),
    Change("local unique key", (("PRIMARY KEY (user_id, id)", "PRIMARY KEY (user_id, id), UNIQUE (id, user_id)"),)),
    Change("dropped index", (("CREATE INDEX notes_text ON notes (text);", ""),)),
    Change("view", (("WHERE mood = 'glad'", "WHERE mood <> 'sad'"),)),
    Change("function", (("upper(NEW.home)", "lower(NEW.home)"),)),
    Change(
        "trigger",
        ((END, "CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION shout();\n"),),
    ),
    Change("comment", (("IS '@shard_by id'", "IS E'@shard_by id\\nPeople.'"),)),
    Change(
        "reference table",
        (
            (
                END,
                "CREATE TABLE colours (name text PRIMARY KEY);\nCOMMENT ON TABLE colours IS '@reference';\n",
            ),
        ),
        back=LOSING,
        row=("colours", {"name": "red"}),
    ),
    Change(
        "table with a key over shards",
        ((END, f"{BY_ID}\nCOMMENT ON TABLE tags IS '@shard_by id';\n"),),
        back=LOSING,
        row=("tags", {"owner": 3}),
    ),
    Change("events", (("IS '@shard_by user_id'", "IS E'@shard_by user_id\\n@events'"),)),
    Change("key over shards", (("about bigint", "about bigint REFERENCES users ON DELETE SET NULL"),)),
]


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, shards=2, routers=2)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address, timeout=120) as client:
        fill(client)
        yield client


IN_EVERY_RUN = {"column with a default", "renamed column", "check", "table with a key over shards", "key over shards"}
"""The others take long together."""


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(change, id=change.name, marks=() if change.name in IN_EVERY_RUN else pytest.mark.processes)
        for change in CHANGES
    ],
)
def test_a_change_comes_and_goes_while_clients_go_on(cluster: LocalCluster, client: Client, change: Change) -> None:
    changed = with_changes(change.replaced)
    with Load(cluster).running() as load, Client(cluster.routers[1].address, timeout=60) as other:
        client.apply_migration(changed, **change.there)
        assert client.audit() == []
        if change.row is not None:
            table, row = change.row
            # A router that had no part in it knows the new schema at once.
            given = {"id": 5000, "name": "new", **row} if table == "users" else row
            assert other.insert(table, given)
            other.delete(table, where=row)
        client.apply_migration(SCHEMA, **change.back)
        assert client.audit() == []
    assert load.errors == []
    assert load.requests > 0
    assert client.plan_migration(SCHEMA).steps == []


def test_a_plan_touches_nothing(client: Client) -> None:
    changed = with_changes((("age integer DEFAULT 7,", ""),))
    plan = client.plan_migration(changed)
    assert [(step.sql, step.destructive) for step in plan.steps] == [
        ('ALTER TABLE public.users DROP COLUMN "age"', True)
    ]
    assert client.plan_migration(SCHEMA).steps == []


def test_words_that_mean_nothing_are_no_change(client: Client) -> None:
    migrations = client.list_migrations()
    [told] = client.apply_migration(f"-- Said.\n{SCHEMA}\n\n")
    assert told.in_force
    assert client.list_migrations() == migrations


REFUSED = [
    ("a syntax error", (("age integer", "age integre"),), {}, 'line 9: type "integre" does not exist'),
    ("a loss that is not allowed", (("age integer DEFAULT 7,", ""),), {}, 'DROP COLUMN "age".*--allow-destructive'),
    (
        "a value that rows do not have",
        (("home text", "home text, must text NOT NULL"),),
        {},
        "users ADD COLUMN must.*rows",
    ),
    ("numbers for rows", (("home text", "home text, number serial"),), {}, "number.*each shard would number its own"),
    ("a rewrite that is not allowed", (("age integer", "age bigint"),), {}, "TYPE bigint.*--allow-rewrites"),
    (
        "another shard key",
        (("IS '@shard_by user_id'", "IS '@shard_by id'"),),
        {},
        'table "notes": its rows cannot be placed',
    ),
    ("a reference table that is sharded", (("IS '@shard_by id'", "IS '@reference'"),), {}, 'table "users"'),
    ("a rename of nothing", (), {"renames": {"users.nock": "nick"}}, "has no table and no column users.nock"),
    (
        "a rename to nothing",
        (),
        {"renames": {"users.nick": "nock"}, "allow_destructive": True},
        "the new schema has no column public.users.nock",
    ),
    ("nulls", (("about bigint", "about bigint NOT NULL"),), {}, "crosskey_not_null_about.*violated by some row"),
    ("a row that fails a check", (("home text", "home text CHECK (home <> 'DE')"),), {}, "users_home_check"),
    (
        "a unique key over shards",
        (("nick varchar(20)", "nick varchar(20) UNIQUE"),),
        {},
        "users_nick_key.*not supported yet",
    ),
    ("a label of an enum", (("'glad', 'sad'", "'glad'"),), {}, "mood: labels of an enum can be added"),
    (
        "a rule",
        ((END, "CREATE RULE r AS ON DELETE TO happy DO INSTEAD NOTHING;\n"),),
        {},
        "rule r: .*not supported",
    ),
]


@pytest.mark.parametrize(
    ("replaced", "options", "why"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(
    client: Client, replaced: tuple[tuple[str, str], ...], options: dict[str, Any], why: str
) -> None:
    with pytest.raises(SchemaRefused, match=f"(?s){why}"):
        client.apply_migration(with_changes(replaced), **options)
    assert client.audit() == []
    assert client.plan_migration(SCHEMA).steps == []
