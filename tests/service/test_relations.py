"""Relations: names, what is asked where, what is refused, and answers that are whole while rows go."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import grpc
import pytest
from click.testing import CliRunner

import crosskey
from crosskey import Client, InvalidPageToken, InvalidRequest, RowNotFound, UnknownColumn
from crosskey.catalog.slots import mint_uuid
from crosskey.cli import data
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.v1.router_pb2 import StreamListRequest
from crosskey.v1.rows_pb2 import ROW_FORM_JSON, Predicate
from tests.docs.examples import ROOT
from tests.eventually import eventually
from tests.fresh_cluster import FreshClusters
from tests.running_cluster import RunningCluster
from tests.shard_sql import wait_for_waiters

SHARDS = 3
RACE_SECONDS = float(os.environ.get("CROSSKEY_SOAK_SECONDS", "3"))
MORE = """
CREATE TABLE branches (id bigint PRIMARY KEY, trunk_id bigint REFERENCES branches ON DELETE CASCADE, users text);
COMMENT ON TABLE branches IS '@shard_by id';
CREATE TABLE numbers (id bigint PRIMARY KEY, amount numeric, at timestamptz, owner_id uuid REFERENCES users);
COMMENT ON TABLE numbers IS '@shard_by id';
COMMENT ON CONSTRAINT numbers_owner_id_fkey ON numbers IS '@inverse owned';
CREATE TABLE likes (user_id uuid REFERENCES users, number_id int8 REFERENCES numbers, PRIMARY KEY (user_id, number_id));
COMMENT ON TABLE likes IS '@shard_by user_id';
CREATE TABLE marks (
    user_id uuid REFERENCES users, number_id int8 NOT NULL REFERENCES numbers, UNIQUE (user_id, number_id)
);
COMMENT ON TABLE marks IS '@shard_by number_id';
"""

Row = dict[str, Any]


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    schema = (ROOT / "examples" / "messenger" / "schema.sql").read_text(encoding="utf-8")
    return fresh_cluster(schema + MORE)


@pytest.fixture(scope="module")
def client(cluster: LocalCluster) -> Iterator[Client]:
    with Client(cluster.address) as client:
        client.insert("languages", {"code": "fr", "name": "French"})
        yield client


@pytest.fixture(scope="module")
def running(cluster: LocalCluster, client: Client) -> RunningCluster:
    return RunningCluster(cluster, client)


@pytest.fixture
def users(client: Client) -> list[Row]:
    """Two new users for each shard, in order of the shards, as they are now."""
    rows = [{"id": str(mint_uuid(shard)), "name": f"user{shard}"} for shard in range(SHARDS) for _ in range(2)]
    return client.insert("users", rows)


def test_three_levels_over_many_rows_take_one_call_a_level_and_shard(
    running: RunningCluster, client: Client, users: list[Row]
) -> None:
    reader = users[0]
    senders = users[2:]
    client.insert("profiles", [{"user_id": one["id"], "bio": one["name"]} for one in senders])
    client.insert(
        "messages",
        [
            {"recipient_id": reader["id"], "sender_id": senders[number % 4]["id"], "content": str(number)}
            for number in range(100)
        ],
    )
    include = {"sender": {"include": {"profiles": {}, "sent_messages": {"limit": 2}}}}
    request = crosskey.list_rows("messages", {"recipient_id": reader["id"]}, include=include)
    calls = running.node_calls(request)
    assert sorted(calls) == sorted(
        [
            "s0 ShardNode.Read",
            *(f"s{shard} ShardNode.ReadLinked" for shard in (1, 2)),  # the senders
            *(f"s{shard} ShardNode.ReadLinked" for shard in (1, 2)),  # their profiles
            "s0 ShardNode.ReadLinked",  # what they sent: one shard holds pins on all of them
        ]
    )
    [row, *_] = client.list_page(
        "messages", {"recipient_id": reader["id"]}, include={"recipient": {"include": ["profiles"]}}
    ).rows
    assert row["recipient"] == {**reader, "profiles": None}


def test_only_shards_with_pins_are_asked_for_children(
    running: RunningCluster, client: Client, users: list[Row]
) -> None:
    sender = users[4]
    client.insert("messages", {"recipient_id": users[0]["id"], "sender_id": sender["id"], "content": "hello"})
    # What has just been acknowledged is there, also where the pin is still prepared: then all shards are asked.
    assert len(client.get("users", id=sender["id"], include=["sent_messages"])["sent_messages"]) == 1
    request = crosskey.get("users", {"id": sender["id"]}, include="sent_messages")

    few = ["s2 ShardNode.Read", "s0 ShardNode.ReadLinked"]
    eventually(lambda: running.node_calls(request) == few, "only the shard with a pin is asked")


def test_a_new_reference_is_seen_at_once(client: Client, users: list[Row]) -> None:
    for sender in users:
        for recipient in users:
            client.insert("messages", {"recipient_id": recipient["id"], "sender_id": sender["id"], "content": "x"})
            got = client.get("users", id=sender["id"], include={"sent_messages": {"count": True}})
            assert recipient["id"] in [message["recipient_id"] for message in got["sent_messages"]]
            assert got["crosskey_counts"]["sent_messages"] == len(got["sent_messages"])


def test_what_typed_clients_read(cluster: LocalCluster, client: Client, users: list[Row]) -> None:
    client.insert("numbers", {"id": 1, "amount": "1.50", "at": "2026-01-02T03:04:05Z", "owner_id": users[3]["id"]})
    client.insert("likes", {"user_id": users[1]["id"], "number_id": 1})
    with Client(cluster.address, typed=True) as typed:
        row = typed.get("users", id=users[3]["id"], columns=["id"], include={"owned": {"columns": ["amount", "id"]}})
        assert row["id"] == UUID(users[3]["id"])
        [number] = row["owned"]
        assert (str(number["amount"]), number["id"]) == ("1.50", 1)
        assert typed.get("numbers", id=1, include=["owner"])["owner"]["id"] == UUID(users[3]["id"])
        assert typed.get("languages", code="fr", include={"users": {"count": "only"}})["crosskey_counts"]["users"] > 0
    client.delete("likes", where={"number_id": 1})
    client.delete("numbers", key={"id": 1})


def test_columns(client: Client, users: list[Row]) -> None:
    assert client.get("users", id=users[0]["id"], columns=["name", "id", "name"]) == {
        "name": "user0",
        "id": users[0]["id"],
    }
    assert {"name": "user1"} in list(client.list("users", columns=["name"], page_size=2))
    with pytest.raises(UnknownColumn, match='column "colour" does not exist'):
        client.get("users", id=users[0]["id"], columns=["colour"])


def test_columns_of_what_is_written(client: Client) -> None:
    rows = [{"id": number, "amount": "1.0", "at": "2026-01-01"} for number in (11, 12)]
    assert client.insert("numbers", rows, columns=["amount"]) == [{"amount": "1.0"}] * 2
    upserted = client.insert("numbers", rows[0], on_conflict=crosskey.do_update("amount", on="id"), columns=["id"])
    assert (upserted, upserted.outcomes) == ([{"id": "11"}], ["UPDATED"])
    assert client.insert("languages", {"code": "is", "name": "Icelandic"}, columns=["name"]) == [{"name": "Icelandic"}]
    assert client.update("numbers", {"amount": "2"}, key={"id": 12}, columns=["amount", "id"]) == [
        {"amount": "2", "id": "12"}
    ]
    with pytest.raises(UnknownColumn, match='column "colour" of relation "numbers" does not exist'):
        client.insert("numbers", {"id": 13}, columns=["colour"])
    client.delete("numbers", where=crosskey.in_("id", [11, 12]))
    client.delete("languages", key={"code": "is"})


def test_what_the_command_prints(cluster: LocalCluster, client: Client, users: list[Row]) -> None:
    client.insert("messages", {"recipient_id": users[0]["id"], "sender_id": users[5]["id"], "content": "hello"})
    key = json.dumps({"id": users[0]["id"]})
    options = ["--column", "name", "--include", "inbox.sender", "--include", "profiles", "--router", cluster.address]
    printed = CliRunner().invoke(data.get, ["users", key, *options])
    row = json.loads(printed.stdout)
    assert row.keys() == {"name", "inbox", "profiles"}
    assert row["inbox"][0]["sender"] == users[5]
    printed = CliRunner().invoke(data.list_rows, ["users", "--where", key, *options])
    assert json.loads(printed.stdout) == row


def test_a_stream_has_the_pages_of_lists(running: RunningCluster, client: Client, users: list[Row]) -> None:
    where = [crosskey.in_("id", [user["id"] for user in users])]
    request = crosskey.list_rows("users", where, crosskey.desc("name"), 4, columns=["id"], include=["profiles"])
    request.row_form = ROW_FORM_JSON
    pages = list(running.calls.router.StreamList(StreamListRequest(list=request)))
    assert [len(json.loads(page.rows_json)) for page in pages] == [4, 2]
    streamed = [row for page in pages for row in json.loads(page.rows_json)]
    assert streamed == list(client.list("users", where, crosskey.desc("name"), columns=["id"], include=["profiles"]))
    request.page_token = pages[0].next_page_token
    assert [page.rows_json for page in running.calls.router.StreamList(StreamListRequest(list=request))] == [
        pages[1].rows_json
    ]
    request.table = "nothing"
    with pytest.raises(grpc.RpcError, match='relation "nothing" does not exist'):
        list(running.calls.router.StreamList(StreamListRequest(list=request)))


def test_names_that_stand_for_nothing(client: Client, users: list[Row]) -> None:
    key = {"id": users[0]["id"]}
    with pytest.raises(InvalidRequest, match='"users" has no relation "friends"; its relations are "accounts", '):
        client.get("users", key, include=["friends"])
    with pytest.raises(InvalidRequest, match=r'"numbers" names no relation of "users": it is ambiguous .* @through'):
        client.get("users", key, include=["numbers"])
    ambiguous = {(one.table, one.name) for one in client.describe_schema().relations if one.ambiguity}
    assert ambiguous == {("users", "numbers"), ("numbers", "users")}


def nested(depth: int) -> Predicate:
    """A condition inside of so many others."""
    return crosskey.eq("content", "x") if depth == 0 else crosskey.none_of(nested(depth - 1))


def test_predicates_that_are_nested_deep(client: Client, users: list[Row]) -> None:
    row = {"recipient_id": users[0]["id"], "sender_id": users[1]["id"], "content": "x"}
    client.insert("messages", row)
    assert client.count("messages", [crosskey.all_of({"recipient_id": users[0]["id"]}, nested(19))]) == 0
    assert client.count("messages", [crosskey.all_of({"recipient_id": users[0]["id"]}, nested(18))]) == 1


@pytest.mark.parametrize(
    ("include", "why"),
    [
        ("profiles.user.profiles.user.profiles.user.profiles", "includes nest at most 6 deep"),
        ({"profiles": {"limit": 1}}, "leads to one row at most"),
        ({"profiles": {"count": True}}, "leads to one row at most"),
        ({"inbox": {"count": "only", "include": ["sender"]}}, "a count alone has no pages"),
        ({"inbox": {"where": [nested(21)]}}, "predicates nest at most 20 deep"),
        ({"inbox": {"limit": -1}}, "limit must not be negative, it is -1"),
        ({"inbox": {"include": {"sender": {"include": {"inbox": {"page_token": "x"}}}}}}, "goes on for one row"),
        ({"inbox": {"where": [crosskey.some("nobody")]}}, 'has no relation "nobody"'),
        ({"inbox": {"where": [Predicate(column="content", any_of=[crosskey.eq("content", "")])]}}, "one of"),
    ],
)
def test_includes_that_are_refused(client: Client, users: list[Row], include: Any, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        client.get("users", id=users[0]["id"], include=include)


def test_a_relation_is_included_once(client: Client, users: list[Row]) -> None:
    request = crosskey.get("users", {"id": users[0]["id"]}, include=["inbox"])
    request.include.add(relation="inbox")
    with pytest.raises(InvalidRequest, match='the relation "inbox" is included twice'):
        client.explain(request)


def test_a_page_token_is_of_one_row(client: Client, users: list[Row]) -> None:
    one, other = users[0]["id"], users[1]["id"]
    client.insert(
        "messages", [{"recipient_id": one, "sender_id": other, "content": str(number)} for number in range(3)]
    )
    token = client.get("users", id=one, include={"inbox": {"limit": 2}})["crosskey_next"]["inbox"]
    assert len(client.get("users", id=one, include={"inbox": {"limit": 2, "page_token": token}})["inbox"]) == 1
    with pytest.raises(InvalidPageToken):
        client.get("users", id=other, include={"inbox": {"page_token": token}})
    with pytest.raises(InvalidPageToken):
        client.get("users", id=one, include={"inbox": {"page_token": token, "order_by": "content"}})


def test_too_much_is_refused(client: Client, users: list[Row]) -> None:
    one, other = users[0]["id"], users[1]["id"]
    large = [{"recipient_id": one, "sender_id": other, "content": "x" * 1_000_000} for _ in range(11)]
    for row in large:
        client.insert("messages", row, count_only=True)
    with pytest.raises(crosskey.AnswerTooLarge, match="10 MiB"):
        client.get("users", id=one, include=["inbox"])
    assert len(client.get("users", id=one, include={"inbox": {"columns": ["id"]}})["inbox"]) == 11
    client.delete("messages", where={"recipient_id": one})


def test_writes_take_trees(client: Client, users: list[Row]) -> None:
    ids = crosskey.in_("id", [user["id"] for user in users])
    names = crosskey.any_of({"name": "user0"}, crosskey.like("name", "%1"))
    assert client.update("users", {"name": "other"}, where=[ids, names]).affected == 4


def test_writes_take_conditions_over_relations(client: Client, users: list[Row]) -> None:
    one, other, third, *_ = users
    ids = crosskey.in_("id", [user["id"] for user in users])
    sent = {"recipient_id": one["id"], "sender_id": other["id"], "content": "hello"}
    client.insert("messages", [sent, {**sent, "sender_id": third["id"]}])
    from_other = crosskey.some("sender", {"id": other["id"]})
    updated = client.update(
        "messages", {"content": "changed"}, where=[from_other], include={"sender": {"columns": ["id"]}}
    )
    assert [row["sender"] for row in updated] == [{"id": other["id"]}]
    assert (
        client.delete("users", where=[ids, crosskey.none("inbox"), crosskey.none_of(crosskey.some("sent_messages"))])
        == 3
    )
    assert client.delete("messages", where=[crosskey.some("recipient", {"id": one["id"]})]) == 2
    with pytest.raises(InvalidRequest, match='"messages" has no relation "author"'):
        client.delete("messages", where=[crosskey.some("author")])
    explanation = client.explain(crosskey.delete("messages", where=[from_other]))
    assert explanation.route == "distributed"
    assert any("ShardNode.ReadKeys" in note for note in explanation.notes)
    assert any("looked up once more" in note for note in explanation.notes)


def test_a_write_does_not_mix_two_moments(cluster: LocalCluster, client: Client, users: list[Row]) -> None:
    """A sender gets another name, in one transaction with the message, between look-up and write."""
    one, other, *_ = users
    key = {"recipient_id": one["id"], "sender_id": other["id"], "content": "hello"}
    [message] = client.insert("messages", key)
    named = crosskey.some("sender", {"id": other["id"], "name": other["name"]})
    affected: list[int] = []
    with client.transaction() as tx:
        tx.update("messages", {"content": "locked"}, key={"id": message["id"]})
        tx.update("users", {"name": "renamed"}, key={"id": other["id"]})
        thread = threading.Thread(
            target=lambda: affected.append(client.update("messages", {"content": "wrong"}, where=[named]).affected)
        )
        thread.start()
        wait_for_waiters(cluster, 0)
    thread.join()
    assert affected == [0]
    assert client.get("messages", id=message["id"])["content"] == "locked"


@pytest.mark.searches
def test_no_child_is_answered_without_its_parent(cluster: LocalCluster, client: Client) -> None:
    """Trunks go with their branches while branches are read, on other shards than their trunks, and on the same."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def write(first: int) -> None:
        try:
            with Client(cluster.address) as own:
                while not stop.is_set():
                    own.insert("branches", [{"id": first + number} for number in range(5)])
                    own.insert("branches", [{"id": first + 50 + n, "trunk_id": first + n % 5} for n in range(10)])
                    for number in range(5):
                        own.delete("branches", key={"id": first + number})
        except BaseException as error:
            failures.append(error)

    writers = [threading.Thread(target=write, args=(first,)) for first in (100, 200, 300)]
    for writer in writers:
        writer.start()
    seen = 0
    deadline = time.monotonic() + RACE_SECONDS
    while time.monotonic() < deadline and not failures:
        for row in client.list("branches", crosskey.is_null("trunk_id", False), include=["trunk"]):
            seen += 1
            assert row["trunk"] is not None, row
            assert row["trunk"]["id"] == row["trunk_id"]
    stop.set()
    for writer in writers:
        writer.join()
    assert not failures
    assert seen


def test_a_row_whose_parent_is_gone_is_not_found(client: Client) -> None:
    client.insert("branches", [{"id": 1}])
    client.insert("branches", [{"id": 2, "trunk_id": 1}])
    client.delete("branches", key={"id": 1})
    with pytest.raises(RowNotFound):
        client.get("branches", id=2, include=["trunk"])
