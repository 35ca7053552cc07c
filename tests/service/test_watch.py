"""Router.Watch: what is told of committed changes, in which order, and what is refused."""

from __future__ import annotations

import itertools
import json
import signal
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import psycopg
import pytest

import crosskey
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.rows import struct_to_dict
from crosskey.shard_node.events import feed
from crosskey.shard_node.events.outbox import Bounds
from crosskey.shard_node.postgres.database import Database
from crosskey.v1 import router_pb2, rows_pb2
from crosskey.v1.router_pb2_grpc import RouterStub
from tests.extra_router import extra_router
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import as_node

SHARDS = 2
SCHEMA = """
CREATE TABLE people (
    id bigint PRIMARY KEY, name text, score numeric, tags text[], born timestamptz, more jsonb,
    friend bigint REFERENCES people ON DELETE SET NULL
);
COMMENT ON TABLE people IS E'@shard_by id\\n@events';

CREATE TABLE pairs (a bigint, b text, PRIMARY KEY (a, b));
COMMENT ON TABLE pairs IS E'@shard_by a\\n@events';

CREATE TABLE silent (id bigint PRIMARY KEY);
COMMENT ON TABLE silent IS '@shard_by id';
"""
NUMBERS = [numbers_on(shard, SHARDS) for shard in range(SHARDS)]


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, shards=SHARDS)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[crosskey.Client]:
    with crosskey.Client(cluster.address) as client:
        yield client


def new_on(shard: int) -> int:
    """A number whose row lives on a shard, and that no row has had."""
    return next(NUMBERS[shard])


def take(watch: Iterable[crosskey.Event], count: int) -> list[crosskey.Event]:
    """The next events."""
    return list(itertools.islice(watch, count))


def test_changes_of_all_shards_are_told_with_both_images(client: crosskey.Client) -> None:
    here, there = new_on(0), new_on(1)
    with client.watch(["people", "pairs"]) as watch:
        client.insert("people", [{"id": here, "name": "Ada", "score": "1.50", "tags": ["x"]}, {"id": there}])
        client.update("people", {"name": "Eve"}, key={"id": here})
        client.delete("people", key={"id": here})
        client.insert("pairs", {"a": there, "b": "two"})
        told = take(watch, 5)
    ada = {"id": str(here), "name": "Ada", "score": "1.50", "tags": ["x"], "born": None, "more": None, "friend": None}
    of_here = [(one.type, one.key, one.before, one.after, one.shard) for one in told if one.shard == 0]
    assert of_here == [
        ("insert", str(here), None, ada, 0),
        ("update", str(here), ada, ada | {"name": "Eve"}, 0),
        ("delete", str(here), ada | {"name": "Eve"}, None, 0),
    ]
    of_there = [(one.table, one.type, one.key) for one in told if one.shard == 1]
    assert of_there == [
        ("people", "insert", str(there)),
        ("pairs", "insert", json.dumps([str(there), "two"]).replace(" ", "")),
    ]
    assert len({one.id for one in told}) == 5
    assert all(one.request_id and one.transaction and one.time.tzinfo for one in told)


def test_only_rows_that_meet_the_conditions_before_or_after_are_told(client: crosskey.Client) -> None:
    number, other = new_on(0), new_on(0)
    where = [crosskey.like("name", "A%"), crosskey.any_of(crosskey.gt("score", 5), crosskey.contains("tags", ["x"]))]
    with client.watch({"people": where, "pairs": None}, where=crosskey.eq("b", "wanted")) as watch:
        client.insert("people", [{"id": number, "name": "Ada", "score": 4}, {"id": other, "name": "Bob", "score": 9}])
        client.update("people", {"score": 6}, key={"id": number})
        client.update("people", {"name": "Bob"}, key={"id": number})
        client.update("people", {"name": "Cy"}, key={"id": number})
        client.update("people", {"name": "Al", "score": 0, "tags": ["y", "x"]}, key={"id": number})
        client.insert("pairs", [{"a": number, "b": "unwanted"}, {"a": number, "b": "wanted"}])
        told = take(watch, 4)
    assert [(one.after or {}).get("name") for one in told] == ["Ada", "Bob", "Al", None]
    assert told[-1].after == {"a": str(number), "b": "wanted"}


def test_a_stream_goes_on_behind_its_token(client: crosskey.Client) -> None:
    numbers = [new_on(0), new_on(1)]
    with client.watch("people") as watch:
        begin = watch.token
        client.insert("people", [{"id": number} for number in numbers])
        [first] = take(watch, 1)
        token = watch.token
    client.update("people", {"name": "late"}, where=[crosskey.in_("id", numbers)])
    with client.watch("people", after=token) as watch:
        rest = []
        for event in watch:
            rest.append(event)
            if sum(one.type == "update" for one in rest) == 2:
                break
    assert {one.key for one in [first, *rest] if one.type == "insert"} == {str(number) for number in numbers}
    with client.watch("people", after=begin) as watch:
        again = take(watch, 4)
    assert {one.id for one in again} == {one.id for one in [first, *rest]}


def test_a_row_is_told_of_in_order_though_the_transaction_of_the_later_change_is_older(
    cluster: LocalCluster, client: crosskey.Client
) -> None:
    row, other, third = new_on(0), new_on(0), new_on(0)
    client.insert("people", [{"id": number, "name": "0"} for number in (row, other, third)])
    rename = "UPDATE people SET name = %s WHERE id = %s"
    with client.watch({"people": crosskey.eq("id", row)}) as watch:
        with as_node(cluster, 0) as oldest, as_node(cluster, 0) as open_one, as_node(cluster, 0) as youngest:
            oldest.execute("BEGIN")
            oldest.execute(rename, ("1", other))
            open_one.execute("BEGIN")
            open_one.execute(rename, ("1", third))
            youngest.execute(rename, ("1", row))
            oldest.execute(rename, ("2", row))
            oldest.execute("COMMIT")
            # The stream must not pass what is open, whatever it is about.
            marks = itertools.islice(watch.with_resolved(), 3)
            assert all(isinstance(one, crosskey.Resolved) for one in marks)
            open_one.execute("COMMIT")
        told = take(watch, 2)
    assert [(one.before["name"], one.after["name"]) for one in told if one.before and one.after] == [
        ("0", "1"),
        ("1", "2"),
    ]
    assert told[0].transaction > told[1].transaction


def test_events_of_a_row_are_a_chain_however_many_write_it(cluster: LocalCluster) -> None:
    rows = [new_on(0), new_on(1), new_on(0)]
    writers, rounds = 4, 15
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            with crosskey.Client(cluster.address) as client:
                for turn in range(rounds):
                    changes = [
                        crosskey.update("people", {"name": f"{writer}.{turn}"}, key={"id": row})
                        for row in sorted(rows)[writer % 2 :]
                    ]
                    client.transact(changes)
        except BaseException as error:
            failures.append(error)

    with crosskey.Client(cluster.address) as client:
        client.insert("people", [{"id": row, "name": "begin"} for row in rows])
        with client.watch("people") as watch:
            threads = [threading.Thread(target=write, args=(writer,)) for writer in range(writers)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not failures
            told = take(watch, sum(len(rows[writer % 2 :]) for writer in range(writers)) * rounds)
    names: defaultdict[str, list[str]] = defaultdict(lambda: ["begin"])
    for event in told:
        assert event.before is not None
        assert event.after is not None
        assert event.before["name"] == names[event.key][-1]
        names[event.key].append(event.after["name"])
    assert names.keys() == {str(row) for row in rows}


@pytest.mark.parametrize("outcome", ["COMMIT", "ROLLBACK"])
def test_what_is_prepared_holds_back_later_events_of_its_shard(
    cluster: LocalCluster, client: crosskey.Client, outcome: str
) -> None:
    first, second, elsewhere = new_on(0), new_on(0), new_on(1)
    with client.watch("people", resolved_interval=0.05) as watch, as_node(cluster, 0) as connection:
        connection.execute("BEGIN")
        connection.execute("INSERT INTO people (id) VALUES (%s)", (first,))
        connection.execute("PREPARE TRANSACTION 'test of events'")
        client.insert("people", {"id": second})
        client.insert("people", {"id": elsewhere})
        stream = watch.with_resolved()
        assert next(one for one in stream if isinstance(one, crosskey.Event)).key == str(elsewhere)
        assert not any(isinstance(next(stream), crosskey.Event) for _ in range(10))
        connection.execute(f"{outcome} PREPARED 'test of events'")
        expected = [first, second] if outcome == "COMMIT" else [second]
        assert [one.key for one in take(watch, len(expected))] == [str(number) for number in expected]


def test_a_row_that_moved_is_told_of_in_order_though_its_new_shard_is_ahead(
    cluster: LocalCluster, client: crosskey.Client
) -> None:
    here, other, there = new_on(0), new_on(0), new_on(1)
    client.insert("people", [{"id": here, "name": "0"}, {"id": other}])
    with client.watch("people", resolved_interval=0.05) as watch:
        with as_node(cluster, 0) as connection:
            connection.execute("BEGIN")
            connection.execute("UPDATE people SET name = 'open' WHERE id = %s", (other,))
            client.update("people", {"id": there}, key={"id": here})
            client.update("people", {"name": "1"}, key={"id": there})
            marks = itertools.islice(watch.with_resolved(), 10)
            assert all(isinstance(one, crosskey.Resolved) for one in marks)
            connection.execute("ROLLBACK")
        client.update("people", {"id": here}, key={"id": there})
        client.update("people", {"name": "2"}, key={"id": here})
        told = take(watch, 4)
    rows = [one.after for one in told if one.after is not None]
    assert [(one.shard, one.key) for one in told] == [(0, str(there)), (1, str(there)), (1, str(here)), (0, str(here))]
    assert [one.before for one in told[1:]] == rows[:3]


def test_a_mark_says_that_all_before_it_has_come(client: crosskey.Client) -> None:
    number = new_on(0)
    with client.watch("people", resolved_interval=0.02) as watch:
        client.insert("people", {"id": number})
        [event] = take(watch, 1)
        for one in watch.with_resolved():
            assert isinstance(one, crosskey.Resolved)
            if one.time is not None and one.time > event.time:
                break


def test_rolled_back_changes_are_not_told(client: crosskey.Client) -> None:
    number, last = new_on(0), new_on(0)
    with client.watch("people") as watch:
        with pytest.raises(crosskey.UniqueViolation):
            client.transact([crosskey.insert("people", {"id": number}), crosskey.insert("people", {"id": number})])
        client.insert("people", {"id": last})
        assert [one.key for one in take(watch, 1)] == [str(last)]


async def test_the_client_for_asyncio(cluster: LocalCluster) -> None:
    number = new_on(1)
    async with crosskey.AsyncClient(cluster.address) as client:
        async with client.watch("people") as watch:
            await client.insert("people", {"id": number, "name": "Ada"})
            async for event in watch:
                assert event.after is not None
                assert event.after["name"] == "Ada"
                break
            token = watch.token
        await client.delete("people", key={"id": number})
        again = client.watch("people", after=token)
        async for event in again:
            if event.type == "delete":
                break
        again.close()


def test_rows_as_structs(cluster: LocalCluster, client: crosskey.Client) -> None:
    number = new_on(0)
    with grpc.insecure_channel(cluster.address) as channel:
        request = router_pb2.WatchRequest(tables=[router_pb2.WatchRequest.Table(table="people")])
        call = RouterStub(channel).Watch(request)
        next(call)
        client.insert("people", {"id": number, "more": {"deep": [1, None]}})
        [event] = next(response.events for response in call if response.events)
        call.cancel()
    assert event.after["id"] == str(number)
    assert struct_to_dict(event.after)["more"] == {"deep": [1, None]}
    assert not event.after_json
    assert not event.HasField("before")


def test_many_large_events_come_in_several_answers(client: crosskey.Client) -> None:
    numbers = [new_on(0) for _ in range(60)]
    with client.watch("people") as watch:
        for start in range(0, len(numbers), 20):
            rows = [{"id": number, "name": "x" * 100_000} for number in numbers[start : start + 20]]
            client.insert("people", rows, count_only=True)
        told = take(watch, len(numbers))
    assert [one.key for one in told] == [str(number) for number in numbers]


def test_a_router_that_stops_says_so_and_another_one_goes_on(cluster: LocalCluster, tmp_path: Path) -> None:
    number = new_on(0)
    with extra_router(cluster, tmp_path) as router, crosskey.Client(router.address) as client:
        router.wait_until_serving()
        watch = client.watch("people")
        client.insert("people", {"id": number})
        take(watch, 1)
        router.send_signal(signal.SIGTERM)
        with pytest.raises(crosskey.ShardUnavailable, match="about to stop") as raised:
            take(watch, 1)
        assert raised.value.retryable
    with crosskey.Client(cluster.address) as client, client.watch("people", after=watch.token) as again:
        client.update("people", {"name": "later"}, key={"id": number})
        assert [one.type for one in again_until(again, "update")][-1] == "update"


async def test_a_position_that_another_process_has_just_given_out_is_none_of_a_time_that_was_undone(
    cluster: LocalCluster, client: crosskey.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So its last look is older than the position.
    monkeypatch.setattr(feed, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(feed, "FIRST_LOOK_SECONDS", 10.0)
    database = Database(cluster.databases[0].dsn, pool_size=2, pool_queue=10, lock_timeout_ms=1000)
    await database.open()
    ours = feed.EventFeed(database)
    try:
        begin = (await ours.now(10)).position
        assert begin is not None
        client.insert("people", {"id": new_on(0)})
        with as_node(cluster, 0) as connection:
            [(drawn,)] = connection.execute("SELECT last_value FROM crosskey.event_position_seq").fetchall()
        assert (await ours.read(drawn, Bounds(1, 1), 0)).position == drawn
        with pytest.raises(crosskey.EventsGone):
            await ours.read(drawn + 1000, Bounds(1, 1), 0)
    finally:
        await ours.close()
        await database.close()


def test_what_waits_for_another_shard_comes_however_rarely_marks_do(
    cluster: LocalCluster, client: crosskey.Client
) -> None:
    number = new_on(1)
    note = """
    INSERT INTO crosskey.event (aggregatetype, aggregateid, type, payload)
    VALUES ('people', '', 'arrival', json_build_object('shard', 0, 'through', %s::bigint))
    """
    with client.watch("people", resolved_interval=3600) as watch:
        # Drawn by whoever has rolled back: so shard 0 has nothing to tell, but how far it is.
        with as_node(cluster, 0) as connection:
            [(through,)] = connection.execute("SELECT nextval('crosskey.event_position_seq')").fetchall()
        with as_node(cluster, 1) as connection:
            connection.execute(note, (through,))
        client.insert("people", {"id": number})
        assert [one.key for one in take(watch, 1)] == [str(number)]


def again_until(watch: crosskey.Watch, kind: str) -> list[crosskey.Event]:
    told = []
    for event in watch:
        told.append(event)
        if event.type == kind:
            break
    return told


def _table(name: str, *where: rows_pb2.Predicate) -> router_pb2.WatchRequest.Table:
    return router_pb2.WatchRequest.Table(table=name, where=where)


_RELATED = rows_pb2.Predicate(related=rows_pb2.Predicate.Related(relation="friend"))
REFUSED: dict[str, tuple[router_pb2.WatchRequest, type[crosskey.CrosskeyError], str]] = {
    "no tables": (router_pb2.WatchRequest(), crosskey.InvalidRequest, "at least one table"),
    "unknown": (router_pb2.WatchRequest(tables=[_table("peple")]), crosskey.UnknownTable, '"peple" does not exist'),
    "silent": (router_pb2.WatchRequest(tables=[_table("silent")]), crosskey.InvalidRequest, "not told as events"),
    "twice": (
        router_pb2.WatchRequest(tables=[_table("people"), _table("public.people")]),
        crosskey.InvalidRequest,
        "a Watch names a table once",
    ),
    "text": (
        router_pb2.WatchRequest(tables=[_table("people")], row_form=rows_pb2.ROW_FORM_TEXT),
        crosskey.InvalidRequest,
        "row_form takes no other form",
    ),
    "relation": (
        router_pb2.WatchRequest(tables=[_table("people", _RELATED)]),
        crosskey.InvalidRequest,
        "cannot be watched",
    ),
    "unknown column": (
        router_pb2.WatchRequest(tables=[_table("people", crosskey.eq("nme", 1))]),
        crosskey.UnknownColumn,
        '"nme" does not exist',
    ),
    "bad value": (
        router_pb2.WatchRequest(tables=[_table("people", crosskey.eq("born", "never"))]),
        crosskey.InvalidValue,
        "invalid input syntax",
    ),
    "no such operator": (
        router_pb2.WatchRequest(tables=[_table("people", crosskey.like("score", "1%"))]),
        crosskey.InvalidValue,
        "operator does not exist",
    ),
    "no token": (
        router_pb2.WatchRequest(tables=[_table("people")], resume_token="AAAA"),
        crosskey.InvalidPageToken,
        "resume token is damaged",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_requests(cluster: LocalCluster, case: str) -> None:
    request, kind, message = REFUSED[case]
    with grpc.insecure_channel(cluster.address) as channel, pytest.raises(grpc.RpcError) as raised:
        next(RouterStub(channel).Watch(request))
    error = crosskey.errors.from_rpc_error(raised.value)
    assert isinstance(error, kind), error
    assert message in str(error)


def test_tokens_of_pages_and_changed_tokens_are_refused(client: crosskey.Client) -> None:
    client.insert("people", [{"id": new_on(0)}, {"id": new_on(0)}])
    page = client.list_page("people", page_size=1)
    with client.watch("people") as watch:
        token: Any = watch.token
    for forged in (page.next_page_token, token[:-4] + "AAAA", token[4:], token + "é"):
        with pytest.raises(crosskey.InvalidPageToken, match="resume token"):
            client.watch("people", after=forged)


def test_a_token_of_a_time_that_was_undone_is_refused(cluster: LocalCluster, client: crosskey.Client) -> None:
    client.insert("people", {"id": new_on(0)})
    with client.watch("people") as watch:
        client.insert("people", {"id": new_on(0)})
        take(watch, 1)
        token = watch.token
    with as_node(cluster, 0) as connection:
        [(drawn,)] = connection.execute("SELECT last_value FROM crosskey.event_position_seq").fetchall()
        connection.execute(psycopg.sql.SQL("SELECT setval('crosskey.event_position_seq', 1)"))
        try:
            with pytest.raises(crosskey.EventsGone, match="restored"):
                take(client.watch("people", after=token), 1)
        finally:
            connection.execute("SELECT setval('crosskey.event_position_seq', %s)", (drawn,))
