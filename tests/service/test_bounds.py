"""What a user's data can go beyond: no bound ends in INTERNAL."""

from collections.abc import Iterator
from itertools import count, islice

import pytest
from psycopg import sql

from crosskey import Client, errors
from crosskey.local_cluster.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import SHARDS, numbers_on
from tests.shard_sql import as_superuser, prepared

pytestmark = pytest.mark.searches

HERE, THERE = next(numbers_on(0)), next(numbers_on(1))
CHAIN_LENGTH = 1_010
MEBIBYTE = 1024 * 1024

SCHEMA = f"""
CREATE TABLE links (id bigint PRIMARY KEY, up bigint REFERENCES links ON DELETE CASCADE);
COMMENT ON TABLE links IS '@shard_by id';

CREATE TABLE restless (id bigint PRIMARY KEY);
COMMENT ON TABLE restless IS '@shard_by id';
CREATE FUNCTION move_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.id = CASE NEW.id WHEN {HERE} THEN {THERE} ELSE {HERE} END;
    RETURN NEW;
END
$$;
CREATE TRIGGER move_on BEFORE INSERT ON restless FOR EACH ROW EXECUTE FUNCTION move_on();

CREATE TABLE texts (id bigint PRIMARY KEY, length int, text text);
COMMENT ON TABLE texts IS '@shard_by id';
CREATE FUNCTION fill() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.text = repeat('x', NEW.length);
    RETURN NEW;
END
$$;
CREATE TRIGGER fill BEFORE INSERT ON texts FOR EACH ROW WHEN (NEW.text IS NULL) EXECUTE FUNCTION fill();

CREATE TABLE hoards (id bigint PRIMARY KEY);
COMMENT ON TABLE hoards IS '@shard_by id';
CREATE FUNCTION use_up() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER use_up BEFORE INSERT ON hoards FOR EACH ROW EXECUTE FUNCTION use_up();
"""

# Only a superuser can fill a disk on purpose, and PostgreSQL then names the file.
_FILL_THE_DISK = """
CREATE OR REPLACE FUNCTION use_up() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    PERFORM lo_export({large_object}, '/dev/full');
    RETURN NEW;
END
$$;
ALTER FUNCTION use_up() OWNER TO CURRENT_USER
"""
_SORT_TOO_MUCH = """
CREATE OR REPLACE FUNCTION use_up() RETURNS trigger LANGUAGE plpgsql
SECURITY DEFINER SET temp_file_limit = '64kB' SET work_mem = '64kB' AS $$
BEGIN
    PERFORM count(*) FROM (SELECT FROM generate_series(1, 100000) AS n ORDER BY md5(n::text) OFFSET 1) AS sorted;
    RETURN NEW;
END
$$;
ALTER FUNCTION use_up() OWNER TO CURRENT_USER
"""


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, shards=SHARDS)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address, timeout=120) as client:
        yield client
        assert client.audit() == []
    assert prepared(cluster) == []


def test_a_chain_of_any_length_is_deleted_from_its_root(client: Client) -> None:
    """Each row is on another shard than the one that it references."""
    numbers = [numbers_on(shard) for shard in range(SHARDS)]
    chain = list(islice((next(numbers[place % SHARDS]) for place in count()), CHAIN_LENGTH))
    rows = [{"id": id_, "up": up} for id_, up in zip(chain, [None, *chain], strict=False)]
    assert client.insert("links", rows, count_only=True) == []
    assert client.delete("links", key={"id": chain[0]}) == 1
    assert client.count("links") == 0


def test_what_never_ends_is_ended_by_the_deadline(client: Client) -> None:
    """A row that is sent on from wherever it arrives. On one PostgreSQL its trigger fires once."""
    with pytest.raises(errors.DeadlineExceeded):
        client.with_timeout(0.5).insert("restless", {"id": HERE})
    assert client.count("restless") == 0


@pytest.fixture
def long_text(client: Client) -> Iterator[int]:
    """A row that is larger than a message."""
    number = next(islice(numbers_on(0), 1, None))
    client.insert("texts", {"id": number, "length": 65 * MEBIBYTE}, count_only=True)
    yield number
    client.delete("texts", key={"id": number})


def test_a_row_larger_than_a_message(client: Client, long_text: int) -> None:
    too_large = pytest.raises(errors.AnswerTooLarge, match="more than 64 MiB")
    with too_large as refused:
        client.get("texts", id=long_text)
    assert not refused.value.retryable
    with too_large:
        client.update("texts", {"id": THERE}, key={"id": long_text}, count_only=True)
    assert client.count("texts", {"id": long_text}) == 1


@pytest.mark.parametrize(("function", "sqlstate"), [(_FILL_THE_DISK, "53100"), (_SORT_TOO_MUCH, "53400")])
def test_a_server_without_room_shows_no_path_and_asks_for_no_retry(
    cluster: LocalCluster, client: Client, function: str, sqlstate: str
) -> None:
    with as_superuser(cluster, 0) as server:
        [(large_object,)] = server.execute("SELECT lo_from_bytea(0, 'x')").fetchall()
        [(as_it_was,)] = server.execute("SELECT pg_get_functiondef('use_up'::regproc)").fetchall()
        server.execute(sql.SQL(function).format(large_object=large_object))
    with pytest.raises(errors.ShardFull) as refused:
        client.insert("hoards", {"id": HERE})
    assert refused.value.metadata.keys() <= {"sqlstate", "shard", "table"}
    assert refused.value.metadata["sqlstate"] == sqlstate
    assert "/" not in str(refused.value)
    assert not refused.value.retryable
    assert client.count("hoards") == 0
    with as_superuser(cluster, 0) as server:
        server.execute(as_it_was)
