"""What is in the outboxes of a cluster's shards once something was committed, or was not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import grpc
import grpc.aio
import pytest

import crosskey
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.v1 import router_pb2
from crosskey.v1.router_pb2_grpc import RouterStub
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on
from tests.shard_sql import query

SHARDS = 2
SCHEMA = """
CREATE TABLE people (id bigint PRIMARY KEY, name text, "now" int GENERATED ALWAYS AS (length(name)) STORED);
COMMENT ON TABLE people IS E'@shard_by id\\n@events';

CREATE TABLE likes (
    id bigint, person bigint REFERENCES people ON DELETE CASCADE ON UPDATE CASCADE, "100%" text,
    PRIMARY KEY (id, "100%")
);
COMMENT ON TABLE likes IS E'@shard_by id\\n@events';

CREATE TABLE colors (name text PRIMARY KEY, code int);
COMMENT ON TABLE colors IS E'@reference\\n@events';

CREATE TABLE silent (id bigint PRIMARY KEY);
COMMENT ON TABLE silent IS '@shard_by id';

CREATE TABLE restless (id bigint PRIMARY KEY, steps int NOT NULL DEFAULT 0);
COMMENT ON TABLE restless IS E'@shard_by id\\n@events';
CREATE FUNCTION step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN UPDATE restless SET steps = steps + 1 WHERE id = NEW.id AND steps < 2; RETURN NULL; END $$;
CREATE TRIGGER step AFTER INSERT OR UPDATE ON restless FOR EACH ROW EXECUTE FUNCTION step();
"""


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    return fresh_cluster(SCHEMA, shards=SHARDS)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[crosskey.Client]:
    with crosskey.Client(cluster.address) as client:
        yield client


@pytest.fixture(autouse=True)
def _nothing_is_there(cluster: LocalCluster, client: crosskey.Client) -> None:
    for table in ("likes", "people", "colors", "restless"):
        client.delete(table, where=[crosskey.is_null("id" if table != "colors" else "name", False)])
    forget(cluster)


def forget(cluster: LocalCluster) -> None:
    for shard in range(SHARDS):
        query(cluster, shard, "DELETE FROM crosskey.event")


def outbox(cluster: LocalCluster, shard: int) -> list[tuple[str, str, str, Any, Any]]:
    """Table, key, type, before and after of all events, in order."""
    events = "SELECT aggregatetype, aggregateid, type, payload FROM crosskey.event WHERE type <> 'arrival'"
    rows = query(cluster, shard, f"{events} ORDER BY position")
    return [(table, key, kind, payload["before"], payload["after"]) for table, key, kind, payload in rows]


def on(shard: int, count: int = 1) -> list[int]:
    numbers = numbers_on(shard, SHARDS)
    return [next(numbers) for _ in range(count)]


def test_each_change_is_one_event_with_both_images(cluster: LocalCluster, client: crosskey.Client) -> None:
    first, second = on(0, 2)
    client.insert("people", [{"id": first, "name": "Ada"}, {"id": second, "name": "Bob"}])
    client.update("people", {"name": "Eve"}, where=[crosskey.in_("id", [first, second])])
    client.delete("people", key={"id": second})
    ada, bob = ({"id": str(number), "name": name, "now": 3} for number, name in ((first, "Ada"), (second, "Bob")))
    told = outbox(cluster, 0)
    assert told[:2] == [
        ("people", str(first), "insert", None, ada),
        ("people", str(second), "insert", None, bob),
    ]
    updates = sorted(told[2:4], key=lambda event: event[1])
    assert updates == sorted(
        [
            ("people", str(first), "update", ada, ada | {"name": "Eve"}),
            ("people", str(second), "update", bob, bob | {"name": "Eve"}),
        ],
        key=lambda event: event[1],
    )
    assert told[4:] == [("people", str(second), "delete", bob | {"name": "Eve"}, None)]
    assert outbox(cluster, 1) == []


def test_what_is_refused_rolled_back_or_without_the_tag_is_no_event(
    cluster: LocalCluster, client: crosskey.Client
) -> None:
    [here], [there] = on(0), on(1)
    client.insert("silent", {"id": here})
    client.insert("people", {"id": here, "name": "Ada"})
    forget(cluster)
    with pytest.raises(crosskey.UniqueViolation):
        client.insert("people", {"id": here})
    with pytest.raises(crosskey.UniqueViolation):
        client.transact([crosskey.insert("people", {"id": there}), crosskey.insert("people", {"id": here})])
    lost = crosskey.group([crosskey.insert("people", {"id": there}), crosskey.insert("people", {"id": here})])
    client.transact([lost])
    assert outbox(cluster, 0) == outbox(cluster, 1) == []


def test_cascades_on_other_shards_are_events_there(cluster: LocalCluster, client: crosskey.Client) -> None:
    [person], [like], [new] = on(0), on(1), on(0, 2)[1:]
    client.insert("people", {"id": person, "name": "Ada"})
    client.insert("likes", {"id": like, "person": person, "100%": "x"})
    forget(cluster)
    client.update("people", {"id": new}, key={"id": person})
    client.delete("people", key={"id": new})
    before = {"id": str(like), "person": str(person), "100%": "x"}
    after = before | {"person": str(new)}
    key = json.dumps([str(like), "x"], separators=(",", ":"))
    assert [event[2] for event in outbox(cluster, 0)] == ["update", "delete"]
    assert outbox(cluster, 1) == [("likes", key, "update", before, after), ("likes", key, "delete", after, None)]


def test_a_row_that_moves_is_one_update(cluster: LocalCluster, client: crosskey.Client) -> None:
    [here], [there] = on(0), on(1)
    client.insert("people", {"id": here, "name": "Ada"})
    forget(cluster)
    client.update("people", {"id": there}, key={"id": here})
    ada = {"id": str(here), "name": "Ada", "now": 3}
    assert outbox(cluster, 0) == [("people", str(there), "update", ada, ada | {"id": str(there)})]
    assert outbox(cluster, 1) == []
    client.update("people", {"name": "Bo"}, key={"id": there})
    assert [event[2] for event in outbox(cluster, 1)] == ["update"]


def test_a_reference_table_tells_its_changes_once(cluster: LocalCluster, client: crosskey.Client) -> None:
    client.insert("colors", {"name": "red", "code": 1})
    client.update("colors", {"code": 2}, key={"name": "red"})
    client.delete("colors", key={"name": "red"})
    assert [event[2] for event in outbox(cluster, 0)] == ["insert", "update", "delete"]
    assert outbox(cluster, 1) == []


def test_an_upsert_is_the_insert_or_the_update_that_it_came_to(cluster: LocalCluster, client: crosskey.Client) -> None:
    first, second = on(0, 2)
    client.insert("people", {"id": first, "name": "Ada"})
    forget(cluster)
    rows = [{"id": first, "name": "Eve"}, {"id": second, "name": "Bob"}]
    client.insert("people", rows, on_conflict=crosskey.do_update("name", on="id"))
    client.insert("people", rows, on_conflict=crosskey.do_nothing())
    told = {(key, kind, after["name"]) for _, key, kind, _, after in outbox(cluster, 0)}
    assert told == {(str(first), "update", "Eve"), (str(second), "insert", "Bob")}
    assert len(outbox(cluster, 0)) == 2


def test_loaded_rows_are_events(cluster: LocalCluster) -> None:
    ids = [*on(0, 2), *on(1, 2)]
    lines = "".join(f"{number}\tn{number}\n" for number in ids).encode()
    request = router_pb2.LoadRequest(table="people", columns=["id", "name"], lines=lines)
    with grpc.insecure_channel(cluster.address) as channel:
        RouterStub(channel).Load(iter([request]), metadata=(("crosskey-request-id", "the load"),))
    told = outbox(cluster, 0) + outbox(cluster, 1)
    assert [(key, after["name"]) for _, key, _, _, after in told] == [(str(one), f"n{one}") for one in ids]
    ids_told = query(cluster, 0, "SELECT DISTINCT request_id FROM crosskey.event")
    assert ids_told == [("the load",)]


def test_changes_by_a_trigger_of_the_row_itself_come_in_their_order(
    cluster: LocalCluster, client: crosskey.Client
) -> None:
    [number] = on(0)
    client.insert("restless", {"id": number})
    steps = [(kind, after["steps"]) for _, _, kind, _, after in outbox(cluster, 0)]
    assert steps == [("insert", 0), ("update", 1), ("update", 2)]


def test_the_request_is_told(cluster: LocalCluster) -> None:
    [person], [like] = on(0), on(1)
    with grpc.insecure_channel(cluster.address) as channel:
        router = RouterStub(channel)

        def carry_out(name: str, method: Any, request: Any) -> None:
            method(request, metadata=(("crosskey-request-id", name),))

        carry_out("plain", router.Insert, crosskey.insert("people", {"id": person, "name": "Ada"}))
        carry_out(
            "first reference", router.Insert, crosskey.insert("likes", {"id": like, "person": person, "100%": ""})
        )
        carry_out("cascade", router.Delete, crosskey.delete("people", key={"id": person}))
    told = "SELECT aggregatetype, type, request_id FROM crosskey.event ORDER BY position"
    assert query(cluster, 0, told) == [("people", "insert", "plain"), ("people", "delete", "cascade")]
    assert query(cluster, 1, told) == [("likes", "insert", "first reference"), ("likes", "delete", "cascade")]


def test_each_statement_of_an_open_transaction_tells_its_own_request(
    cluster: LocalCluster, client: crosskey.Client
) -> None:
    first, second = on(0, 2)
    client.insert("people", [{"id": first, "name": "0"}, {"id": second, "name": "0"}])
    forget(cluster)
    answers: Any
    requests: SimpleQueue[router_pb2.SessionRequest | None] = SimpleQueue()
    with grpc.insecure_channel(cluster.address) as channel:
        answers = RouterStub(channel).Session(iter(requests.get, None))

        def ask(name: str, **call: Any) -> Any:
            requests.put(router_pb2.SessionRequest(calls=[router_pb2.Call(id=1, request_id=name, **call)]))
            [answer] = next(answers).answers
            assert not answer.HasField("failure"), answer.failure
            return answer

        transaction = ask("begin", begin=router_pb2.BeginRequest()).begin.transaction

        def rename(name: str, number: int) -> None:
            statement = router_pb2.Statement(update=crosskey.update("people", {"name": name}, key={"id": number}))
            ask(name, run_statement=router_pb2.RunStatementRequest(transaction=transaction, statement=statement))

        rename("first", first)
        rename("second", second)
        ask("group", begin_group=router_pb2.BeginGroupRequest(transaction=transaction))
        rename("undone", first)
        ask("end", end_group=router_pb2.EndGroupRequest(transaction=transaction, roll_back=True))
        rename("undone", second)
        rename("last", first)
        ask("commit", commit=router_pb2.CommitRequest(transaction=transaction))
        requests.put(None)
    told = query(cluster, 0, "SELECT payload -> 'after' ->> 'name', request_id FROM crosskey.event ORDER BY position")
    assert told == [(name, name) for name in ("first", "second", "undone", "last")]


async def test_inserts_that_share_a_statement_keep_their_own_request_ids(cluster: LocalCluster) -> None:
    ids = on(0, 20)
    requests = [crosskey.insert("people", {"id": number, "name": f"n{number}"}) for number in ids]
    calls = [router_pb2.Call(id=n, request_id=f"r{n}", insert=one) for n, one in zip(ids, requests, strict=True)]
    async with grpc.aio.insecure_channel(cluster.address) as channel:
        stream: Any = RouterStub(channel).Session()  # type: ignore[no-untyped-call,unused-ignore]
        await stream.write(router_pb2.SessionRequest(calls=calls))
        await stream.done_writing()
        answered = [answer.id async for response in stream for answer in response.answers]
    assert sorted(answered) == sorted(ids)
    told = query(cluster, 0, "SELECT aggregateid, request_id, xid::text FROM crosskey.event")
    assert sorted((int(key), name) for key, name, _ in told) == [(number, f"r{number}") for number in sorted(ids)]
    assert len({xid for _, _, xid in told}) < len(ids), "no statement was shared"


def test_truncate_is_refused(cluster: LocalCluster) -> None:
    with pytest.raises(Exception, match="TRUNCATE tells no rows"):
        query(cluster, 0, "TRUNCATE restless")


def test_the_audit_finds_nothing(client: crosskey.Client) -> None:
    assert client.audit() == []
