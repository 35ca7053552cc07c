"""@enforce eventual where parent and child share a shard, with SET DEFAULT and copies; and when it is late."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import crosskey
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.v1.admin_pb2 import AuditResponse
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import as_superuser, query, query_all, wait_for_waiters

SHARDS = 2
SCHEMA = """
CREATE TABLE teams (id bigint PRIMARY KEY, name text);
COMMENT ON TABLE teams IS '@shard_by id';
CREATE TABLE players (
    team_id bigint CONSTRAINT players_team REFERENCES teams ON DELETE CASCADE,
    number integer,
    PRIMARY KEY (team_id, number)
);
COMMENT ON TABLE players IS '@shard_by team_id';
COMMENT ON CONSTRAINT players_team ON players IS '@enforce eventual';
CREATE TABLE fans (
    id bigint PRIMARY KEY,
    email text UNIQUE,
    team_id bigint DEFAULT 0 CONSTRAINT fans_team REFERENCES teams ON DELETE SET DEFAULT,
    team_name text,
    note text
);
COMMENT ON TABLE fans IS '@shard_by id';
COMMENT ON CONSTRAINT fans_team ON fans IS '@enforce eventual';
COMMENT ON COLUMN fans.team_name IS '@copy team_id.name';
CREATE INDEX ON fans (team_id);
CREATE TABLE orders (id bigint PRIMARY KEY, customer bigint NOT NULL);
COMMENT ON TABLE orders IS '@shard_by customer';
CREATE TABLE items (
    order_id bigint REFERENCES orders ON DELETE CASCADE ON UPDATE CASCADE,
    number integer,
    team_id bigint CONSTRAINT items_team REFERENCES teams ON DELETE CASCADE,
    place integer,
    PRIMARY KEY (order_id, number),
    UNIQUE NULLS NOT DISTINCT (order_id, place)
);
COMMENT ON TABLE items IS '@shard_with order_id';
COMMENT ON CONSTRAINT items_team ON items IS '@enforce eventual';
"""
THERE, HERE = numbers_on(0, SHARDS), numbers_on(1, SHARDS)


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    late_at_once = {"CROSSKEY_CLEANUP_LATE_SECONDS": "0", "CROSSKEY_CLEANUP_BATCH_ROWS": "2"}
    return fresh_cluster(SCHEMA, shards=SHARDS, node_environment=late_at_once)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[crosskey.Client]:
    with crosskey.Client(cluster.address) as client:
        client.insert("teams", {"id": 0, "name": "none"})
        yield client


def all_done(cluster: LocalCluster) -> bool:
    tables = "crosskey.dead_public_teams_id", "crosskey.departed_public_teams_id"
    return not query_all(cluster, " UNION ALL ".join(f"SELECT 1 FROM {table}" for table in tables))


def new_team(client: crosskey.Client) -> int:
    """A team on shard 0 that is called after its number."""
    team = next(THERE)
    client.insert("teams", {"id": team, "name": f"team {team}"})
    return team


def test_children_on_the_same_shard(cluster: LocalCluster, client: crosskey.Client) -> None:
    team = new_team(client)
    client.insert("players", [{"team_id": team, "number": number} for number in range(5)])
    with as_superuser(cluster, 0) as connection, connection.transaction():
        connection.execute("SELECT FROM players WHERE team_id = %s FOR KEY SHARE", (team,))
        client.delete("teams", key={"id": team})
        marked = "SELECT 1 FROM crosskey.dead_public_teams_id WHERE id = %s"
        eventually(lambda: query(cluster, 0, marked, team), "the shadow is dead")
        assert client.count("players", {"team_id": team}) == 0
        with pytest.raises(crosskey.ForeignKeyViolation):
            client.insert("players", {"team_id": team, "number": 9})
        [late] = [finding for finding in client.audit() if finding.kind == AuditResponse.KIND_LATE_CLEANUP]
        assert (late.shard, late.table) == (0, "teams")
    eventually(lambda: all_done(cluster), "all is cleaned up")
    assert query(cluster, 0, "SELECT 1 FROM players WHERE team_id = %s", team) == []


def test_set_default_and_what_is_copied(cluster: LocalCluster, client: crosskey.Client) -> None:
    team, fans = new_team(client), [next(HERE) for _ in range(5)]
    client.insert("fans", [{"id": fan, "team_id": team} for fan in fans])
    with as_superuser(cluster, 1) as connection, connection.transaction():
        connection.execute("SELECT FROM fans WHERE id = ANY(%s) FOR KEY SHARE", (fans,))
        client.delete("teams", key={"id": team})
        marked = "SELECT 1 FROM crosskey.dead_public_teams_id WHERE id = %s"
        eventually(lambda: query(cluster, 1, marked, team), "the shadow is dead")
        assert {row["team_id"] for row in client.list("fans", [crosskey.in_("id", fans)])} == {"0"}
        assert client.count("fans", {"team_id": team}) == 0
        of_none = [crosskey.in_("id", fans), crosskey.some("team", {"name": "none"})]
        assert client.count("fans", of_none) == len(fans)
        assert len(client.update("fans", {"note": "of none"}, where=of_none)) == len(fans)
    eventually(lambda: all_done(cluster), "all is cleaned up")
    rows = [*client.list("fans", [crosskey.in_("id", fans)])]
    assert {(row["team_id"], row["team_name"]) for row in rows} == {("0", "none")}
    assert client.audit() == []


def test_a_load_is_refused_what_an_insert_is(cluster: LocalCluster, client: crosskey.Client) -> None:
    team = new_team(client)
    client.insert("fans", {"id": (kept := next(HERE)), "team_id": team})
    with as_superuser(cluster, 1) as connection, connection.transaction():
        connection.execute("SELECT FROM fans WHERE id = %s FOR KEY SHARE", (kept,))
        client.delete("teams", key={"id": team})
        marked = "SELECT 1 FROM crosskey.dead_public_teams_id WHERE id = %s"
        eventually(lambda: query(cluster, 1, marked, team), "the shadow is dead")
        with pytest.raises(crosskey.ForeignKeyViolation):
            client.insert("fans", [{"id": next(HERE), "team_id": team} for _ in range(3)])
    eventually(lambda: all_done(cluster), "all is cleaned up")


def order_with_hidden_item(client: crosskey.Client, team: int) -> int:
    """An order on shard 1, whose only item is a child of the team."""
    order = next(HERE)
    client.insert("orders", {"id": order, "customer": order})
    client.insert("items", {"order_id": order, "number": 1, "team_id": team})
    return order


def test_a_hidden_row_that_follows_its_anchor_moves_nowhere(cluster: LocalCluster, client: crosskey.Client) -> None:
    team, there = new_team(client), next(THERE)
    order = order_with_hidden_item(client, team)
    with ThreadPoolExecutor(1) as pool:
        with as_superuser(cluster, 1) as connection, connection.transaction():
            connection.execute("SELECT FROM items WHERE order_id = %s FOR KEY SHARE", (order,))
            client.delete("teams", key={"id": team})
            marked = "SELECT 1 FROM crosskey.dead_public_teams_id WHERE id = %s"
            eventually(lambda: query(cluster, 1, marked, team), "the shadow is dead")
            moved = pool.submit(client.update, "orders", {"customer": there}, key={"id": order})
            # The clean-up passes over the item, and the move waits for it.
            wait_for_waiters(cluster, 1)
        assert len(moved.result()) == 1
    eventually(lambda: all_done(cluster), "all is cleaned up")
    assert query_all(cluster, "SELECT 1 FROM items WHERE order_id = %s", order) == []
    assert query(cluster, 0, "SELECT customer FROM orders WHERE id = %s", order) == [(there,)]


def test_a_hidden_row_is_in_nobodys_way_by_nulls(cluster: LocalCluster, client: crosskey.Client) -> None:
    team = new_team(client)
    order = order_with_hidden_item(client, team)
    with ThreadPoolExecutor(1) as pool:
        with as_superuser(cluster, 1) as connection, connection.transaction():
            connection.execute("SELECT FROM items WHERE order_id = %s FOR KEY SHARE", (order,))
            client.delete("teams", key={"id": team})
            marked = "SELECT 1 FROM crosskey.dead_public_teams_id WHERE id = %s"
            eventually(lambda: query(cluster, 1, marked, team), "the shadow is dead")
            inserted = pool.submit(client.insert, "items", {"order_id": order, "number": 2})
            wait_for_waiters(cluster, 1)
        inserted.result()
    eventually(lambda: all_done(cluster), "all is cleaned up")
    assert query(cluster, 1, "SELECT number FROM items WHERE order_id = %s", order) == [(2,)]
