"""More calls than a cluster bears: they are refused at once and may be sent again; nothing is lost, nothing leaks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import grpc
import pytest

import crosskey
from crosskey import Client
from crosskey.errors import Overloaded
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.serving.probe import is_serving
from crosskey.v1.admin_pb2 import AuditRequest
from tests.eventually import eventually
from tests.extra_router import extra_router
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on, shard_of
from tests.refusals import RawCalls, Refusal, refusal_of, refusal_of_error
from tests.shard_sql import as_superuser, row_locked, wait_for_waiters

SHARDS = 2
SCHEMA = """
CREATE TABLE accounts (id bigint PRIMARY KEY, text text);
COMMENT ON TABLE accounts IS '@shard_by id';

CREATE TABLE follows (follower bigint NOT NULL REFERENCES accounts, followee bigint REFERENCES accounts);
COMMENT ON TABLE follows IS '@shard_by follower';
"""
ACCOUNTS = [next(numbers_on(shard, SHARDS)) for shard in range(SHARDS)]
REWRITES = [crosskey.update("accounts", {"text": "new"}, key={"id": number}) for number in ACCOUNTS]
REWRITE = REWRITES[0]


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """Each node has one connection, which one request may wait for."""
    settings = {"CROSSKEY_POOL_SIZE": "1", "CROSSKEY_POOL_QUEUE": "1", "CROSSKEY_LOCK_TIMEOUT_MS": "60000"}
    cluster = fresh_cluster(SCHEMA, shards=SHARDS, node_environment=settings)
    with Client(cluster.address) as client:
        client.insert("accounts", [{"id": number} for number in ACCOUNTS])
    return cluster


@pytest.fixture(scope="module")
def calls(cluster: LocalCluster) -> Iterator[RawCalls]:
    calls = RawCalls(cluster.address)
    yield calls
    calls.close()


def locked_account(cluster: LocalCluster, shard: int = 0) -> AbstractContextManager[None]:
    """Somebody else has the shard's account locked."""
    return row_locked(cluster, shard, "accounts", ACCOUNTS[shard])


def check(refusal: Refusal) -> None:
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")
    assert refusal.retryable


def test_a_node_with_a_full_queue_refuses_at_once(cluster: LocalCluster, calls: RawCalls) -> None:
    with locked_account(cluster):
        first = calls.start(REWRITE)
        wait_for_waiters(cluster, 0)
        others = [calls.start(REWRITE) for _ in range(6)]
        eventually(lambda: sum(call.done() for call in others) == 5, "all but one are refused", seconds=1.8)
        refused = [call for call in others if call.done()]
    for call in refused:
        check(refusal_of(call.result))
    assert [len(call.result().rows) for call in {first, *others} - set(refused)] == [1, 1]


def test_a_node_refuses_what_waits_too_long_for_a_connection(cluster: LocalCluster, calls: RawCalls) -> None:
    with locked_account(cluster):
        first = calls.start(REWRITE)
        wait_for_waiters(cluster, 0)
        refusal = calls.refusal(REWRITE)
    check(refusal)
    assert refusal.metadata["shard"] == "0"
    assert len(first.result().rows) == 1


@pytest.mark.parametrize("shards", [(0,), (0, 1)], ids=["one shard", "two shards"])
def test_overloaded_nodes_lose_nothing(cluster: LocalCluster, shards: tuple[int, ...]) -> None:
    first = 10**6 * len(shards)
    requests = list(zip(*(numbers_from(first, shard, 80) for shard in shards), strict=True))
    numbers = [number for request in requests for number in request]
    with Client(cluster.address) as client, ThreadPoolExecutor(16) as threads:
        stored = list(threads.map(lambda request: is_stored(client, request), requests))
        found = {int(row["id"]) for row in client.list("accounts", crosskey.in_("id", numbers))}
    assert 0 < stored.count(True) < len(requests)
    assert found == {number for request, there in zip(requests, stored, strict=True) if there for number in request}


def numbers_from(first: int, shard: int, count: int) -> list[int]:
    """So many numbers on the shard, from a first one on."""
    return [number for number in range(first, first + 10 * count) if shard_of(number, SHARDS) == shard][:count]


def is_stored(client: Client, numbers: Sequence[int]) -> bool:
    """Inserts accounts, by a request that shares no statement with others; whether the nodes had room for them."""
    try:
        client.insert("accounts", [{"id": number} for number in numbers], on_conflict=crosskey.do_nothing("id"))
    except Overloaded as error:
        return not error.retryable
    return True


def test_cancelled_audits_give_their_connections_back(cluster: LocalCluster, calls: RawCalls) -> None:
    with as_superuser(cluster, 0) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("INSERT INTO follows VALUES (%s, -1)", (ACCOUNTS[0],))
    for _ in range(2):
        eventually(lambda: is_audit_begun(calls), "an audit gets the connections that the cancelled one had")
    eventually(lambda: is_counted(calls), "a read gets a connection that a cancelled audit had")
    assert '"exception"' not in cluster.routers[0].log.read_text()


def is_audit_begun(calls: RawCalls) -> bool:
    """Begins an audit and cancels it at its first finding; whether the nodes had room for it."""
    findings = calls.admin.Audit(AuditRequest())
    try:
        next(findings)
    except grpc.RpcError as error:
        check(refusal_of_error(error))
        return False
    findings.cancel()
    return True


def is_counted(calls: RawCalls) -> bool:
    """Counts the one row of follows; whether the nodes had room for it."""
    try:
        assert calls.send(crosskey.count("follows")).count == 1
    except grpc.RpcError as error:
        check(refusal_of_error(error))
        return False
    return True


def test_a_router_refuses_more_calls_than_it_may_have_in_flight(cluster: LocalCluster, tmp_path: Path) -> None:
    with extra_router(cluster, tmp_path, CROSSKEY_MAX_IN_FLIGHT="2") as router:
        router.wait_until_serving()
        calls = RawCalls(router.address)
        with locked_account(cluster, 0), locked_account(cluster, 1):
            waiting = [calls.start(request) for request in REWRITES]
            for shard in range(SHARDS):
                wait_for_waiters(cluster, shard)
            check(calls.refusal(crosskey.count("accounts")))
            assert is_serving(router.address, 2.0)
        assert [len(call.result().rows) for call in waiting] == [1, 1]
        assert calls.send(crosskey.count("accounts", crosskey.in_("id", ACCOUNTS))).count == 2
        calls.close()
