"""`crosskey load`: what arrives is what was there, once, whatever happens on the way; what cannot be is refused."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg import sql

from crosskey import Client, errors
from crosskey.catalog.slots import mint_uuid, shard_of_slot, slot_of_value
from crosskey.cli.load.command import load
from crosskey.cli.load.run import LoadRun
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.v1 import router_pb2
from crosskey.v1.router_pb2_grpc import RouterStub
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import as_superuser, prepared, query, query_all, wait_for_waiters

pytestmark = pytest.mark.processes

SHARDS = 3
SCHEMA = r"""
CREATE TYPE mood AS ENUM ('calm', 'so "so"');
CREATE TABLE languages (code text PRIMARY KEY, facts jsonb);
COMMENT ON TABLE languages IS '@reference';
CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL CHECK (name <> ''),
    email text UNIQUE,
    language text REFERENCES languages
);
COMMENT ON TABLE users IS '@shard_by id';
CREATE TABLE follows (
    follower_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    followee_id uuid NOT NULL REFERENCES users ON DELETE CASCADE,
    weight integer NOT NULL DEFAULT 1,
    PRIMARY KEY (follower_id, followee_id)
);
COMMENT ON TABLE follows IS '@shard_by follower_id';
CREATE TABLE messages (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    recipient_id uuid NOT NULL REFERENCES users,
    sender_id uuid NOT NULL REFERENCES users,
    content text NOT NULL,
    length integer GENERATED ALWAYS AS (length(content)) STORED
);
COMMENT ON TABLE messages IS '@shard_by recipient_id';
CREATE TABLE people (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chief bigint REFERENCES people,
    badge serial UNIQUE
);
COMMENT ON TABLE people IS '@shard_by id';
CREATE TABLE teams (id integer PRIMARY KEY, captain integer NOT NULL);
COMMENT ON TABLE teams IS '@shard_by id';
CREATE TABLE players (id integer PRIMARY KEY, team integer NOT NULL REFERENCES teams);
COMMENT ON TABLE players IS '@shard_by id';
ALTER TABLE teams ADD FOREIGN KEY (captain) REFERENCES players DEFERRABLE INITIALLY DEFERRED;
CREATE TABLE notes (owner uuid NOT NULL, note text);
COMMENT ON TABLE notes IS '@shard_by owner';
CREATE TABLE samples (
    id bigint PRIMARY KEY,
    bytes bytea,
    numbers integer[],
    texts text[],
    document jsonb,
    amount numeric,
    moment timestamptz,
    feeling mood,
    span int4range,
    "a column" text
);
COMMENT ON TABLE samples IS '@shard_by id';
CREATE TABLE posts (id bigint PRIMARY KEY, owner bigint NOT NULL, title text);
COMMENT ON TABLE posts IS '@shard_by owner';
CREATE TABLE sales (post bigint PRIMARY KEY REFERENCES posts, buyer bigint NOT NULL);
COMMENT ON TABLE sales IS '@shard_with post';
CREATE TABLE gifts (post bigint PRIMARY KEY REFERENCES posts, buyer bigint NOT NULL);
COMMENT ON TABLE gifts IS '@shard_with post';
CREATE FUNCTION sell() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE posts SET title = 'sold' WHERE id = new.post;
    UPDATE posts SET owner = new.buyer WHERE id = new.post;
    RETURN NULL;
END
$$;
CREATE TRIGGER sold AFTER INSERT ON sales FOR EACH ROW EXECUTE FUNCTION sell();
CREATE CONSTRAINT TRIGGER given AFTER INSERT ON gifts
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sell();
"""
TABLES = ("languages", "users", "follows", "messages", "people", "teams", "players", "notes", "samples")

SAMPLES = r"""
INSERT INTO samples VALUES
    (1, '\x00ff5c', '{1,NULL,3}', '{"a,b","say \"x\"","\\",NULL,""}', '{"k": [1, "\t"]}', 12345678901234567890.10,
     '2026-01-02 03:04:05.678901+02', 'so "so"', '[1,5)', E'tab\there, "quotes", \\N and\nlines'),
    (2, NULL, '{{1,2},{3,4}}', '{}', 'null', 'NaN', 'infinity', 'calm', 'empty', ''),
    (9007199254740993, '', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (-7, '\x', '{}', '{NULL}', '"text"', -0.000, '0044-03-15 12:00:00+00 BC', 'calm', '(,)', E'\\.')
"""

_numbers = count(1)


class Source:
    """A database with the schema, on one server."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self._connection = psycopg.connect(dsn, autocommit=True)

    def run(self, statement: str, *parameters: object) -> None:
        """Runs a statement, or several without parameters."""
        self._connection.execute(statement.encode(), parameters or None)

    def rows(self, table: str) -> list[tuple[object, ...]]:
        """The rows of a table, as text."""
        return self._connection.execute(_all_rows(table).encode()).fetchall()

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def _all_rows(table: str) -> str:
    return f"SELECT t::text FROM {table} t ORDER BY 1"


def rows_of_cluster(cluster: LocalCluster, table: str) -> list[tuple[object, ...]]:
    """The rows on all shards; of a reference table those of each, which are alike."""
    return query_all(cluster, _all_rows(table))


class Loading:
    """A cluster, and databases to load into it."""

    def __init__(self, cluster: LocalCluster, server: PostgresServer, client: Client) -> None:
        self.cluster = cluster
        self.client = client
        self._server = server
        self._sources: list[tuple[str, Source]] = []

    def new_source(self) -> Source:
        """An empty database with the schema."""
        name = f"source_{next(_numbers)}_{self.cluster.databases[0].name}"
        with psycopg.connect(self._server.dsn(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        source = Source(self._server.dsn(database=name))
        self._sources.append((name, source))
        source.run(SCHEMA)
        return source

    def run(self, folder: Path, *arguments: str) -> Result:
        """The command in this process."""
        return CliRunner().invoke(load, self._arguments(folder, *arguments))

    def start(self, folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
        """The command in a process of its own, which can be killed."""
        command = [sys.executable, "-m", "crosskey.cli", "load", *self._arguments(folder, *arguments)]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ})

    def _arguments(self, folder: Path, *arguments: str) -> list[str]:
        return ["--router", self.cluster.address, "--state", str(folder / "state.json"), *arguments]

    def drop_sources(self) -> None:
        """Drops the databases."""
        for name, source in self._sources:
            source.close()
            with psycopg.connect(self._server.dsn(), autocommit=True) as connection:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def loading(fresh_cluster: FreshClusters, postgres: list[PostgresServer]) -> Iterator[Loading]:
    cluster = fresh_cluster(SCHEMA, node_environment={"CROSSKEY_LOCK_TIMEOUT_MS": "500"})
    with Client(cluster.address) as client:
        loading = Loading(cluster, postgres[0], client)
        yield loading
        loading.drop_sources()
        assert client.with_timeout(60).audit() == []
    assert query_all(cluster, "SELECT FROM crosskey.loaded_batch WHERE load <> 'kept'") == []


def ids(number: int) -> list[str]:
    """New ids, on whichever shards."""
    return [str(mint_uuid(slot * 37 % 16384)) for slot in range(number)]


def fill_with_users(source: Source, number: int) -> list[str]:
    """Users that follow each other, and a message to each."""
    users = ids(number)
    source.run("INSERT INTO languages VALUES ('fr', '{\"name\": \"French\"}'), ('la', 'null') ON CONFLICT DO NOTHING")
    for place, user in enumerate(users):
        email = f"{user[-12:]}@example.org" if place % 3 else None
        source.run("INSERT INTO users VALUES (%s, %s, %s, 'fr')", user, f"user {place}", email)
    for place, user in enumerate(users):
        for step in (1, 2, 5):
            source.run("INSERT INTO follows VALUES (%s, %s, %s)", user, users[(place + step) % number], step)
        message = str(mint_uuid(slot_of_value("uuid", user)))
        source.run("INSERT INTO messages VALUES (%s, %s, %s, 'hello')", message, user, users[place - 1])
        source.run("INSERT INTO notes VALUES (%s, 'a note')", user)
    return users


def test_a_database_arrives_as_it_was(loading: Loading, tmp_path: Path) -> None:
    source = loading.new_source()
    fill_with_users(source, 60)
    source.run(SAMPLES)
    # Chiefs come after those whom they lead.
    source.run(
        "INSERT INTO people (id, chief, badge) OVERRIDING SYSTEM VALUE SELECT n, nullif(n % 50 + 1, n), n"
        " FROM generate_series(1, 90) n"
    )
    source.run(
        "BEGIN; INSERT INTO teams SELECT n, n + 100 FROM generate_series(1, 20) n;"
        " INSERT INTO players SELECT n + 100, n FROM generate_series(1, 20) n; COMMIT"
    )
    result = loading.run(tmp_path, "--from", source.dsn, "--batch-rows", "25")
    assert result.exit_code == 0, result.output
    assert "follows: 180 rows" in result.stdout
    assert source.dsn not in result.output
    for table in TABLES:
        copies = SHARDS if table == "languages" else 1
        assert rows_of_cluster(loading.cluster, table) == sorted(source.rows(table) * copies), table
    assert not (tmp_path / "state.json").exists()
    [person] = loading.client.insert("people", {"chief": 90})
    assert (person["id"], person["badge"]) == ("91", 91)


def test_csv_arrives_as_postgresql_wrote_it(loading: Loading, tmp_path: Path) -> None:
    source = loading.new_source()
    source.run(SAMPLES)
    source.run("UPDATE samples SET id = id + 100")
    file = tmp_path / "samples.csv"
    with (
        psycopg.connect(source.dsn) as connection,
        connection.cursor() as cursor,
        cursor.copy("COPY samples TO STDOUT (FORMAT csv, HEADER)") as copy,
        file.open("wb") as lines,
    ):
        lines.writelines(copy)
    result = loading.run(tmp_path, str(file), "--table", "samples", "--batch-rows", "3")
    assert result.exit_code == 0, result.output
    assert set(source.rows("samples")) <= set(rows_of_cluster(loading.cluster, "samples"))


def test_json_lines_arrive_as_the_api_answered_them(loading: Loading, tmp_path: Path) -> None:
    source = loading.new_source()
    source.run(SAMPLES)
    source.run("UPDATE samples SET id = id + 200 WHERE id < 100")
    expected = [row for row in source.rows("samples") if not str(row).startswith("('(9")]
    samples = {row["id"]: row for row in loading.client.list("samples")}
    rows = [{**samples[str(number)], "id": str(number + 200)} for number in (1, 2, -7)]
    # A jsonb null and NULL are one in JSON.
    source.run("UPDATE samples SET document = NULL WHERE id = 202")
    expected = [row for row in source.rows("samples") if "(9007" not in str(row)]
    file = tmp_path / "samples.jsonl"
    file.write_text("\n".join([json.dumps(rows[0]), "", *map(json.dumps, rows[1:])]))
    result = loading.run(tmp_path, str(file), "--table", "samples")
    assert result.exit_code == 0, result.output
    assert set(expected) <= set(rows_of_cluster(loading.cluster, "samples"))


def test_a_byte_order_mark_is_no_part_of_the_first_column(loading: Loading, tmp_path: Path) -> None:
    mark = "\ufeff"
    [owner] = ids(1)
    files = {
        "marked.csv": f"owner;note\n{owner};marked\n",
        "marked.jsonl": json.dumps({"owner": owner, "note": "marked"}),
    }
    for name, content in files.items():
        (tmp_path / name).write_text(mark + content, encoding="utf-8")
        result = loading.run(tmp_path, str(tmp_path / name), "--table", "notes", "--delimiter", ";")
        assert result.exit_code == 0, result.output
    assert loading.client.count("notes", {"note": "marked"}) == len(files)


@pytest.mark.parametrize("delimiter", [";;", "", "\\t", "\n", "\r", '"', "§"])
def test_a_delimiter_is_one_byte(loading: Loading, tmp_path: Path, delimiter: str) -> None:
    file = tmp_path / "notes.csv"
    file.write_text("owner;;note\n")
    result = loading.run(tmp_path, str(file), "--table", "notes", "--delimiter", delimiter)
    assert (result.exit_code, "it must be one character of one byte" in result.stderr) == (2, True), result.output
    assert not (tmp_path / "state.json").exists()


def test_columns_that_a_file_lacks_are_made(loading: Loading, tmp_path: Path) -> None:
    [user] = loading.client.insert("users", {"name": "Fantine"})
    file = tmp_path / "messages.jsonl"
    row = {"recipient_id": user["id"], "sender_id": user["id"], "content": "made"}
    file.write_text(json.dumps(row) + "\n" + json.dumps({**row, "content": "too"}))
    assert loading.run(tmp_path, str(file), "--table", "messages").exit_code == 0
    for message in loading.client.list("messages", {"recipient_id": user["id"]}):
        assert slot_of_value("uuid", message["id"]) == slot_of_value("uuid", user["id"])
        assert loading.client.get("messages", id=message["id"])["length"] == len(message["content"])
    people = tmp_path / "people.csv"
    people.write_text("chief\n1\n\n1\n")
    before = loading.client.count("people")
    assert loading.run(tmp_path, str(people), "--table", "people").exit_code == 0
    assert loading.client.count("people") == before + 3


@contextmanager
def held_up(loading: Loading, user: str) -> Iterator[int]:
    """Somebody else is inserting a user with that id, on the shard that is answered, until the end."""
    shard = shard_of_slot(slot_of_value("uuid", user), SHARDS)
    with as_superuser(loading.cluster, shard) as connection, connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("INSERT INTO users (id, name) VALUES (%s, 'in the way')", (user,))
        yield shard


@pytest.mark.parametrize("place", [0, 15, 39])
def test_a_load_that_was_killed_goes_on(loading: Loading, tmp_path: Path, place: int) -> None:
    source = loading.new_source()
    users = fill_with_users(source, 40)
    tables = ["--from", source.dsn, *(f"--table={table}" for table in ("users", "follows", "messages", "notes"))]
    before = {table: rows_of_cluster(loading.cluster, table) for table in ("users", "follows", "messages", "notes")}
    with held_up(loading, users[place]) as shard:
        process = loading.start(tmp_path, *tables, "--batch-rows", "10", "--jobs", "1")
        wait_for_waiters(loading.cluster, shard)
        process.kill()
        process.wait()
    assert loading.client.count("users") == len(before["users"]) + place // 10 * 10
    result = loading.run(tmp_path, *tables)
    assert result.exit_code == 0, result.output
    for table, rows in before.items():
        assert rows_of_cluster(loading.cluster, table) == sorted([*rows, *source.rows(table)])


def test_what_another_load_left_is_not_gone_on_with(
    loading: Loading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, other = loading.new_source(), loading.new_source()
    fill_with_users(source, 20)
    before = rows_of_cluster(loading.cluster, "notes")

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LoadRun, "finish", stop)
        loading.run(tmp_path, "--from", source.dsn, "--table", "notes")
    for arguments in (
        ["--from", source.dsn, "--table", "notes", "--table", "users"],
        ["--from", source.dsn, "--table", "users"],
        ["--from", other.dsn, "--table", "notes"],
    ):
        refused = loading.run(tmp_path, *arguments)
        assert (refused.exit_code, "is the state of another load" in refused.stderr) == (1, True)
        assert "(notes): go on with that one" in refused.stderr
    assert loading.run(tmp_path, "--from", source.dsn, "--table", "notes").exit_code == 0
    assert rows_of_cluster(loading.cluster, "notes") == sorted([*before, *source.rows("notes")])


def test_a_load_that_was_stopped_at_its_end_does_nothing_twice(
    loading: Loading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = loading.new_source()
    fill_with_users(source, 20)
    before = rows_of_cluster(loading.cluster, "notes")

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LoadRun, "finish", stop)
        assert loading.run(tmp_path, "--from", source.dsn, "--table", "notes", "--batch-rows", "7").exit_code == 1
    assert len(rows_of_cluster(loading.cluster, "notes")) == len(before) + 20
    assert loading.run(tmp_path, "--from", source.dsn, "--table", "notes").exit_code == 0
    assert rows_of_cluster(loading.cluster, "notes") == sorted([*before, *source.rows("notes")])


def test_a_load_that_was_stopped_while_it_is_forgotten_does_nothing_twice(
    loading: Loading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "notes.csv"
    file.write_text(f"owner,note\n{ids(1)[0]},forgotten\n")
    with monkeypatch.context() as patched:

        def stop(run: LoadRun) -> None:
            run._target.finish(run.state.load, [])
            raise KeyboardInterrupt

        patched.setattr(LoadRun, "forget", stop)
        assert loading.run(tmp_path, str(file), "--table", "notes").exit_code == 1
    assert loading.run(tmp_path, str(file), "--table", "notes").exit_code == 0
    assert loading.client.count("notes", {"note": "forgotten"}) == 1
    assert not (tmp_path / "state.json").exists()


def test_a_source_that_changed_is_not_gone_on_with(
    loading: Loading, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "notes.csv"
    file.write_text(f"owner,note\n{ids(1)[0]},one\n")

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(LoadRun, "finish", stop)
        loading.run(tmp_path, str(file), "--table", "notes")
    text = file.read_text()
    file.write_text(text.replace("one", "two"))
    result = loading.run(tmp_path, str(file), "--table", "notes")
    assert (result.exit_code, "the source has changed since" in result.stderr) == (1, True)
    other = loading.run(tmp_path, str(file), "--table", "samples")
    assert "is the state of another load" in other.stderr
    file.write_text(text)
    assert loading.run(tmp_path, str(file), "--table", "notes").exit_code == 0


def test_a_batch_that_is_sent_again_is_loaded_once(loading: Loading) -> None:
    line = f"{ids(1)[0]}\tonce\n".encode()
    request = router_pb2.LoadRequest(
        table="notes", columns=["owner", "note"], lines=line, load="kept", batch="0", digest=b"x"
    )
    with grpc.insecure_channel(loading.cluster.address) as channel:
        stub = RouterStub(channel)
        answers = [stub.Load(iter([request])) for _ in range(2)]
        assert [(one.count, one.loaded_before) for one in answers] == [(1, False), (0, True)]
        request.digest = b"y"
        with pytest.raises(grpc.RpcError) as refused:
            stub.Load(iter([request]))
        assert isinstance(errors.from_rpc_error(refused.value), errors.InvalidRequest)
        listed = stub.ListLoadedBatches(router_pb2.ListLoadedBatchesRequest(load="kept"))
    assert [(batch.batch, batch.digest) for batch in listed.batches] == [("0", b"x")]
    assert loading.client.count("notes", {"note": "once"}) == 1


@pytest.mark.parametrize(
    ("first", "later"),
    [({"batch": "0"}, {}), ({"digest": b"x"}, {}), ({"load": "kept"}, {"batch": "1"}), ({}, {"load": "kept"})],
)
def test_a_batch_without_its_load_or_named_late_is_refused(
    loading: Loading, first: dict[str, Any], later: dict[str, Any]
) -> None:
    requests = [
        router_pb2.LoadRequest(table="notes", columns=["owner", "note"], lines=f"{ids(1)[0]}\tlate\n".encode(), **names)
        for names in (first, later)
    ]
    with grpc.insecure_channel(loading.cluster.address) as channel, pytest.raises(grpc.RpcError) as refused:
        RouterStub(channel).Load(iter(requests))
    assert isinstance(errors.from_rpc_error(refused.value), errors.InvalidRequest)
    assert loading.client.count("notes", {"note": "late"}) == 0


def test_orphans_are_refused_in_postgresqls_words(loading: Loading, tmp_path: Path) -> None:
    source = loading.new_source()
    users = fill_with_users(source, 9)
    source.run("ALTER TABLE follows DROP CONSTRAINT follows_followee_id_fkey")
    [orphan] = ids(1)
    source.run(
        "UPDATE follows SET followee_id = %s WHERE (follower_id, followee_id) = (%s, %s)", orphan, users[4], users[5]
    )
    tables = ["--table=users", "--table=follows"]
    before = loading.client.count("follows")
    result = loading.run(tmp_path, "--from", source.dsn, *tables)
    assert result.exit_code == 1
    assert 'violates foreign key constraint "follows_followee_id_fkey"' in result.stderr
    assert (f"Key (followee_id)=({orphan}) is not present" in result.stderr, "23503" in result.stderr) == (True, True)
    assert source.dsn not in result.output
    assert loading.client.count("follows") == before
    # Mended in the source, the load goes on.
    source.run("UPDATE follows SET followee_id = %s WHERE followee_id = %s", users[5], orphan)
    assert loading.run(tmp_path, "--from", source.dsn, *tables).exit_code == 0


@pytest.mark.parametrize(
    ("content", "table", "said"),
    [
        ("owner,note\n{id},a\n{id},b\n{id},a,b\n", "notes", "line 4: 3 values for 2 columns"),
        ("id,chief\n700,\n701,700,1\n", "people", "line 3: 3 values for 2 columns"),
        ("id,chief\n700,701\n701,702\n", "people", "people_chief_fkey"),
        ('owner,note\n{id},"a\n', "notes", "line 2: a quoted value does not end"),
        ("owner,colour\n{id},a\n", "notes", 'column "colour" of relation "notes" does not exist'),
        ("owner,note\nno uuid,a\n", "notes", 'line 2: INVALID_VALUE: invalid input syntax for type uuid: "no uuid"'),
        ("owner,note\n,a\n", "notes", "SHARD_KEY_MISSING"),
        ("id,amount\n501,1\n502,2\n503,much\n", "samples", "line 4: INVALID_VALUE"),
        ("id,name\n{id},a\n{id},a\n", "users", "UNIQUE_VIOLATION: duplicate key value violates unique constraint"),
        ("name,email\na,x@y\nb,x@y\n", "users", "users_email_key"),
        ("name\na\nb\n\n", "users", "NOT_NULL_VIOLATION"),
        ("id,recipient_id,sender_id,content\n{other},{id},{id},a\n", "messages", "SLOT_MISMATCH"),
        ("id\n1\n", "nobody", 'the cluster has no table "nobody"'),
        ("owner,colour\n", "notes", 'rows.csv, line 1: column "colour" of relation "notes" does not exist'),
        ("owner,note,\n", "notes", 'line 1: column "" of relation "notes" does not exist'),
        ("owner;note", "notes", "does not exist: the values seem to be separated by another sign than the comma, so"),
        ("owner;note", "notes", "add --delimiter ';'"),
        ("owner\tnote", "notes", "add --delimiter $'\\t'"),
        ("ownr,note\n", "notes", 'column "ownr" of relation "notes" does not exist; perhaps it is "owner"'),
        ("id\n1\n", "note", 'the cluster has no table "note"; perhaps it is "notes"'),
        ("owner,note,owner\n", "notes", 'line 1: column "owner" specified more than once'),
        ("", "notes", "line 1: the file has no header"),
        ("\ufeff", "notes", "line 1: the file has no header"),
        ("owner,note\r{id},a\r{id},b\n", "notes", "line 3: it ends with a line feed, and lines before with another"),
        ("owner,note\n{id},a\rb\n", "notes", "line 2: it ends with a carriage return, and lines before"),
        ("owner,note\r\n{id},a\n", "notes", "line 2: it ends with a line feed, and lines before with another end"),
        ("owner,note\n{id},a\r\n", "notes", "line 2: it ends with a carriage return and a line feed, and lines"),
    ],
)
def test_a_bad_file_is_refused_whole(loading: Loading, tmp_path: Path, content: str, table: str, said: str) -> None:
    [user] = loading.client.insert("users", {"name": "Javert"})
    other = str(mint_uuid(slot_of_value("uuid", user["id"]) ^ 1))
    new = ids(1)[0]
    file = tmp_path / "rows.csv"
    text = content.format(id=user["id"] if table == "messages" else new, other=other)
    file.write_text(text, encoding="utf-8", newline="")
    exists = table not in ("nobody", "note")
    before = loading.client.count(table) if exists else 0
    result = loading.run(tmp_path, str(file), "--table", table)
    assert result.exit_code == 1, result.output
    assert said in result.stderr
    if exists:
        assert loading.client.count(table) == before


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["with the last end", "without"])
def test_lines_end_as_postgresql_lets_them(loading: Loading, tmp_path: Path, end: str, *, last: bool) -> None:
    [owner] = ids(1)
    notes = ["first", "a\nb", "a\rb", "a\r\nb", "last"]
    quoted = [f'{owner},"{note}"' for note in notes]
    lines = [json.dumps({"owner": owner, "note": note}) for note in notes]
    for name, content in {"notes.csv": ["owner,note", *quoted], "notes.jsonl": lines}.items():
        file = tmp_path / name
        file.write_text(end.join(content) + (end if last else ""), newline="")
        result = loading.run(tmp_path, str(file), "--table", "notes")
        assert (result.exit_code, result.stdout) == (0, "notes: 5 rows\n"), result.output
        stored = [row["note"] for row in loading.client.list("notes", {"owner": owner})]
        assert sorted(stored) == sorted(notes)
        loading.client.delete("notes", where={"owner": owner})


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{{"owner": "{id}", "colour": 1}}', 'line 2: column "colour" of relation "notes" does not exist'),
        ('{{"owner": "{id}", "note": "a", "note": "b"}}', 'line 2: the object has "note" twice'),
        ('{{"owner":"{id}","note":"a","no\\u0074e":"b"}}', 'line 2: the object has "note" twice'),
        ('{{"owner":"{id}","note":"' + "ü" * 20 + '","note":"b"}}', 'line 2: the object has "note" twice'),
        ('{{"owner": "{id}"}} {{"owner": "{id}"}}', "line 2: JSON is malformed"),
        ('["{id}"]', "line 2: Expected `object`, got `array`"),
    ],
)
def test_a_bad_object_is_refused_with_its_line(loading: Loading, tmp_path: Path, line: str, said: str) -> None:
    [owner] = ids(1)
    file = tmp_path / "notes.jsonl"
    file.write_text("\n" + line.format(id=owner), encoding="utf-8")
    result = loading.run(tmp_path, str(file), "--table", "notes")
    assert (result.exit_code, said in result.stderr) == (1, True), result.output
    assert loading.client.count("notes", {"owner": owner}) == 0


def test_a_file_without_rows_is_loaded(loading: Loading, tmp_path: Path) -> None:
    for name, content in {"notes.csv": "owner,note", "empty.jsonl": "", "blank.jsonl": "\r\n\n \n"}.items():
        (tmp_path / name).write_text(content, newline="")
        result = loading.run(tmp_path, str(tmp_path / name), "--table", "notes")
        assert (result.exit_code, result.stdout) == (0, "notes: 0 rows\n"), result.output


def test_a_row_that_is_too_large_is_named(loading: Loading, tmp_path: Path) -> None:
    file = tmp_path / "notes.csv"
    file.write_text(f"owner,note\n{ids(1)[0]},small\n{ids(1)[0]},{'x' * 5_000_000}\n")
    result = loading.run(tmp_path, str(file), "--table", "notes")
    assert result.exit_code == 1
    assert "line 3: a row of 5,000,037 bytes as text cannot be sent" in result.stderr
    assert loading.client.count("notes", {"note": "small"}) == 0


def test_ids_that_carry_no_slot_are_told_of_before_anything_is_loaded(loading: Loading, tmp_path: Path) -> None:
    source = loading.new_source()
    users = fill_with_users(source, 6)
    source.run("UPDATE messages SET id = gen_random_uuid()")
    before = loading.client.count("users")
    result = loading.run(tmp_path, "--from", source.dsn, "--table", "users", "--table", "messages")
    assert result.exit_code == 1
    assert 'table "messages": "id"' in result.stderr
    assert 'does not carry the slot of "recipient_id"' in result.stderr
    assert loading.client.count("users") == before
    assert users


def test_tables_and_columns_must_match(loading: Loading, tmp_path: Path) -> None:
    source = loading.new_source()
    source.run("ALTER TABLE notes RENAME TO remarks")
    missing = loading.run(tmp_path, "--from", source.dsn)
    assert missing.exit_code == 1
    assert 'the source has no table "notes"; the cluster has no table "remarks"' in missing.stderr
    source.run("ALTER TABLE remarks RENAME TO notes; ALTER TABLE notes ADD COLUMN colour text")
    unknown = loading.run(tmp_path, "--from", source.dsn, "--table", "notes")
    assert (unknown.exit_code, 'has no column "colour"' in unknown.stderr) == (1, True)


def test_rows_that_a_trigger_drops_are_missed(loading: Loading, tmp_path: Path) -> None:
    drop = "CREATE FUNCTION drop_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
    for shard in range(SHARDS):
        with as_superuser(loading.cluster, shard) as connection:
            connection.execute(drop)
            connection.execute(
                "CREATE TRIGGER dropping BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION drop_row()"
            )
    file = tmp_path / "notes.csv"
    file.write_text(f"owner,note\n{ids(1)[0]},lost\n")
    result = loading.run(tmp_path, str(file), "--table", "notes")
    for shard in range(SHARDS):
        with as_superuser(loading.cluster, shard) as connection:
            connection.execute("DROP FUNCTION drop_row CASCADE")
    assert result.exit_code == 1
    assert "notes has 0 rows more than before, and the source has 1" in result.stderr
    with grpc.insecure_channel(loading.cluster.address) as channel:
        state = json.loads((tmp_path / "state.json").read_text())
        RouterStub(channel).FinishLoad(router_pb2.FinishLoadRequest(load=state["load"]))


@pytest.mark.parametrize("table", ["sales", "gifts"])
def test_parents_that_a_trigger_changes_before_they_move(loading: Loading, tmp_path: Path, table: str) -> None:
    owner, buyer = next(numbers_on(0)), next(numbers_on(1))
    posts = [next(_numbers) for _ in range(20)]
    loading.client.insert("posts", [{"id": post, "owner": owner} for post in posts])
    file = tmp_path / f"{table}.csv"
    file.write_text("post,buyer\n" + "".join(f"{post},{buyer}\n" for post in posts))
    result = loading.run(tmp_path, str(file), "--table", table)
    assert (result.exit_code, result.stderr) == (0, "")
    stored = f"SELECT id, owner, title FROM posts JOIN {table} ON post = id ORDER BY id"
    assert query(loading.cluster, 1, stored) == [(post, buyer, "sold") for post in posts]


def test_a_source_that_cannot_be_reached(loading: Loading, tmp_path: Path) -> None:
    dsn = "host=127.0.0.1 port=1 user=nobody password=very-secret dbname=none"
    result = loading.run(tmp_path, "--from", dsn)
    assert result.exit_code == 1
    assert "cannot read the source" in result.stderr
    assert "very-secret" not in result.output


def test_nothing_stays_prepared(loading: Loading) -> None:
    assert prepared(loading.cluster) == []
