"""Transactions that go on over several calls, with the client's own logic between them."""

# What raises is a transaction's block, and perhaps its end.
# ruff: noqa: PT012

from __future__ import annotations

import asyncio
import json
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

import crosskey
from crosskey import (
    AsyncClient,
    Client,
    ExpectationFailed,
    ForeignKeyViolation,
    TransactionAborted,
    TransactionTimedOut,
    UniqueViolation,
)
from crosskey.cli.transaction import transaction
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.router.session_transactions import MAX_CALLS
from crosskey.v1 import router_pb2
from crosskey.v1.router_pb2_grpc import RouterStub
from tests.eventually import eventually
from tests.extra_router import extra_router
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import SHARDS, numbers_on
from tests.shard_sql import prepared, query_all, wait_for_waiters

SCHEMA = """
CREATE TABLE parents (id bigint PRIMARY KEY, name text, visits int NOT NULL DEFAULT 0);
COMMENT ON TABLE parents IS '@shard_by id';
CREATE TABLE children (id bigint PRIMARY KEY, parent_id bigint REFERENCES parents ON DELETE CASCADE, login text UNIQUE);
COMMENT ON TABLE children IS '@shard_by id';
CREATE TABLE waiting (id bigint PRIMARY KEY, parent_id bigint REFERENCES parents DEFERRABLE INITIALLY DEFERRED);
COMMENT ON TABLE waiting IS '@shard_by id';
-- At the commit, the parent goes with whom an ending is inserted; they are on one shard.
CREATE TABLE endings (parent_id bigint PRIMARY KEY);
COMMENT ON TABLE endings IS '@shard_by parent_id';
CREATE FUNCTION end_parent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM parents WHERE id = NEW.parent_id;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER end_parent AFTER INSERT ON endings DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION end_parent();
CREATE TABLE albums (id bigserial PRIMARY KEY, parent_id bigint NOT NULL REFERENCES parents);
COMMENT ON TABLE albums IS '@shard_with parent_id';
CREATE TABLE photos (id bigserial PRIMARY KEY, album_id bigint NOT NULL REFERENCES albums, note text);
COMMENT ON TABLE photos IS '@shard_with album_id';
CREATE TABLE likes (id bigserial PRIMARY KEY, photo_id bigint NOT NULL REFERENCES photos);
COMMENT ON TABLE likes IS '@shard_with photo_id';
"""

MAX_TRANSACTIONS = 4
NODE_ENVIRONMENT = {"CROSSKEY_LOCK_TIMEOUT_MS": "20000"}
ROUTER_ENVIRONMENT = {"CROSSKEY_MAX_TRANSACTIONS": str(MAX_TRANSACTIONS)}

_OPEN = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'crosskey'
AND state IN ('idle in transaction', 'idle in transaction (aborted)')
"""

_numbers = [islice(numbers_on(shard), 1, None) for shard in range(SHARDS)]


def new(shard: int) -> int:
    """A new shard key of that shard."""
    return next(_numbers[shard])


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster with the schema."""
    return fresh_cluster(SCHEMA, node_environment=NODE_ENVIRONMENT, router_environment=ROUTER_ENVIRONMENT)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    """A client; at the end nothing is prepared, and the audit is content."""
    with Client(cluster.address) as client:
        yield client
        eventually(lambda: not prepared(cluster), "nothing is prepared")
        assert client.with_timeout(60).audit() == []


@pytest.fixture(autouse=True)
def _nothing_stays_open(cluster: LocalCluster, client: Client) -> Iterator[None]:
    """After each test, no shard has a transaction open."""
    del client
    yield
    wait_until_none_is_open(cluster)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """For those who wait."""
    with ThreadPoolExecutor() as executor:
        yield executor


def wait_until_none_is_open(cluster: LocalCluster) -> None:
    eventually(lambda: not query_all(cluster, _OPEN), "no transaction is open on any shard")


@pytest.fixture
def parents(client: Client) -> list[int]:
    """A parent on each shard."""
    numbers = [new(shard) for shard in range(SHARDS)]
    client.insert("parents", [{"id": number, "name": "old"} for number in numbers])
    return numbers


def test_statements_with_logic_between_them(client: Client, parents: list[int]) -> None:
    with client.transaction() as tx:
        visits = [tx.get("parents", id=number, lock="UPDATE")["visits"] for number in parents]
        for number, seen in zip(parents, visits, strict=True):
            tx.update("parents", {"visits": seen + 1}, key={"id": number})
        [child] = tx.insert("children", {"id": new(1), "parent_id": parents[0], "login": str(parents[0])})
        assert tx.get("children", login=str(parents[0])) == child
        assert tx.count("children", {"parent_id": parents[0]}) == 1
        assert client.count("children", {"parent_id": parents[0]}) == 0
        assert [row["id"] for row in tx.list("children", {"parent_id": parents[0]}, page_size=1)] == [child["id"]]
        assert tx.first("children", {"parent_id": parents[0]}, lock="SHARE") == child
        assert tx.exists("children", {"parent_id": parents[0]})
        assert tx.aggregate("parents", {"n": ("sum", "visits")}, where=[crosskey.in_("id", parents)]) == [{"n": "3"}]
        assert tx.delete("children", key={"id": child["id"]}) == 1
        assert tx.get_or_none("children", id=child["id"]) is None
        with pytest.raises(crosskey.RowNotFound):
            tx.get("children", id=child["id"])
        assert tx.run(crosskey.count("parents", {"id": parents[0]})) == 1
    assert [client.get("parents", id=number)["visits"] for number in parents] == [1, 1, 1]


async def test_the_same_for_asyncio(cluster: LocalCluster, parents: list[int]) -> None:
    async with AsyncClient(cluster.address, typed=True) as client:
        async with client.transaction() as tx:
            assert (await tx.get("parents", id=parents[0], lock="UPDATE"))["id"] == parents[0]
            for number in parents:
                await tx.update("parents", {"name": "new"}, key={"id": number})
            async with tx.group():
                await tx.insert("children", {"id": new(0), "parent_id": parents[2]})
            with pytest.raises(ForeignKeyViolation):
                async with tx.group():
                    await tx.delete("parents", key={"id": parents[1]})
                    await tx.insert("children", {"id": new(0), "parent_id": new(2)})
            assert [row["name"] async for row in tx.list("parents", [crosskey.in_("id", parents)])] == ["new"] * 3
        assert await client.count("parents", {"name": "new"}) == SHARDS
        with pytest.raises(ZeroDivisionError):
            async with client.transaction() as tx:
                await tx.update("parents", {"name": "lost"}, key={"id": parents[1]})
                raise ZeroDivisionError
        assert await client.count("parents", {"name": "lost"}) == 0
        # Statements that are sent at once run in their order.
        async with client.transaction() as tx:
            more = {"visits": crosskey.column("visits") + 1}
            sent = [tx.update("parents", more, key={"id": parents[0]}) for _ in range(5)]
            assert [row["visits"] for [row] in await asyncio.gather(*sent)] == [1, 2, 3, 4, 5]


def test_an_exception_rolls_back_and_frees_the_locks(cluster: LocalCluster, client: Client, parents: list[int]) -> None:
    with pytest.raises(ZeroDivisionError), client.transaction() as tx:
        for number in parents:
            tx.update("parents", {"name": "lost"}, key={"id": number})
        raise ZeroDivisionError
    assert {client.get("parents", id=number)["name"] for number in parents} == {"old"}
    wait_until_none_is_open(cluster)


def test_an_error_aborts_the_transaction(cluster: LocalCluster, client: Client, parents: list[int]) -> None:
    with pytest.raises(TransactionAborted) as caught, client.transaction() as tx:
        tx.update("parents", {"name": "lost"}, key={"id": parents[1]})
        with pytest.raises(UniqueViolation) as first:
            tx.insert("parents", {"id": parents[0]})
        assert "statement" not in first.value.metadata
        # Nothing of it is left on any shard, though nobody has ended it.
        wait_until_none_is_open(cluster)
        with pytest.raises(TransactionAborted) as later:
            tx.count("parents")
        assert later.value.message.startswith("current transaction is aborted")
        assert later.value.metadata["sqlstate"] == "25P02"
        assert later.value.metadata["detail"] == first.value.message
        with pytest.raises(TransactionAborted), tx.group():
            pass
    assert caught.value.metadata["detail"] == first.value.message
    assert client.get("parents", id=parents[1])["name"] == "old"


def test_groups(client: Client, parents: list[int]) -> None:
    kept, lost = new(0), new(1)
    with client.transaction() as tx:
        with tx.group():
            tx.insert("parents", {"id": kept})
            with pytest.raises(UniqueViolation), tx.group():
                tx.insert("parents", {"id": lost})
                tx.update("parents", {"name": "lost"}, key={"id": parents[2]})
                tx.insert("parents", {"id": kept})
            assert tx.count("parents", {"id": lost}) == 0
            with pytest.raises(ZeroDivisionError), tx.group():
                tx.delete("parents", key={"id": parents[2]})
                raise ZeroDivisionError
        # Whoever swallows an error within a group has not kept it.
        with pytest.raises(TransactionAborted, match="current transaction is aborted"), tx.group():
            tx.insert("parents", {"id": lost})
            with pytest.raises(UniqueViolation):
                tx.insert("parents", {"id": lost})
            with pytest.raises(TransactionAborted):
                tx.count("parents")
        twice = [crosskey.insert("parents", {"id": lost}), crosskey.insert("parents", {"id": kept})]
        answer = tx.run(crosskey.group(twice))
        assert isinstance(answer, UniqueViolation)
        assert answer.metadata["statement"] == "0.1"
    assert client.count("parents", [crosskey.in_("id", [kept, lost, *parents])]) == 1 + SHARDS
    assert client.get("parents", id=parents[2])["name"] == "old"


def test_constraint_modes(client: Client, parents: list[int]) -> None:
    missing = new(2)
    with pytest.raises(ForeignKeyViolation), client.transaction() as tx:
        tx.update("parents", {"name": "lost"}, key={"id": parents[1]})
        tx.insert("waiting", {"id": new(0), "parent_id": missing})
    assert client.get("parents", id=parents[1])["name"] == "old"
    with client.transaction() as tx:
        tx.insert("waiting", {"id": new(0), "parent_id": missing})
        with pytest.raises(ForeignKeyViolation), tx.group():
            tx.set_constraints(deferred=False)
        tx.insert("parents", {"id": missing})
        tx.set_constraints("waiting_parent_id_fkey", deferred=False)
    assert client.count("waiting", {"parent_id": missing}) == 1


def test_a_deferred_trigger_that_writes_elsewhere(client: Client, parents: list[int]) -> None:
    """What it does at the commit concerns other shards before any of them prepares."""
    children = [new(shard) for shard in range(SHARDS)]
    with client.transaction() as tx:
        tx.insert("children", [{"id": child, "parent_id": parents[0]} for child in children])
        tx.insert("endings", {"parent_id": parents[0]})
        tx.update("parents", {"name": "new"}, key={"id": parents[1]})
        assert tx.count("children", {"parent_id": parents[0]}) == SHARDS
    assert client.count("children", {"parent_id": parents[0]}) == 0
    assert client.get("parents", id=parents[1])["name"] == "new"


def test_rows_that_live_with_a_parent_that_moves(client: Client, parents: list[int]) -> None:
    with client.transaction() as tx:
        [album] = tx.insert("albums", {"parent_id": parents[0]})
        photos = tx.insert("photos", [{"album_id": album["id"]}, {"album_id": album["id"]}])
        tx.update("albums", {"parent_id": parents[1]}, key={"id": album["id"]})
        assert [*tx.list("photos", {"album_id": album["id"]})] == photos
        assert tx.get("albums", id=album["id"], include={"photos": {}})["photos"] == photos
    assert [*client.list("photos", {"album_id": album["id"]})] == photos


def test_rows_that_were_changed_before_they_had_to_move(client: Client, parents: list[int]) -> None:
    """Transact would begin again here, and lock them before it changes them."""
    [album] = client.insert("albums", {"parent_id": parents[0]})
    [photo] = client.insert("photos", {"album_id": album["id"]})
    client.insert("likes", {"photo_id": photo["id"]})
    with client.transaction() as tx:
        tx.update("photos", {"note": "new"}, key={"id": photo["id"]})
        tx.update("albums", {"parent_id": parents[1]}, key={"id": album["id"]})
        assert tx.get("photos", id=photo["id"], include={"likes": {"count": "only"}})["crosskey_counts"] == {"likes": 1}
    assert client.get("albums", id=album["id"], include={"photos": {}})["photos"] == [{**photo, "note": "new"}]


def test_an_upsert_on_a_value_that_is_claimed(client: Client, parents: list[int]) -> None:
    login = f"login {parents[0]}"
    client.insert("children", {"id": new(0), "login": login})
    with client.transaction() as tx:
        upsert = crosskey.do_update("parent_id", on="login")
        [row] = tx.insert("children", {"id": new(1), "login": login, "parent_id": parents[2]}, on_conflict=upsert)
        assert tx.get("children", login=login) == row
    assert client.get("children", login=login)["parent_id"] == str(parents[2])


def test_an_update_is_not_lost_between_two_that_lock(
    cluster: LocalCluster, client: Client, parents: list[int], threads: ThreadPoolExecutor
) -> None:
    def visit() -> None:
        with client.transaction() as tx:
            seen = tx.get("parents", id=parents[1], lock="UPDATE")["visits"]
            tx.update("parents", {"visits": seen + 1}, key={"id": parents[1]})

    with client.transaction() as tx:
        seen = tx.get("parents", id=parents[1], lock="UPDATE")["visits"]
        other = threads.submit(visit)
        wait_for_waiters(cluster, 1)
        tx.update("parents", {"visits": seen + 1}, key={"id": parents[1]})
    other.result()
    assert client.get("parents", id=parents[1])["visits"] == 2


def test_a_client_that_goes_away_leaves_nothing(cluster: LocalCluster, client: Client, parents: list[int]) -> None:
    session = RawSession(cluster.address)
    name = session.ask(begin=router_pb2.BeginRequest()).begin.transaction
    for number in parents:
        update = crosskey.update("parents", {"name": "lost"}, key={"id": number})
        session.run(name, router_pb2.Statement(update=update))
    session.break_off()
    with client.transaction() as tx:
        assert {tx.get("parents", id=number, lock="UPDATE")["name"] for number in parents} == {"old"}


def test_a_router_that_dies_leaves_nothing(
    cluster: LocalCluster, client: Client, parents: list[int], tmp_path: Path
) -> None:
    with extra_router(cluster, tmp_path) as router, Client(router.address) as doomed:
        doomed.wait_until_connected()
        eventually(lambda: serves(doomed), "the router serves")
        with pytest.raises(crosskey.ShardUnavailable) as caught, doomed.transaction() as tx:
            for number in parents:
                tx.update("parents", {"name": "lost"}, key={"id": number})
            router.kill()
            tx.count("parents")
        assert caught.value.retryable
        with client.transaction() as tx:
            assert {tx.get("parents", id=number, lock="UPDATE")["name"] for number in parents} == {"old"}


def test_a_router_that_is_about_to_stop_lets_a_transaction_go_on(
    cluster: LocalCluster, client: Client, parents: list[int], tmp_path: Path
) -> None:
    with extra_router(cluster, tmp_path) as router, Client(router.address) as served:
        served.wait_until_connected()
        eventually(lambda: serves(served), "the router serves")
        with served.transaction() as tx:
            tx.update("parents", {"name": "new"}, key={"id": parents[0]})
            router.send_signal(signal.SIGTERM)
            eventually(lambda: not serves(served), "the router takes nothing new")
            with pytest.raises(crosskey.ShardUnavailable), served.transaction():
                pass
            tx.update("parents", {"name": "new"}, key={"id": parents[1]})
    assert client.count("parents", [crosskey.eq("name", "new"), crosskey.in_("id", parents)]) == 2


def test_a_router_that_is_about_to_stop_ends_a_session_when_its_last_transaction_has_expired(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    with extra_router(cluster, tmp_path, CROSSKEY_DRAIN_SECONDS="50") as router, Client(router.address) as served:
        served.wait_until_connected()
        eventually(lambda: serves(served), "the router serves")
        session = RawSession(router.address)
        session.ask(begin=router_pb2.BeginRequest(idle_timeout_ms=2000))
        router.send_signal(signal.SIGTERM)
        assert session.is_told_to_end()
        session.break_off()


def serves(client: Client) -> bool:
    """Whether its router takes requests."""
    try:
        client.count("parents", {"id": 0})
    except crosskey.ShardUnavailable:
        return False
    return True


def test_a_transaction_belongs_to_its_stream(cluster: LocalCluster, parents: list[int]) -> None:
    one, other = RawSession(cluster.address), RawSession(cluster.address)
    name = one.ask(begin=router_pb2.BeginRequest()).begin.transaction
    get = router_pb2.Statement(get=crosskey.get("parents", {"id": parents[0]}))
    assert other.run(name, get).failure.reason == TransactionAborted.reason
    assert other.ask(commit=router_pb2.CommitRequest(transaction=name)).failure.reason == TransactionAborted.reason
    assert other.ask(roll_back=router_pb2.RollBackRequest(transaction=name)).HasField("roll_back")
    assert one.run(name, get).HasField("run_statement")
    assert one.ask(commit=router_pb2.CommitRequest(transaction=name)).HasField("commit")
    assert one.run(name, get).failure.reason == TransactionAborted.reason
    one.break_off()
    other.break_off()


def test_calls_that_make_no_sense(cluster: LocalCluster, parents: list[int]) -> None:
    session = RawSession(cluster.address)

    def begun() -> str:
        return str(session.ask(begin=router_pb2.BeginRequest()).begin.transaction)

    name = begun()
    ended = session.ask(end_group=router_pb2.EndGroupRequest(transaction=name))
    assert ended.failure.message == "there is no group to end"
    taking = crosskey.get("parents", {"id": crosskey.value_of(0, "id")})
    for statement in (router_pb2.Statement(), router_pb2.Statement(get=taking)):
        name = begun()
        assert session.run(name, statement).failure.reason == crosskey.InvalidRequest.reason
        assert session.run(name, statement).failure.reason == TransactionAborted.reason
    session.break_off()
    del parents


def test_groups_do_not_nest_without_end(cluster: LocalCluster, parents: list[int]) -> None:
    session = RawSession(cluster.address)
    name = session.ask(begin=router_pb2.BeginRequest()).begin.transaction
    get = router_pb2.Statement(get=crosskey.get("parents", {"id": parents[0]}))
    begin_group = router_pb2.BeginGroupRequest(transaction=name)
    assert all(session.ask(begin_group=begin_group).HasField("begin_group") for _ in range(40))
    assert session.run(name, get).HasField("run_statement")
    assert session.ask(begin_group=begin_group).failure.message == "groups nest at most 40 deep"
    assert session.run(name, get).failure.reason == TransactionAborted.reason
    session.break_off()


def test_a_call_that_is_stopped_ends_its_transaction(cluster: LocalCluster, client: Client, parents: list[int]) -> None:
    hurried = client.with_timeout(0.3)
    with client.transaction() as tx:
        tx.get("parents", id=parents[0], lock="UPDATE")
        with pytest.raises(crosskey.DeadlineExceeded), hurried.transaction() as late:
            late.update("parents", {"name": "lost"}, key={"id": parents[1]})
            late.update("parents", {"name": "lost"}, key={"id": parents[0]})
        # It had this row locked.
        tx.update("parents", {"name": "new"}, key={"id": parents[1]})
    assert [client.get("parents", id=number)["name"] for number in parents] == ["old", "new", "old"]
    wait_until_none_is_open(cluster)


def test_a_call_that_is_stopped_behind_another_one_leaves_nothing_of_that(
    cluster: LocalCluster, client: Client, parents: list[int]
) -> None:
    """The one that is at work begins branches on further shards after the transaction is doomed."""
    client.insert("children", [{"id": new(shard), "parent_id": parents[0]} for shard in range(SHARDS)])
    session = RawSession(cluster.address)
    name = session.ask(begin=router_pb2.BeginRequest()).begin.transaction
    with client.transaction() as tx:
        tx.get("parents", id=parents[0], lock="UPDATE")
        deletes = router_pb2.Statement(delete=crosskey.delete("parents", key={"id": parents[0]}))
        counts = router_pb2.Statement(count=crosskey.count("parents"))
        session.send(run_statement=router_pb2.RunStatementRequest(transaction=name, statement=deletes))
        wait_for_waiters(cluster, 0)
        session.send(timeout_ms=50, run_statement=router_pb2.RunStatementRequest(transaction=name, statement=counts))
        assert session.answer().failure.reason == crosskey.DeadlineExceeded.reason
        session.send(commit=router_pb2.CommitRequest(transaction=name))
    assert session.answer().run_statement.result.delete.count == 1
    # It was sent behind a statement that was not carried out.
    assert session.answer().failure.reason == TransactionAborted.reason
    # While the stream goes on.
    wait_until_none_is_open(cluster)
    session.break_off()
    assert client.count("children", {"parent_id": parents[0]}) == SHARDS


def test_the_bound_on_calls_that_wait(cluster: LocalCluster, client: Client, parents: list[int]) -> None:
    session = RawSession(cluster.address)
    name = session.ask(begin=router_pb2.BeginRequest()).begin.transaction
    update = router_pb2.Statement(update=crosskey.update("parents", {"name": "lost"}, key={"id": parents[0]}))
    get = router_pb2.Statement(get=crosskey.get("parents", {"id": parents[0]}))
    with client.transaction() as tx:
        tx.get("parents", id=parents[0], lock="UPDATE")
        session.send(run_statement=router_pb2.RunStatementRequest(transaction=name, statement=update))
        wait_for_waiters(cluster, 0)
        # One more than may wait behind it.
        session.send(MAX_CALLS, run_statement=router_pb2.RunStatementRequest(transaction=name, statement=get))
        assert "1,000 calls waiting" in session.answer().failure.message
    assert session.answer().HasField("run_statement")
    reasons = {session.answer().failure.reason for _ in range(MAX_CALLS - 1)}
    assert reasons == {TransactionAborted.reason}
    wait_until_none_is_open(cluster)
    session.break_off()
    assert client.get("parents", id=parents[0])["name"] == "old"


def test_the_bound_on_idleness(cluster: LocalCluster, client: Client, parents: list[int]) -> None:
    with pytest.raises(TransactionTimedOut) as caught, client.transaction(idle_timeout=0.05) as tx:
        tx.update("parents", {"name": "lost"}, key={"id": parents[0]})
        wait_until_none_is_open(cluster)
        with pytest.raises(TransactionTimedOut):
            tx.count("parents")
    assert "nothing was asked of it for 0.05 seconds" in caught.value.message
    assert caught.value.metadata["sqlstate"] == "25P03"
    assert client.get("parents", id=parents[0])["name"] == "old"


def test_the_bound_on_the_whole(client: Client, parents: list[int]) -> None:
    with client.transaction() as tx:
        tx.get("parents", id=parents[0], lock="UPDATE")
        with pytest.raises(TransactionTimedOut) as caught, client.transaction(timeout=0.2) as late:
            late.update("parents", {"name": "lost"}, key={"id": parents[1]})
            late.get("parents", id=parents[0], lock="UPDATE")
        assert caught.value.metadata["sqlstate"] == "25P04"
        tx.update("parents", {"name": "new"}, key={"id": parents[1]})


def test_bounds_are_told_and_no_more_than_the_routers(cluster: LocalCluster) -> None:
    session = RawSession(cluster.address)
    answer = session.ask(begin=router_pb2.BeginRequest()).begin
    assert (answer.idle_timeout_ms, answer.timeout_ms) == (10_000, 60_000)
    answer = session.ask(begin=router_pb2.BeginRequest(idle_timeout_ms=999_999, timeout_ms=30_000)).begin
    assert (answer.idle_timeout_ms, answer.timeout_ms) == (10_000, 30_000)
    session.break_off()


def test_the_bound_on_how_many_are_open(cluster: LocalCluster, client: Client, parents: list[int]) -> None:
    session = RawSession(cluster.address)
    names: list[str] = []

    def all_are_begun() -> bool:
        """Those of earlier tests' streams may still be open."""
        answer = session.ask(begin=router_pb2.BeginRequest())
        names.extend([answer.begin.transaction] if answer.HasField("begin") else [])
        return len(names) == MAX_TRANSACTIONS

    eventually(all_are_begun, f"{MAX_TRANSACTIONS} transactions are open")
    with pytest.raises(crosskey.Overloaded, match="4 transactions open") as caught, client.transaction():
        pass
    assert caught.value.retryable
    # One that is aborted counts no more.
    assert session.run(names[0], router_pb2.Statement()).HasField("failure")
    with client.transaction() as tx:
        assert tx.count("parents", {"id": parents[0]}) == 1
    session.break_off()

    def has_room() -> bool:
        try:
            with client.transaction() as one, client.transaction() as other:
                return one.count("parents", {"id": 0}) == other.count("parents", {"id": 0}) == 0
        except crosskey.Overloaded:
            return False

    eventually(has_room, "those of a stream that is gone count no more")


def test_expectations(client: Client, parents: list[int]) -> None:
    with pytest.raises(ExpectationFailed), client.transaction() as tx:
        update = crosskey.update("parents", {"name": "lost"}, where={"id": parents[0], "visits": 1})
        tx.run(crosskey.expect(update, count=1))
    with client.transaction() as tx:
        update = crosskey.update("parents", {"visits": 1}, where={"id": parents[0], "visits": 0})
        assert tx.run(crosskey.expect(update, count=1))[0]["visits"] == 1


def test_explicit_ends(client: Client, parents: list[int]) -> None:
    with client.transaction() as tx:
        tx.update("parents", {"name": "one"}, key={"id": parents[0]})
        tx.commit()
        with pytest.raises(TransactionAborted, match="not open"):
            tx.count("parents")
    with client.transaction() as tx:
        tx.update("parents", {"name": "two"}, key={"id": parents[0]})
        tx.roll_back()
    assert client.get("parents", id=parents[0])["name"] == "one"
    with client.transaction():
        pass


def test_what_it_costs(cluster: LocalCluster, parents: list[int]) -> None:
    session = RawSession(cluster.address)
    name = session.ask(begin=router_pb2.BeginRequest()).begin.transaction
    get = router_pb2.Statement(get=crosskey.get("parents", {"id": parents[1]}))
    update = router_pb2.Statement(update=crosskey.update("parents", {"name": "x"}, key={"id": parents[2]}))
    assert list(session.run(name, get).node_calls) == ["s1 ShardNode.Run"]
    assert list(session.run(name, update).node_calls) == ["s2 ShardNode.Run"]
    # One shard was written: it commits alone.
    assert list(session.ask(commit=router_pb2.CommitRequest(transaction=name)).node_calls) == []
    session.break_off()


class RawSession:
    """A stream of Router.Session, one call after the other."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)])
        self._ids = count(1)
        self._queue: SimpleQueue[router_pb2.SessionRequest | None] = SimpleQueue()
        self._stream = RouterStub(self._channel).Session(iter(self._queue.get, None))
        self._waiting: deque[router_pb2.Answer] = deque()

    def ask(self, **call: Any) -> router_pb2.Answer:
        """Sends a call, given as fields of Call, and returns its answer."""
        self.send(**call)
        return self.answer()

    def send(self, times: int = 1, **call: Any) -> None:
        """Sends a call, given as fields of Call, perhaps several times at once."""
        calls = [router_pb2.Call(id=next(self._ids), **call) for _ in range(times)]
        self._queue.put(router_pb2.SessionRequest(calls=calls))

    def answer(self) -> router_pb2.Answer:
        """Waits for the next answer."""
        while not self._waiting:
            self._waiting.extend(next(self._stream).answers)
        return self._waiting.popleft()

    def run(self, transaction: str, statement: router_pb2.Statement) -> router_pb2.Answer:
        """Runs a statement of a transaction."""
        return self.ask(run_statement=router_pb2.RunStatementRequest(transaction=transaction, statement=statement))

    def is_told_to_end(self) -> bool:
        """Waits for the next message, and says whether it is the last one."""
        return bool(next(self._stream).last)

    def break_off(self) -> None:
        """Breaks off, as a client that is killed does."""
        self._stream.cancel()
        self._queue.put(None)
        self._channel.close()


def _talk(cluster: LocalCluster, *lines: Any) -> tuple[int, list[Any], str]:
    """What the command says to lines: its exit code, its answers, and its errors."""
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    done = CliRunner().invoke(transaction, [], input=text, env={"CROSSKEY_ROUTER": cluster.address})
    return done.exit_code, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_the_command_answers_line_by_line(cluster: LocalCluster, client: Client) -> None:
    one, other = new(0), new(1)
    parent = {"insert": {"table": "parents", "rows": [{"id": one, "name": "a"}], "count_only": True}}
    child = {"insert": {"table": "children", "rows": [{"id": other, "parent_id": one}], "count_only": True}}
    twice, count = {**parent}, {"count": {"table": "children", "where": [{"column": "parent_id", "value": one}]}}
    code, answers, _ = _talk(
        cluster,
        parent,
        "",
        "group",
        child,
        twice,
        count,
        "roll_back_group",
        "group",
        child,
        "end_group",
        count,
        "commit",
    )
    assert code == 0
    [_, _, _, refused, after, *rest] = answers
    assert refused["error"]["reason"] == "UNIQUE_VIOLATION"
    assert after["error"]["reason"] == "TRANSACTION_ABORTED"
    assert rest[0] is None
    assert rest[-2:] == [1, None]
    assert client.get("children", id=other)["parent_id"] == str(one)


@pytest.mark.parametrize("end", ["roll_back", ""], ids=["rolled back", "without an end"])
def test_the_command_commits_only_what_it_is_told_to(cluster: LocalCluster, client: Client, end: str) -> None:
    one = new(2)
    code, _, told = _talk(cluster, {"insert": {"table": "parents", "rows": [{"id": one}]}}, end)
    assert code == 1
    assert "nothing was committed" in told
    assert not client.exists("parents", {"id": one})


@pytest.mark.parametrize("line", ["begin", '{"insert": {"tabel": "x"}}', "{}", "end_group", '{"group": {}}'])
def test_the_command_refuses_other_lines(cluster: LocalCluster, line: str) -> None:
    code, _, told = _talk(cluster, line)
    assert code == 2
    assert "Error" in told
