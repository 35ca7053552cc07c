"""Numbers of sequences with several routers, clients and crashes: each is given once, and few RPCs are made."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import crosskey
from crosskey import Client, errors
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.requests import Request
from crosskey.router.router_service import CALLS_KEY
from crosskey.router.writing.sequence_blocks import FIRST_BLOCK, LARGEST_BLOCK
from tests.extra_router import extra_router
from tests.fresh_cluster import FreshClusters
from tests.refusals import RawCalls
from tests.shard_sql import query, query_all

SHARDS = 3
CLIENTS = 8
REQUESTS = 15
ROWS = 5

MORE_THAN_A_BLOCK = LARGEST_BLOCK + 1

SCHEMA = """
CREATE TABLE people (id bigserial PRIMARY KEY, name text);
COMMENT ON TABLE people IS '@shard_by id';
CREATE TABLE tickets (id bigint PRIMARY KEY, number integer GENERATED ALWAYS AS IDENTITY);
COMMENT ON TABLE tickets IS '@shard_by id';
CREATE TABLE tokens (token uuid DEFAULT gen_random_uuid(), place integer, PRIMARY KEY (token, place));
COMMENT ON TABLE tokens IS '@shard_by token';
CREATE TABLE unnumbered (id bigint PRIMARY KEY);
COMMENT ON TABLE unnumbered IS '@shard_by id';

-- Sequences of every direction, and one that leaves no space on the other side of zero.
CREATE SEQUENCE up;
CREATE SEQUENCE down AS smallint INCREMENT BY -5;
CREATE SEQUENCE astride MINVALUE -10;
"""


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster with two routers."""
    return fresh_cluster(SCHEMA, shards=SHARDS, routers=2)


@pytest.fixture
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client of the first router."""
    with Client(cluster.address) as client:
        yield client


def insert_often(address: str) -> list[int]:
    """Inserts people; answers their ids, which grow, as one router gives them."""
    with Client(address) as client:
        ids = [int(row["id"]) for _ in range(REQUESTS) for row in client.insert("people", [{}] * ROWS)]
    assert ids == sorted(ids)
    return ids


def calls_of(cluster: LocalCluster, *requests: Request) -> list[list[str]]:
    """The RPCs to nodes that each request takes on the first router."""
    calls = RawCalls(cluster.address)
    try:
        trailers = [dict(calls.start(request).trailing_metadata()) for request in requests]
        return [trailer[CALLS_KEY].split(", ") for trailer in trailers]
    finally:
        calls.close()


def test_no_number_is_given_twice_by_two_routers_to_eight_clients(cluster: LocalCluster) -> None:
    addresses = [router.address for router in cluster.routers] * (CLIENTS // 2)
    with ThreadPoolExecutor(CLIENTS) as threads:
        ids = [one for mine in threads.map(insert_often, addresses) for one in mine]
    assert len(set(ids)) == len(ids) == CLIENTS * REQUESTS * ROWS
    stored = [id for (id,) in query_all(cluster, "SELECT id FROM people")]
    assert set(ids) <= set(stored)


def test_a_router_that_is_killed_leaves_a_gap(cluster: LocalCluster, client: Client, tmp_path: Path) -> None:
    with extra_router(cluster, tmp_path) as router:
        router.wait_until_serving()
        with Client(router.address) as other:
            [before] = other.insert("tickets", {"id": 1})
        router.kill()
    # The block of this router comes after that of the other one, which is lost.
    after = client.insert("tickets", [{"id": number} for number in range(2, 100)])
    numbers = [row["number"] for row in after]
    assert numbers == [*range(before["number"] + FIRST_BLOCK, before["number"] + FIRST_BLOCK + 98)]


def test_a_block_is_drawn_by_one_rpc_and_then_used(cluster: LocalCluster, client: Client) -> None:
    client.insert("people", {})
    calls = [call for each in calls_of(cluster, *[crosskey.insert("people", {})] * 20) for call in each]
    assert calls.count("s0 ShardNode.DrawNumbers") <= 1
    [first, *_] = calls_of(cluster, crosskey.insert("people", [{}] * 10_000))
    assert first.count("s0 ShardNode.DrawNumbers") == 1


@pytest.mark.parametrize("request_", [crosskey.insert("unnumbered", {"id": 1}), crosskey.insert("people", {"id": -1})])
def test_rows_that_need_no_number_cost_nothing(cluster: LocalCluster, request_: Request) -> None:
    [[call]] = calls_of(cluster, request_)
    assert call.endswith("Run")


def test_other_defaults_of_a_shard_key_are_computed_at_once(cluster: LocalCluster) -> None:
    rows = [{"place": place} for place in range(50)]
    [[first, *others]] = calls_of(cluster, crosskey.insert("tokens", rows))
    assert first == "s0 ShardNode.ComputeDefaults"
    assert all(call.endswith("Run") for call in others if "Finish" not in call)


def test_explain_says_what_comes_first_and_draws_nothing(cluster: LocalCluster, client: Client) -> None:
    [[before]] = query(cluster, 0, "SELECT last_value FROM people_id_seq")
    explained = client.explain(crosskey.insert("people", [{}] * MORE_THAN_A_BLOCK))
    assert any("s0 ShardNode.DrawNumbers may come first" in note for note in explained.notes)
    assert any("the shards named here are examples" in note for note in explained.notes)
    assert client.explain(crosskey.insert("tokens", {"place": 1})).rpcs[0] == "s0 ShardNode.ComputeDefaults"
    assert query(cluster, 0, "SELECT last_value FROM people_id_seq") == [(before,)]


def test_explain_knows_the_numbers_that_are_left(client: Client) -> None:
    client.insert("people", {})
    explained = client.explain(crosskey.insert("people", {}))
    [row] = client.insert("people", {})
    assert explained.shards == client.explain(crosskey.insert("people", {"id": row["id"]})).shards
    assert not any("are examples" in note for note in explained.notes)


def test_numbers_of_a_rolled_back_transaction_are_lost(client: Client) -> None:
    [before] = client.insert("people", {})
    with pytest.raises(errors.UniqueViolation):
        client.transact([crosskey.insert("people", [{}] * 3), crosskey.insert("people", {"id": before["id"]})])
    [after] = client.insert("people", {})
    assert int(after["id"]) > int(before["id"]) + 3


def test_every_shard_has_a_space_of_its_own(cluster: LocalCluster) -> None:
    drawn = {
        name: [query(cluster, shard, f"SELECT nextval('{name}') FROM generate_series(1, 2)") for shard in range(SHARDS)]
        for name in ("up", "down", "astride")
    }
    assert drawn["up"] == [[(1,), (2,)], [(-1,), (-4,)], [(-2,), (-5,)]]
    assert drawn["down"] == [[(-1,), (-6,)], [(1,), (4,)], [(2,), (5,)]]
    assert drawn["astride"] == [[(-10,), (-9,)]] * SHARDS


def test_the_audit_has_nothing_against_them(client: Client) -> None:
    assert client.with_timeout(60).audit() == []
