"""A foreign key over shards, added to rows that are there: orphans are found, all and no others."""

from collections.abc import Iterator

import pytest

from crosskey import Client, SchemaRefused, in_
from crosskey.local_cluster.cluster import LocalCluster
from tests.fresh_cluster import FreshClusters
from tests.migrations.schema import SCHEMA, USERS, fill, with_changes
from tests.shard_sql import query_all

pytestmark = pytest.mark.processes

KEYED = with_changes((("about bigint", "about bigint REFERENCES users ON DELETE SET NULL"),))
ORPHANS = {number: 1000 + number % 7 for number in range(10_000, 10_100)}
"""The parents that are missing, by the ids of the notes about them."""


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, shards=3)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address, timeout=120) as client:
        fill(client)
        yield client


@pytest.fixture
def orphans(client: Client) -> Iterator[None]:
    """Notes about users who do not exist, for the length of a test."""
    client.insert("notes", [{"id": n, "user_id": n % USERS, "about": about} for n, about in ORPHANS.items()])
    yield
    client.apply_migration(SCHEMA)
    client.delete("notes", where=[in_("id", list(ORPHANS))])


@pytest.mark.usefixtures("orphans")
def test_orphans_stop_it_before_anything_is_touched(cluster: LocalCluster, client: Client) -> None:
    with pytest.raises(SchemaRefused) as refused:
        client.apply_migration(KEYED)
    assert f"{len(ORPHANS)} rows reference no parent" in refused.value.message
    for parent in set(ORPHANS.values()):
        rows = sum(other == parent for other in ORPHANS.values())
        assert f'{{"id":"{parent}"}} ({rows} rows)' in refused.value.message
    assert client.audit() == []
    assert query_all(cluster, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'crosskey_shadow%%'") == [(0,)] * 3
    assert client.count("notes") == 400 + len(ORPHANS)
    assert client.list_migrations(1) == []


@pytest.mark.usefixtures("orphans")
def test_orphans_are_set_to_null(client: Client) -> None:
    client.apply_migration(KEYED, orphans="null")
    assert client.audit() == []
    assert client.count("notes") == 400 + len(ORPHANS)
    assert {row["id"] for row in client.list("notes") if row["about"] is None} == set(map(str, ORPHANS))


@pytest.mark.usefixtures("orphans")
def test_orphans_are_deleted(client: Client) -> None:
    client.apply_migration(KEYED, orphans="delete")
    assert client.audit() == []
    assert client.count("notes") == 400


def test_the_key_acts_on_rows_that_were_there_before(client: Client) -> None:
    client.insert("users", {"id": 900, "name": "to go"})
    client.insert("notes", [{"id": 900 + n, "user_id": n, "about": 900} for n in range(6)])
    client.apply_migration(KEYED)
    client.delete("users", key={"id": 900})
    assert [row["about"] for row in client.list("notes", where=[in_("id", range(900, 906))])] == [None] * 6
    client.apply_migration(SCHEMA)
    assert client.audit() == []
    client.delete("notes", where=[in_("id", range(900, 906))])
