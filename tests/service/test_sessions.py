"""Router.Session against unary calls, and against what is left in the database when a request or a client goes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

import crosskey
from crosskey import errors
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.v1 import router_pb2
from crosskey.v1.router_pb2_grpc import RouterStub
from tests.eventually import eventually
from tests.extra_router import extra_router
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on
from tests.refusals import RawCalls
from tests.shard_sql import query, row_locked, wait_for_waiters, wait_until_quiet

SHARDS = 2
SCHEMA = """
CREATE TABLE accounts (id bigint PRIMARY KEY, text text CHECK (text <> 'bad'), name text UNIQUE);
COMMENT ON TABLE accounts IS '@shard_by id';

CREATE TABLE follows (
    follower bigint NOT NULL REFERENCES accounts,
    followee bigint CONSTRAINT follows_followee_fkey REFERENCES accounts
);
COMMENT ON TABLE follows IS '@shard_by follower';

CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '%', repeat('x', 5000) USING DETAIL = repeat('y', 5000); END $$;
CREATE TABLE complaints (id bigint PRIMARY KEY);
CREATE TRIGGER complain BEFORE INSERT ON complaints FOR EACH ROW EXECUTE FUNCTION complain();
COMMENT ON TABLE complaints IS '@shard_by id';
"""
ACCOUNTS = [next(numbers_on(shard, SHARDS)) for shard in range(SHARDS)]
REWRITE = crosskey.update("accounts", {"text": "new"}, key={"id": ACCOUNTS[0]})
REWRITE_ALL = crosskey.update("accounts", {"text": "new"}, where=crosskey.in_("id", ACCOUNTS))


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    cluster = fresh_cluster(SCHEMA, shards=SHARDS, node_environment={"CROSSKEY_LOCK_TIMEOUT_MS": "60000"})
    with crosskey.Client(cluster.address) as client:
        client.insert("accounts", [{"id": number, "text": "old"} for number in ACCOUNTS])
    return cluster


@pytest.fixture(scope="module")
def calls(cluster: LocalCluster) -> Iterator[RawCalls]:
    calls = RawCalls(cluster.address)
    yield calls
    calls.close()


@pytest.fixture(autouse=True)
def _nothing_is_left(cluster: LocalCluster) -> Iterator[None]:
    yield
    for shard in range(SHARDS):
        wait_until_quiet(cluster, shard)
        [(text,)] = query(cluster, shard, "SELECT text FROM accounts WHERE id = %s", ACCOUNTS[shard])
        assert text == "old"


class Session:
    """One stream, without the client package between."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self.stream: Any = RouterStub(self._channel).Session()
        self._number = 0

    async def send(self, request: Any, **fields: Any) -> int:
        """Sends a call with the request; answers its number."""
        self._number += 1
        kind = type(request).__name__.removesuffix("Request").lower()
        call = router_pb2.Call(id=self._number, **{kind: request}, **fields)
        await self.stream.write(router_pb2.SessionRequest(calls=[call]))
        return self._number

    async def cancel(self, number: int) -> None:
        """Stops a call."""
        await self.stream.write(router_pb2.SessionRequest(calls=[router_pb2.Call(cancel=number)]))

    async def answer(self) -> router_pb2.Answer:
        """Reads on to the next answer, which must come alone."""
        response = await asyncio.wait_for(self.stream.read(), 20)
        answer: router_pb2.Answer
        [answer] = response.answers
        return answer

    async def close(self) -> None:
        """Breaks the connection off."""
        await self._channel.close()


@pytest.fixture
async def session(cluster: LocalCluster) -> AsyncIterator[Session]:
    session = Session(cluster.address)
    yield session
    await session.close()


def locked_account(cluster: LocalCluster, shard: int = 0) -> AbstractContextManager[None]:
    """Somebody else has the shard's account locked."""
    return row_locked(cluster, shard, "accounts", ACCOUNTS[shard])


async def waiters(cluster: LocalCluster, shard: int) -> None:
    """Returns once somebody waits for a lock on the shard."""
    await asyncio.to_thread(wait_for_waiters, cluster, shard)


async def nobody_waits(cluster: LocalCluster, shard: int) -> None:
    """Returns once nobody waits for a lock on the shard any more."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    await asyncio.to_thread(eventually, lambda: query(cluster, shard, waiting) == [(0,)], "nobody waits")


REFUSED: dict[str, Message] = {
    "no such row": crosskey.get("accounts", {"id": -1}),
    "taken": crosskey.insert("accounts", {"id": ACCOUNTS[0]}),
    "no parent": crosskey.insert("follows", {"follower": ACCOUNTS[0], "followee": -1}),
    "check": crosskey.insert("accounts", {"id": -1, "text": "bad"}),
    "no such table": crosskey.count("nothing"),
    "no such column": crosskey.list_rows("accounts", {"nothing": 1}),
    "no such value": crosskey.insert("accounts", {"id": "one"}),
    "no shard key": crosskey.insert("accounts", {"text": "x"}),
    "no rows": router_pb2.InsertRequest(table="accounts"),
    "reserved": router_pb2.InsertRequest(table="accounts", rows_json="[{}]", request_id="x"),
    "page token": router_pb2.ListRequest(table="accounts", page_token="x"),
    "in a transaction": crosskey.transaction(
        [crosskey.delete("accounts", key={"id": -1}), crosskey.insert("accounts", {"id": ACCOUNTS[1]})]
    ),
    "at length": crosskey.insert("complaints", {"id": 1}),
    "explained": crosskey.requests.explanation(crosskey.count("nothing")),
}


@pytest.mark.parametrize("request_", REFUSED.values(), ids=REFUSED)
async def test_an_error_is_the_same_both_ways(session: Session, calls: RawCalls, request_: Message) -> None:
    refusal = calls.refusal(request_)
    await session.send(request_)
    failure = (await session.answer()).failure
    assert failure.code == refusal.code.value[0]
    assert errors.from_failure(failure).reason_name == refusal.reason
    assert (failure.message, dict(failure.metadata)) == (refusal.message, refusal.metadata)
    assert (failure.retry_delay_ms > 0) == refusal.retryable


async def test_what_left_no_trace_may_be_repeated_both_ways(cluster: LocalCluster, tmp_path: Path) -> None:
    """What RetryInfo says of a unary call, `retry_delay_ms` says on the stream."""
    with extra_router(cluster, tmp_path, nodes=[cluster.nodes[0].address, "127.0.0.1:1"]) as router:
        await asyncio.to_thread(eventually, lambda: is_up(router.address), "the router is up")
        calls, session = RawCalls(router.address), Session(router.address)
        refusal = await asyncio.to_thread(calls.refusal, crosskey.count("accounts"))
        await session.send(crosskey.count("accounts"))
        failure = (await session.answer()).failure
        assert (refusal.reason, refusal.retryable) == ("SHARD_UNAVAILABLE", True)
        assert (failure.reason, failure.retry_delay_ms) == (errors.ShardUnavailable.reason, errors.RETRY_DELAY_MS)
        calls.close()
        await session.close()


def is_up(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        try:
            grpc.channel_ready_future(channel).result(1)
        except grpc.FutureTimeoutError:
            return False
    return True


ANSWERED: list[Message] = [
    crosskey.get("accounts", {"id": ACCOUNTS[0]}),
    crosskey.count("accounts"),
    crosskey.list_rows("accounts"),
    crosskey.update("accounts", {"text": "old"}, key={"id": ACCOUNTS[0]}),
    crosskey.delete("accounts", key={"id": -1}),
    crosskey.transaction([crosskey.update("accounts", {"text": "old"}, key={"id": number}) for number in ACCOUNTS]),
    crosskey.requests.explanation(crosskey.count("accounts")),
]


@pytest.mark.parametrize("request_", ANSWERED, ids=lambda request: type(request).__name__)
async def test_an_answer_and_its_account_are_the_same_both_ways(
    session: Session, calls: RawCalls, request_: Message
) -> None:
    unary = calls.start(request_)
    number = await session.send(request_)
    answer = await session.answer()
    kind = str(answer.WhichOneof("answer"))
    assert (answer.id, getattr(answer, kind)) == (number, unary.result())
    trailers = dict(unary.trailing_metadata())
    assert sorted(answer.node_calls) == sorted(filter(None, trailers["crosskey-node-calls"].split(", ")))


async def test_a_request_that_waits_in_postgres_holds_up_no_other(cluster: LocalCluster, session: Session) -> None:
    with locked_account(cluster):
        slow = await session.send(REWRITE)
        await waiters(cluster, 0)
        quick = await session.send(crosskey.count("accounts"))
        assert (await session.answer()).id == quick
        await session.cancel(slow)
        await nobody_waits(cluster, 0)


@pytest.mark.parametrize("request_", [REWRITE, REWRITE_ALL], ids=["one shard", "two shards"])
async def test_a_deadline_reaches_postgres(cluster: LocalCluster, session: Session, request_: Message) -> None:
    with locked_account(cluster):
        number = await session.send(request_, timeout_ms=500)
        answer = await session.answer()
        assert (answer.id, answer.failure.code) == (number, grpc.StatusCode.DEADLINE_EXCEEDED.value[0])
        assert not answer.failure.retry_delay_ms
        await nobody_waits(cluster, 0)


@pytest.mark.parametrize("request_", [REWRITE, REWRITE_ALL], ids=["one shard", "two shards"])
async def test_a_client_that_disconnects_ends_what_it_began(
    cluster: LocalCluster, session: Session, request_: Message
) -> None:
    with locked_account(cluster):
        await session.send(request_)
        await waiters(cluster, 0)
        await session.close()
        await nobody_waits(cluster, 0)


async def test_a_client_that_is_cancelled_or_late_ends_what_it_began(cluster: LocalCluster) -> None:
    async with crosskey.AsyncClient(cluster.address) as client:
        with locked_account(cluster):
            call = asyncio.create_task(client.update("accounts", {"text": "new"}, key={"id": ACCOUNTS[0]}))
            await waiters(cluster, 0)
            call.cancel()
            await nobody_waits(cluster, 0)
            with pytest.raises(errors.DeadlineExceeded):
                await client.with_timeout(0.5).update("accounts", {"text": "new"}, key={"id": ACCOUNTS[0]})
            await nobody_waits(cluster, 0)
        assert await client.count("accounts") == SHARDS


async def test_a_request_is_logged_under_its_own_id(cluster: LocalCluster, session: Session) -> None:
    await session.send(crosskey.get("accounts", {"id": ACCOUNTS[0]}), request_id="mine")
    assert (await session.answer()).HasField("get")
    logs = [cluster.routers[0].log, cluster.nodes[0].log]
    lines = [json.loads(line) for log in logs for line in log.read_text().splitlines() if '"mine"' in line]
    assert [line["method"] for line in lines] == ["Router/get", "Session/read"]


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_requests_in_flight_when_a_router_is_killed(
    cluster: LocalCluster, tmp_path: Path, *, asynchronous: bool
) -> None:
    """Of those that were sent nobody knows; none is left waiting, and none of its transactions is left."""
    with extra_router(cluster, tmp_path) as router:
        await asyncio.to_thread(router.wait_until_serving)
        client: Any = (crosskey.AsyncClient if asynchronous else crosskey.Client)(router.address)
        change = {"table": "accounts", "set": {"text": "new"}, "key": {"id": ACCOUNTS[0]}}

        async def called(method: Any, *args: Any, **kwargs: Any) -> Any:
            return await (method(*args, **kwargs) if asynchronous else asyncio.to_thread(method, *args, **kwargs))

        with locked_account(cluster):
            updates = [asyncio.ensure_future(called(client.update, **change)) for _ in range(200)]
            await waiters(cluster, 0)
            router.kill()
            lost: list[Any] = await asyncio.gather(*updates, return_exceptions=True)
            await nobody_waits(cluster, 0)
        assert {type(error) for error in lost} == {errors.ShardUnavailable}
        assert not any(error.retryable for error in lost if not error.answered)
        router.start_serving()
        await called(client.wait_until_connected)
        assert await called(client.count, "accounts") == SHARDS
        await called(client.close)
