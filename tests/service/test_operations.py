"""What operators meet: servers that are down or restart, deadlines, cancelled calls, too many calls, and drains."""

from __future__ import annotations

import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

import crosskey
from crosskey import Client
from crosskey.errors import Cancelled, OutcomeUnknown, ShardUnavailable
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.local_cluster.server_process import ServerProcess
from crosskey.serving.probe import is_serving
from crosskey.serving.request_id import METADATA_KEY
from tests.eventually import eventually
from tests.extra_router import extra_router
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on
from tests.refusals import RawCalls
from tests.shard_sql import as_superuser, prepared, query, row_locked, wait_for_waiters, wait_until_quiet

pytestmark = pytest.mark.restarts_postgres

SHARDS = 3
SHORT_SECONDS = 0.5
STOP_SECONDS = 15.0
LATCH = 42
"""The advisory lock that the commit of a note waits for."""

SCHEMA = f"""
CREATE TABLE accounts (id bigint PRIMARY KEY, text text);
COMMENT ON TABLE accounts IS '@shard_by id';

CREATE TABLE follows (
    follower bigint REFERENCES accounts ON DELETE CASCADE,
    followee bigint REFERENCES accounts ON DELETE CASCADE,
    PRIMARY KEY (follower, followee)
);
COMMENT ON TABLE follows IS '@shard_by follower';

CREATE TABLE notes (id bigint PRIMARY KEY);
COMMENT ON TABLE notes IS '@shard_by id';

CREATE FUNCTION pass_latch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared({LATCH});
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER latch AFTER INSERT ON notes DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION pass_latch();
"""

ACCOUNTS = [next(numbers_on(shard)) for shard in range(SHARDS)]
"""One account on each shard, always there."""

_new_numbers = [itertools.islice(numbers_on(shard), 1, None) for shard in range(SHARDS)]
_one_at_a_time = threading.Lock()


def new_number(shard: int) -> int:
    """A number on the shard that nobody has used."""
    # Two threads cannot run one generator at once.
    with _one_at_a_time:
        return next(_new_numbers[shard])


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """Statements wait for locks for longer than any test takes; what is in doubt is resolved at once."""
    cluster = fresh_cluster(
        SCHEMA,
        node_environment={"CROSSKEY_LOCK_TIMEOUT_MS": "60000"},
        router_environment={"CROSSKEY_RESOLVER_INTERVAL_MS": "100", "CROSSKEY_RESOLVER_MIN_AGE_MS": "300"},
    )
    with Client(cluster.address) as client:
        client.insert("accounts", [{"id": number, "text": "old"} for number in ACCOUNTS])
    return cluster


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def calls(cluster: LocalCluster) -> Iterator[RawCalls]:
    calls = RawCalls(cluster.address)
    yield calls
    calls.close()


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    """For calls that wait."""
    with ThreadPoolExecutor(16) as threads:
        yield threads


@pytest.fixture(autouse=True)
def _all_is_well(cluster: LocalCluster, client: Client) -> Iterator[None]:
    """After each test, everything serves, nothing is left open or in doubt, and the accounts are as they were."""
    yield
    cluster.check_running()
    eventually(lambda: answers(client), "every shard answers")
    for shard in range(SHARDS):
        wait_until_quiet(cluster, shard)
    eventually(lambda: not prepared(cluster), "nothing is prepared")
    client.update("accounts", {"text": "old"}, where=crosskey.in_("id", ACCOUNTS))


def answers(client: Client) -> bool:
    try:
        return client.count("accounts", [crosskey.in_("id", ACCOUNTS)]) == SHARDS
    except ShardUnavailable:
        return False


def locked_account(cluster: LocalCluster, shard: int) -> AbstractContextManager[None]:
    """Somebody else has the shard's account locked."""
    return row_locked(cluster, shard, "accounts", ACCOUNTS[shard])


def rewrite(*shards: int) -> Message:
    """Updates the accounts on the shards."""
    accounts = [ACCOUNTS[shard] for shard in shards]
    return crosskey.update("accounts", {"text": "new"}, where=crosskey.in_("id", accounts))


def texts(client: Client) -> list[Any]:
    """The texts of the accounts."""
    return [client.get("accounts", id=number)["text"] for number in ACCOUNTS]


# A node that is down.


@contextmanager
def killed(node: ServerProcess) -> Iterator[None]:
    """The node has crashed; it is started again in the end."""
    node.kill()
    try:
        yield
    finally:
        node.start_serving()


def test_a_node_that_is_down_is_named_and_the_other_shards_go_on(
    cluster: LocalCluster, client: Client, calls: RawCalls
) -> None:
    client.insert("follows", {"follower": ACCOUNTS[0], "followee": ACCOUNTS[1]})
    routers_before = [router.pid for router in cluster.routers]
    follower = new_number(0)
    unreachable = [
        crosskey.insert("accounts", {"id": new_number(1)}),
        crosskey.insert("accounts", [{"id": new_number(shard)} for shard in range(SHARDS)]),
        crosskey.insert("follows", {"follower": ACCOUNTS[2], "followee": ACCOUNTS[1]}),
        crosskey.get("accounts", {"id": ACCOUNTS[1]}),
        crosskey.count("accounts"),
        crosskey.list_rows("accounts", order_by="text"),
        crosskey.delete("accounts", key={"id": ACCOUNTS[1]}),
    ]
    with killed(cluster.nodes[1]):
        for request in unreachable:
            refusal = calls.refusal(request)
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SHARD_UNAVAILABLE")
            assert refusal.retryable
            assert (refusal.message, refusal.metadata) == ("shard 1 does not answer", {"shard": "1"})
        client.insert("accounts", {"id": follower})
        client.insert("follows", {"follower": follower, "followee": ACCOUNTS[1]})
        assert client.update("accounts", {"text": "x"}, key={"id": follower}) == [{"id": str(follower), "text": "x"}]
        assert client.count("follows", {"follower": ACCOUNTS[2]}) == 0
        assert client.list_in_doubt().unreachable_shards == [1]
        assert [shard.serving for shard in client.describe_topology().shards] == [True, False, True]
    eventually(lambda: answers(client), "the router finds the node again", seconds=5)
    for request in unreachable[:-1]:
        calls.send(request)
    assert [router.pid for router in cluster.routers] == routers_before
    assert client.audit() == []


def test_a_node_that_crashes_in_the_middle_of_a_call(
    cluster: LocalCluster, client: Client, threads: ThreadPoolExecutor
) -> None:
    with as_superuser(cluster, 1) as connection, connection.transaction():
        connection.execute("LOCK TABLE accounts")
        write = threads.submit(client.update, "accounts", {"text": "new"}, key={"id": ACCOUNTS[1]})
        wide_write = threads.submit(client.update, "accounts", {"text": "wide"}, where=crosskey.in_("id", ACCOUNTS))
        read = threads.submit(client.count, "accounts", {"id": ACCOUNTS[1]})
        wait_for_waiters(cluster, 1, 3)
        with killed(cluster.nodes[1]):
            lost_write, lost_wide_write, lost_read = write.exception(), wide_write.exception(), read.exception()
    assert isinstance(lost_read, ShardUnavailable)
    assert lost_read.retryable
    assert isinstance(lost_wide_write, ShardUnavailable)
    assert lost_wide_write.retryable
    assert isinstance(lost_write, OutcomeUnknown)
    eventually(lambda: answers(client), "the router finds the node again")
    wait_until_quiet(cluster, 1)
    assert texts(client)[1] in ("old", "new")
    assert texts(client)[::2] == ["old", "old"]


# PostgreSQL that restarts under its node.


@contextmanager
def stopped(server: PostgresServer) -> Iterator[None]:
    """The server is stopped as `pg_ctl stop` does it; it is started again in the end."""
    server.process.stop(STOP_SECONDS, signal.SIGINT)
    try:
        yield
    finally:
        server.process.start()
        eventually(lambda: accepts_connections(server), "PostgreSQL accepts connections")


def accepts_connections(server: PostgresServer) -> bool:
    try:
        psycopg.connect(server.dsn()).close()
    except psycopg.OperationalError:
        return False
    return True


def fill_pool(cluster: LocalCluster, client: Client, threads: ThreadPoolExecutor, shard: int) -> None:
    """Has the node open many connections, which then are idle."""
    with as_superuser(cluster, shard) as connection, connection.transaction():
        connection.execute("LOCK TABLE accounts")
        counts = [threads.submit(client.count, "accounts", {"id": ACCOUNTS[shard]}) for _ in range(8)]
        wait_for_waiters(cluster, shard, 8)
    assert [count.result() for count in counts] == [1] * 8


def test_a_restart_of_postgresql_between_requests_goes_unnoticed(
    cluster: LocalCluster, client: Client, threads: ThreadPoolExecutor
) -> None:
    fill_pool(cluster, client, threads, 2)
    with stopped(cluster.databases[2].server):
        pass
    numbers = [new_number(2) for _ in range(20)]
    for number in numbers:
        client.insert("accounts", {"id": number})
    assert client.count("accounts", [crosskey.in_("id", numbers)]) == len(numbers)


def test_while_postgresql_is_down_its_shard_is_unavailable(
    cluster: LocalCluster, client: Client, calls: RawCalls, threads: ThreadPoolExecutor
) -> None:
    with account_locked_for_good(cluster, 2):
        in_flight = threads.submit(calls.refusal, rewrite(2))
        wait_for_waiters(cluster, 2)
        with stopped(cluster.databases[2].server):
            waiting = threads.submit(calls.refusal, crosskey.insert("accounts", {"id": new_number(2)}))
            first_reference = crosskey.insert("follows", {"follower": new_number(0), "followee": ACCOUNTS[2]})
            refusals = [in_flight.result(), waiting.result(), calls.refusal(first_reference)]
            client.update("accounts", {"text": "new"}, key={"id": ACCOUNTS[0]})
    for refusal in refusals:
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SHARD_UNAVAILABLE")
        assert refusal.retryable
        assert refusal.metadata["shard"] == "2"
        assert "/" not in refusal.message
    assert texts(client) == ["new", "old", "old"]


@contextmanager
def account_locked_for_good(cluster: LocalCluster, shard: int) -> Iterator[None]:
    """The shard's account stays locked, also over a restart of PostgreSQL."""
    lock = f"BEGIN; SELECT FROM accounts WHERE id = {ACCOUNTS[shard]} FOR UPDATE; PREPARE TRANSACTION 'for good'"
    query(cluster, shard, lock)
    try:
        yield
    finally:
        query(cluster, shard, "ROLLBACK PREPARED 'for good'")


# Deadlines and cancelled calls.

STOPPED_WRITES = {
    "one shard": rewrite(2),
    "three shards": rewrite(0, 1, 2),
    "first reference": crosskey.insert("follows", {"follower": new_number(0), "followee": ACCOUNTS[2]}),
}
"""Writes that wait for the lock on the account on shard 2."""


@pytest.mark.parametrize("request_", STOPPED_WRITES.values(), ids=STOPPED_WRITES.keys())
def test_a_deadline_stops_the_sql_and_gives_up_its_locks(
    cluster: LocalCluster, client: Client, calls: RawCalls, request_: Message
) -> None:
    with locked_account(cluster, 2):
        started = time.monotonic()
        with pytest.raises(grpc.RpcError) as refused:
            calls.send(request_, SHORT_SECONDS)
        assert refused.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started < SHORT_SECONDS + 2
        _check_nothing_is_held(cluster)
    assert texts(client) == ["old", "old", "old"]
    assert client.count("follows", {"follower": ACCOUNTS[0]}) == 1


@pytest.mark.parametrize("request_", STOPPED_WRITES.values(), ids=STOPPED_WRITES.keys())
def test_a_cancelled_call_stops_its_sql_and_gives_up_its_locks(
    cluster: LocalCluster, client: Client, calls: RawCalls, request_: Message
) -> None:
    with locked_account(cluster, 2):
        call = calls.start(request_)
        wait_for_waiters(cluster, 2)
        call.cancel()
        _check_nothing_is_held(cluster)
    assert texts(client) == ["old", "old", "old"]
    assert client.count("follows", {"follower": ACCOUNTS[0]}) == 1


def _check_nothing_is_held(cluster: LocalCluster) -> None:
    """Soon, no node has a transaction open, nothing is prepared, and the other accounts can be locked."""
    for shard in range(SHARDS):
        wait_until_quiet(cluster, shard, seconds=2)
    eventually(lambda: not prepared(cluster), "nothing is prepared", seconds=2)
    for shard in (0, 1):
        query(cluster, shard, "SELECT FROM accounts FOR UPDATE NOWAIT")


def test_a_cancelled_read_gives_its_connection_back(cluster: LocalCluster, client: Client, calls: RawCalls) -> None:
    with as_superuser(cluster, 0) as connection, connection.transaction():
        connection.execute("LOCK TABLE accounts")
        for _ in range(12):
            call = calls.start(crosskey.count("accounts", {"id": ACCOUNTS[0]}))
            wait_for_waiters(cluster, 0)
            call.cancel()
            wait_until_quiet(cluster, 0)
    assert client.count("accounts", {"id": ACCOUNTS[0]}) == 1


@contextmanager
def latch_held(cluster: LocalCluster) -> Iterator[None]:
    """The commit of a note on shard 0 alone waits."""
    with as_superuser(cluster, 0) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (LATCH,))
        yield


@contextmanager
def decisions_held(cluster: LocalCluster) -> Iterator[None]:
    """The commit of a distributed transaction whose home is shard 0 waits, its decision written."""
    query(cluster, 0, "CREATE TRIGGER held AFTER INSERT ON crosskey.decision EXECUTE FUNCTION public.pass_latch()")
    with latch_held(cluster):
        yield
    query(cluster, 0, "DROP TRIGGER held ON crosskey.decision")


COMMITS = {"one shard": ("notes", (0, 0), latch_held), "two shards": ("accounts", (0, 1), decisions_held)}


@pytest.mark.parametrize(("table", "shards", "held_up"), COMMITS.values(), ids=COMMITS.keys())
@pytest.mark.parametrize("seconds", [None, SHORT_SECONDS], ids=["cancelled", "deadline"])
def test_nothing_stops_a_commit(
    cluster: LocalCluster,
    client: Client,
    calls: RawCalls,
    table: str,
    shards: tuple[int, ...],
    held_up: Callable[[LocalCluster], AbstractContextManager[None]],
    seconds: float | None,
) -> None:
    numbers = [new_number(shard) for shard in shards]
    request = crosskey.transaction([crosskey.insert(table, {"id": number}) for number in numbers])
    with held_up(cluster):
        call = calls.start(request, seconds)
        wait_for_waiters(cluster, 0)
        call.cancel() if seconds is None else call.exception()
        time.sleep(SHORT_SECONDS)
        wait_for_waiters(cluster, 0)
    eventually(lambda: client.count(table, [crosskey.in_("id", numbers)]) == 2, "both rows are there")


# Stops.


def terminate(process: ServerProcess) -> None:
    os.kill(process.pid, signal.SIGTERM)


@contextmanager
def health_of(address: str) -> Iterator[Iterator[int]]:
    """The states of a server's health, as it changes."""
    with grpc.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20)
        yield (answer.status for answer in watch)


def test_a_router_that_is_stopped_ends_what_is_in_flight(cluster: LocalCluster, tmp_path: Path) -> None:
    with extra_router(cluster, tmp_path) as router:
        router.wait_until_serving()
        calls = RawCalls(router.address)
        with health_of(router.address) as states:
            assert next(states) == health_pb2.HealthCheckResponse.SERVING
            with locked_account(cluster, 0):
                in_flight = calls.start(rewrite(0))
                wait_for_waiters(cluster, 0)
                terminate(router)
                assert next(states) == health_pb2.HealthCheckResponse.NOT_SERVING
                eventually(lambda: not is_serving(router.address, 1.0), "nobody is let in")
                assert router.running
            assert [row["text"] for row in in_flight.result().rows] == ["new"]
        eventually(lambda: not router.running, "the router ends")
        assert router.exit_code == 0
        calls.close()


def test_a_node_that_is_stopped_ends_what_is_in_flight(cluster: LocalCluster, calls: RawCalls) -> None:
    node = cluster.nodes[0]
    with health_of(node.address) as states:
        assert next(states) == health_pb2.HealthCheckResponse.SERVING
        with locked_account(cluster, 0):
            in_flight = [calls.start(rewrite(0)), calls.start(rewrite(0, 1))]
            wait_for_waiters(cluster, 0, 2)
            terminate(node)
            assert next(states) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert [len(call.result().rows) for call in in_flight] == [1, 2]
    eventually(lambda: not node.running, "the node ends")
    assert node.exit_code == 0
    node.start_serving()


@pytest.mark.parametrize("stopped_server", ["router", "node"])
def test_what_was_acknowledged_before_a_stop_is_there(
    cluster: LocalCluster, client: Client, threads: ThreadPoolExecutor, tmp_path: Path, stopped_server: str
) -> None:
    # What was committed is acknowledged when the router has insisted on the node that is gone for five seconds.
    with extra_router(cluster, tmp_path) as router, Client(router.address, timeout=20) as writer:
        router.wait_until_serving()
        process = router if stopped_server == "router" else cluster.nodes[1]
        writing = [threads.submit(write_until_refused, writer) for _ in range(8)]
        time.sleep(SHORT_SECONDS)
        terminate(process)
        acknowledged = [number for numbers in writing for number in numbers.result()]
        eventually(lambda: not process.running, "the process ends")
        assert process.exit_code == 0
    if stopped_server == "node":
        process.start_serving()
        eventually(lambda: answers(client), "the router finds the node again")
    assert acknowledged
    rows = crosskey.in_("id", acknowledged)
    # Where the node was gone after the commit point, the resolver finishes.
    eventually(lambda: client.count("accounts", rows) == len(acknowledged), "all acknowledged rows are there")


def write_until_refused(client: Client) -> list[int]:
    """Inserts one account on each shard at a time; returns those that were acknowledged."""
    acknowledged: list[int] = []
    while True:
        numbers = [new_number(shard) for shard in range(SHARDS)]
        try:
            client.insert("accounts", [{"id": number} for number in numbers])
        except (ShardUnavailable, OutcomeUnknown, Cancelled):
            # gRPC cancels a call that reaches a server in the moment in which it stops.
            return acknowledged
        acknowledged += numbers


# Logs.


def lines_of(process: ServerProcess, request_id: str) -> list[dict[str, Any]]:
    """The lines that a process logged for a request."""
    lines = [json.loads(line) for line in process.log.read_text().splitlines()]
    return [line for line in lines if line.get("request_id") == request_id]


def test_the_lines_of_a_request_have_one_id_on_all_servers(cluster: LocalCluster, calls: RawCalls) -> None:
    first_reference = crosskey.insert("follows", {"follower": ACCOUNTS[1], "followee": ACCOUNTS[0]})
    calls.router.Insert(first_reference, metadata=((METADATA_KEY, "trace-1"),))
    [line] = lines_of(cluster.routers[0], "trace-1")
    assert (line["service"], line["event"], line["method"]) == ("router", "call", "/crosskey.v1.Router/Insert")
    assert (line["level"], line["code"], line["reason"]) == ("info", "OK", None)
    assert 0 < line["duration_ms"] < 60_000
    eventually(lambda: len(lines_of(cluster.nodes[0], "trace-1")) == 2, "the second phase is logged")
    methods = [
        [(line["event"], line["service"], line["shard"], line["method"].rpartition("/")[2]) for line in lines]
        for lines in (lines_of(node, "trace-1") for node in cluster.nodes)
    ]
    assert methods == [
        [("call", "node", 0, "run"), ("call", "node", 0, "finish_prepared")],
        [("call", "node", 1, "run")],
        [],
    ]


def test_a_refused_call_is_logged_with_its_reason(cluster: LocalCluster, calls: RawCalls) -> None:
    with pytest.raises(grpc.RpcError):
        calls.router.Insert(crosskey.insert("accounts", {"id": ACCOUNTS[0]}), metadata=((METADATA_KEY, "trace-2"),))
    for process in (cluster.routers[0], cluster.nodes[0]):
        eventually(lambda process=process: lines_of(process, "trace-2"), "the call is logged")  # type: ignore[misc]
        [line] = lines_of(process, "trace-2")
        assert (line["code"], line["reason"]) == ("ALREADY_EXISTS", "UNIQUE_VIOLATION")


def test_a_request_without_an_id_gets_one(cluster: LocalCluster, calls: RawCalls) -> None:
    calls.send(crosskey.get("accounts", {"id": ACCOUNTS[0]}))
    last_line = json.loads(cluster.routers[0].log.read_text().splitlines()[-1])
    assert len(last_line["request_id"]) == 16
    assert lines_of(cluster.nodes[0], last_line["request_id"])


def test_after_all_this_the_logs_are_in_order(cluster: LocalCluster) -> None:
    for process in (*cluster.routers, *cluster.nodes):
        for line in process.log.read_text().splitlines():
            entry = json.loads(line)
            assert "host=" not in line
            assert "exception" not in entry
            assert entry.get("reason") != "INTERNAL"
