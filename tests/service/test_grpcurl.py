"""A caller without any of our code: grpcurl, which learns everything from the servers' reflection."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from base64 import b64decode, b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from crosskey.internal.v1 import maintenance_pb2, session_pb2
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.router.committing.gids import Gid
from crosskey.v1 import admin_pb2, router_pb2
from tests.fresh_cluster import FreshClusters
from tests.numbers_on_shards import numbers_on

GRPCURL = Path(sys.executable).with_name("grpcurl")
INFRASTRUCTURE = ["grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]

SCHEMA = """
CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL);
COMMENT ON TABLE users IS '@shard_by id';

CREATE TABLE follows (
    follower bigint REFERENCES users ON DELETE CASCADE,
    followee bigint REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (follower, followee)
);
COMMENT ON TABLE follows IS '@shard_by follower';
COMMENT ON CONSTRAINT follows_followee_fkey ON follows IS '@through followees';

CREATE TABLE mailboxes (id bigserial PRIMARY KEY, address text UNIQUE);
COMMENT ON TABLE mailboxes IS '@shard_by id';
"""
REFERENCED_KEY = "public.users(id)"
CLAIM = "public.mailboxes_address_key"
ADA, BOB = (next(numbers_on(shard, 2)) for shard in (0, 1))
"""A user on shard 0, and one on shard 1."""
EVE = next(itertools.islice(numbers_on(0, 2), 1, None))


@dataclass(frozen=True)
class Answer:
    """What grpcurl printed, and whether the call succeeded."""

    ok: bool
    printed: str

    @property
    def messages(self) -> list[Any]:
        """The answered messages."""
        assert self.ok, self.printed
        decoder, text, found = json.JSONDecoder(), self.printed.strip(), []
        while text:
            message, end = decoder.raw_decode(text)
            found.append(message)
            text = text[end:].strip()
        return found

    @property
    def message(self) -> Any:
        """The only answered message."""
        [message] = self.messages
        return message


def grpcurl(address: str, *words: str, data: str | None = None) -> Answer:
    """Runs grpcurl without a proto file."""
    body = [] if data is None else ["-d", data]
    command = [str(GRPCURL), "-plaintext", "-max-time", "20", *body, address, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return Answer(done.returncode == 0, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """Two shards without a schema, until `calls` applies one."""
    return fresh_cluster(shards=2)


class Calls:
    """Calls with JSON to the router and to the nodes, remembering which methods were called."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster = cluster
        self.called: set[str] = set()

    def router(self, method: str, **request: Any) -> Answer:
        """Calls a method such as "Router.Insert"."""
        self.called.add(method)
        return grpcurl(self._cluster.address, f"crosskey.v1.{method}", data=json.dumps(request))

    def node(self, number: int, method: str, **request: Any) -> Answer:
        """Calls a method of ShardMaintenance on a node, for its own shard if the request does not say otherwise."""
        return self._node(number, f"ShardMaintenance.{method}", **request)

    def session(self, number: int, kind: str, **request: Any) -> Any:
        """Has a node answer one call on a session, and returns the field of the answer."""
        call = {"id": "1", kind: request}
        [answer] = self._node(number, "ShardNode.Session", calls=[call]).message["answers"]
        return answer.get(kind, answer.get("failure"))

    def _node(self, number: int, method: str, **request: Any) -> Answer:
        self.called.add(method)
        address, path = self._cluster.nodes[number].address, method.replace(".", "/")
        return grpcurl(address, f"crosskey.internal.v1.{path}", data=json.dumps({"shard": number, **request}))


@pytest.fixture(scope="module")
def calls(cluster: LocalCluster) -> Calls:
    calls = Calls(cluster)
    assert calls.router("Admin.ApplySchema", sql=SCHEMA).message["changed"] is True
    return calls


def as_bytes(value: object) -> str:
    """JSON in a field of bytes, in the form that JSON has for bytes."""
    return b64encode(json.dumps(value).encode()).decode()


def from_bytes(text: str) -> Any:
    """The JSON in a field of bytes."""
    return json.loads(b64decode(text))


# Reflection.


def test_the_services_are_listed(cluster: LocalCluster) -> None:
    assert grpcurl(cluster.address, "list").printed.split() == [
        "crosskey.v1.Admin",
        "crosskey.v1.Router",
        *INFRASTRUCTURE,
    ]
    assert grpcurl(cluster.nodes[0].address, "list").printed.split() == [
        "crosskey.internal.v1.ShardMaintenance",
        "crosskey.internal.v1.ShardNode",
        *INFRASTRUCTURE,
    ]


def test_everything_can_be_described(cluster: LocalCluster) -> None:
    public = grpcurl(cluster.address, "describe").printed
    internal = grpcurl(cluster.nodes[0].address, "describe").printed
    for described, *services in (
        (public, router_pb2.DESCRIPTOR.services_by_name["Router"], admin_pb2.DESCRIPTOR.services_by_name["Admin"]),
        (
            internal,
            session_pb2.DESCRIPTOR.services_by_name["ShardNode"],
            maintenance_pb2.DESCRIPTOR.services_by_name["ShardMaintenance"],
        ),
    ):
        for service in services:
            assert f"{service.full_name} is a service" in described
            for method in service.methods:
                assert f"rpc {method.name} (" in described
    assert "Struct rows = 2;" in grpcurl(cluster.address, "describe", "crosskey.v1.InsertRequest").printed
    assert "ERROR_REASON_OVERLOADED = 19;" in grpcurl(cluster.address, "describe", "crosskey.v1.ErrorReason").printed


def test_health_is_serving(cluster: LocalCluster) -> None:
    for address, service in ((cluster.address, "crosskey.v1.Router"), (cluster.nodes[1].address, "")):
        health = grpcurl(address, "grpc.health.v1.Health/Check", data=json.dumps({"service": service}))
        assert health.message == {"status": "SERVING"}


# The public services.


def test_a_schema_is_applied_and_described(calls: Calls) -> None:
    described = calls.router("Admin.DescribeSchema").message
    assert [table["table"] for table in described["tables"]] == ["follows", "mailboxes", "users"]
    assert {key["constraint"]: key["kind"] for key in described["keys"]} == {
        "follows_followee_fkey": "cross-shard",
        "follows_follower_fkey": "local",
    }


def test_rows_go_in_and_come_out(calls: Calls) -> None:
    users = [{"id": ADA, "name": "Ada"}, {"id": str(BOB), "name": "Bob"}]
    stored = [{"id": str(ADA), "name": "Ada"}, {"id": str(BOB), "name": "Bob"}]
    assert calls.router("Router.Insert", table="users", rows=users).message == {"rows": stored}
    assert calls.router("Router.Get", table="users", key={"id": ADA}).message == {"row": stored[0]}
    listed = calls.router("Router.List", table="users", order_by=[{"column": "name", "descending": True}], page_size=1)
    assert listed.message["rows"] == stored[1:]
    assert listed.message["next_page_token"]
    where = [{"column": "name", "op": "IN", "value": ["Ada", "Eve"]}]
    assert calls.router("Router.Count", table="users", where=where).message == {"count": "1"}
    renamed = calls.router("Router.Update", table="users", key={"id": BOB}, set={"name": "Rob"})
    assert renamed.message == {"rows": [{"id": str(BOB), "name": "Rob"}]}
    statements = [
        {"insert": {"table": "follows", "rows": [{"follower": ADA, "followee": BOB}]}},
        {"update": {"table": "users", "key": {"id": BOB}, "set": {"name": "Bob"}}},
        {"delete": {"table": "users", "where": [{"column": "name", "value": "Eve"}]}},
    ]
    assert calls.router("Router.Transact", statements=statements).message == {
        "results": [
            {"insert": {"rows": [{"follower": str(ADA), "followee": str(BOB)}]}},
            {"update": {"rows": stored[1:]}},
            {"delete": {}},
        ]
    }
    explained = calls.router("Router.Explain", delete={"table": "users", "key": {"id": BOB}}).message
    assert explained["rpcs"] == ["s1 ShardNode.Run"]
    assert calls.router("Router.Delete", table="users", key={"id": BOB}).message == {"count": "1"}
    assert calls.router("Router.Count", table="follows").message == {}


def test_rows_that_conflict_are_updated_or_skipped(calls: Calls) -> None:
    rows = [{"id": ADA, "name": "Countess"}, {"id": EVE, "name": "Eve"}]
    update = {"columns": ["id"], "update": {"columns": ["name"]}}
    calls.router("Router.Insert", table="users", rows=[{"id": ADA, "name": "Ada"}], on_conflict={"nothing": {}})
    assert calls.router("Router.Insert", table="users", rows=rows, on_conflict=update).message == {
        "rows": [{"id": str(ADA), "name": "Countess"}, {"id": str(EVE), "name": "Eve"}],
        "outcomes": ["OUTCOME_UPDATED", "OUTCOME_INSERTED"],
    }
    skipped = calls.router("Router.Insert", table="users", rows=rows, on_conflict={"nothing": {}})
    assert skipped.message == {"outcomes": ["OUTCOME_SKIPPED", "OUTCOME_SKIPPED"]}
    refused = calls.router("Router.Insert", table="users", rows=rows, on_conflict={"columns": ["name"], "nothing": {}})
    assert "there is no unique or exclusion constraint matching the ON CONFLICT specification" in refused.printed
    undecided = calls.router("Router.Insert", table="users", rows=rows, on_conflict={"columns": ["id"]})
    assert "it takes nothing or update" in undecided.printed
    assert calls.router("Router.Delete", table="users", key={"id": EVE}).message == {"count": "1"}


def test_the_cluster_is_described_and_audited(calls: Calls, cluster: LocalCluster) -> None:
    topology = calls.router("Admin.DescribeTopology").message
    assert [shard["address"] for shard in topology["shards"]] == [node.address for node in cluster.nodes]
    assert calls.router("Admin.Audit").messages == []
    assert calls.router("Admin.ListInDoubt").message == {}


def test_shadows_that_nobody_references_are_dropped(calls: Calls) -> None:
    follow = {"follower": ADA, "followee": BOB}
    statements = [
        {"insert": {"table": "users", "rows": [{"id": BOB, "name": "Bob"}]}},
        {"insert": {"table": "follows", "rows": [follow]}},
        {"delete": {"table": "follows", "key": follow}},
    ]
    assert len(calls.router("Router.Transact", statements=statements).message["results"]) == 3
    assert calls.router("Admin.DropUnusedShadows").message == {"count": "1"}


ERRORS = [
    ("Router.Count", {"table": "nothing"}, "InvalidArgument", "UNKNOWN_TABLE", 'relation "nothing" does not exist'),
    ("Router.Get", {"table": "users", "key": {"id": 0}}, "NotFound", "ROW_NOT_FOUND", "has no row with the key"),
    (
        "Router.Insert",
        {"table": "follows", "rows": [{"follower": 10**9, "followee": 10**9}]},
        "FailedPrecondition",
        "FOREIGN_KEY_VIOLATION",
        'insert or update on table "follows" violates foreign key constraint',
    ),
    (
        "Router.Insert",
        {"table": "users", "rows": [{"id": 2**53, "name": "x"}]},
        "InvalidArgument",
        "NUMBER_NOT_EXACT",
        "is beyond 2^53 and may have been rounded",
    ),
    ("Admin.ApplySchema", {"sql": "CREATE"}, "InvalidArgument", "SCHEMA_REFUSED", "syntax error at end of input"),
]


@pytest.mark.parametrize(("method", "request_", "code", "reason", "message"), ERRORS, ids=[one[3] for one in ERRORS])
def test_an_error_is_printed_with_its_details(
    calls: Calls, method: str, request_: dict[str, Any], code: str, reason: str, message: str
) -> None:
    answer = calls.router(method, **request_)
    assert not answer.ok
    assert f"Code: {code}" in answer.printed
    assert message in answer.printed
    assert '"@type":"type.googleapis.com/google.rpc.ErrorInfo"' in answer.printed
    assert f'"reason":"{reason}"' in answer.printed
    assert '"domain":"crosskey"' in answer.printed


# The internal service.


def insert(table: str, row: dict[str, Any]) -> dict[str, Any]:
    """A command."""
    rows = {"columns": list(row), "rows_json": as_bytes([row])}
    return {"run": {"table": f"public.{table}", "insert": rows}}


def test_rows_of_a_node_are_written_and_read_by_hand(calls: Calls) -> None:
    where = [{"column": "id", "value_json": as_bytes(EVE)}]
    order = [{"column": "id"}]
    commands = [insert("users", {"id": EVE, "name": "Eve"}), {"commit": {}}]
    executed = calls.session(0, "run", branch=1, commands=commands, start="START_PLAIN")
    assert (executed["finished"], executed["results"][0]["count"]) == (True, "1")
    read = calls.session(0, "read", table="public.users", where=where, order_by=order, limit=5)
    assert from_bytes(read["rows_json"]) == [{"id": str(EVE), "name": "Eve"}]
    sort = calls.session(0, "sort", table="public.users", order_by=order, cursors_json=as_bytes([["2"], ["1"]]))
    assert sort == {"places": [1, 0]}
    assert calls.session(0, "count_rows", table="public.users", where=where) == {"count": "1"}
    end = {"table": "public.follows", "constraint": "follows_follower_fkey", "parent": True}
    keys = as_bytes([{"k0": "0"}, {"k0": str(EVE)}])
    linked = calls.session(0, "read_linked", table="public.users", end=end, keys_json=keys, limit=1, count=True)
    assert from_bytes(linked["rows_json"]) == [{"id": str(EVE), "name": "Eve"}]
    assert (linked["places"], linked["counts"]) == ([1], ["0", "1"])
    found = calls.session(0, "read_keys", table="public.users", where=where, columns=["id"], limit=5)
    assert from_bytes(found["keys_json"]) == [{"k0": str(EVE)}]
    counted = calls.session(0, "aggregate", table="public.users", aggregates=[{"name": "n"}], where=where, limit=5)
    assert from_bytes(counted["rows_json"]) == [{"n": "1"}]


def test_rows_are_aggregated_and_include_others(calls: Calls) -> None:
    aggregates = [{"function": "FUNCTION_MAX", "column": "name"}, {}]
    counted = calls.router("Router.Aggregate", table="users", aggregates=aggregates).message["rows"]
    assert [row.keys() for row in counted] == [{"count", "max_name"}]
    users = calls.router("Router.List", table="users", include=[{"relation": "followees"}])
    assert all("followees" in row for row in users.message["rows"])
    streamed = calls.router("Router.StreamList", list={"table": "users", "page_size": 1}).messages
    assert [row for page in streamed for row in page["rows"]] == calls.router("Router.List", table="users").message[
        "rows"
    ]


def test_a_session_answers_several_calls(calls: Calls) -> None:
    asked = [{"id": 1, "count": {"table": "users"}}, {"id": 2, "aggregate": {"table": "users", "aggregates": [{}]}}]
    said = calls.router("Router.Session", calls=asked).messages
    answers = {answer["id"]: answer for message in said for answer in message.get("answers", [])}
    assert answers["1"]["count"]["count"] == answers["2"]["aggregate"]["rows"][0]["count"]


def test_a_distributed_transaction_is_driven_by_hand(calls: Calls, cluster: LocalCluster) -> None:
    name = cluster.nodes[0].environment["CROSSKEY_CLUSTER"]
    gid = Gid.new(name, home=1)
    delete = {"run": {"table": "public.users", "delete": {"where": [{"column": "id", "value_json": as_bytes(EVE)}]}}}
    prepare = {"prepare": {"gid": gid.branch(0)}}
    participated = calls.session(0, "run", branch=1, commands=[delete, prepare])
    assert (participated["finished"], [result["count"] for result in participated["results"]]) == (True, ["1"])
    [prepared] = calls.node(0, "ListPrepared").message["transactions"]
    assert prepared["gid"] == gid.branch(0)
    assert calls.session(1, "decide", gids=[str(gid)], peek=True) == {"outcomes": ["OUTCOME_UNDECIDED"]}
    assert calls.session(1, "decide", gids=[str(gid)]) == {"outcomes": ["OUTCOME_ABORTED"]}
    assert calls.session(0, "finish_prepared", gids=[gid.branch(0)]) == {}
    assert calls.node(1, "ListDecisions").message == {}
    assert calls.session(1, "forget_decisions", gids=[str(gid)]) == {}
    assert calls.session(0, "count_rows", table="public.users") == {"count": "2"}


def test_a_node_describes_and_audits_its_shard(calls: Calls) -> None:
    described = calls.node(1, "DescribeShard").message
    assert (described["shards"], len(from_bytes(described["description_json"])["tables"])) == (2, 3)
    inspected = calls.node(1, "InspectSchema", sql="CREATE TABLE t (id int)").message
    assert from_bytes(inspected["description_json"])["tables"][0]["name"]["name"] == "t"
    audited = calls.node(1, "AuditShard").messages
    assert not [response for response in audited if "digest" not in response and "guards_here" not in response]
    key = {"referenced_key": REFERENCED_KEY, "other_shard": 1}
    assert from_bytes(calls.node(0, "ListGuards", limit=9, **key).message["keys_json"]) == []
    keys = as_bytes([{"id": BOB}])
    unguarded = calls.node(0, "FindUnguarded", keys_json=keys, **key).message
    assert from_bytes(unguarded["keys_json"]) == [{"id": BOB}]
    values = as_bytes([{"address": "ada@example.org"}])
    assert "shard" not in calls.session(0, "find_claims", claim=CLAIM, values_json=values)["claims"][0]
    drawn = calls.session(0, "draw_numbers", sequence="public.mailboxes_id_seq", needed=1, wanted=1)
    assert drawn["numbers"] == ["1"]
    computed = calls.session(0, "compute_defaults", table="public.mailboxes", columns=["id"], count=1)
    assert from_bytes(computed["rows_json"]) == [{"id": "2"}]
    unused = calls.node(0, "FindUnusedShadows", referenced_key=REFERENCED_KEY, keys_json=keys).message
    assert from_bytes(unused["keys_json"]) == []


def test_a_node_refuses_another_shards_call(calls: Calls) -> None:
    answer = calls.node(1, "ListPrepared", shard=0)
    assert "Code: FailedPrecondition" in answer.printed
    assert '"reason":"WRONG_SHARD"' in answer.printed


def test_rows_are_loaded_once(calls: Calls) -> None:
    lines = b64encode(b"700\tloaded@example.org\n").decode()
    batch = {"table": "mailboxes", "columns": ["id", "address"], "lines": lines, "load": "a load", "batch": "0"}
    assert calls.router("Router.Load", **batch).message["count"] == "1"
    assert calls.router("Router.Load", **batch).message["loaded_before"] is True
    assert calls.router("Router.ListLoadedBatches", load="a load").message["batches"][0]["batch"] == "0"
    assert calls.node(0, "ListBatches", load="a load").message["batches"][0]["batch"] == "0"
    assert calls.router("Router.FinishLoad", load="a load", tables=["mailboxes"]).ok
    assert calls.node(0, "AdvanceSequence", sequence="public.mailboxes_id_seq", past=650).ok
    assert calls.session(0, "draw_numbers", sequence="public.mailboxes_id_seq", needed=1, wanted=1) == {
        "numbers": ["701"]
    }
    assert calls.node(0, "ForgetBatches", load="a load").ok
    assert "batches" not in calls.node(0, "ListBatches", load="a load").message


def test_which_rows_a_relation_has(calls: Calls) -> None:
    people = [{"id": number, "name": "Zoe"} for number in itertools.islice(numbers_on(0, 2), 20, 22)]
    calls.router("Router.Insert", table="users", rows=people)
    one, other = ({"id": person["id"]} for person in people)
    request = {"table": "users", "key": one, "relation": "followees"}
    assert calls.router("Router.Associate", operation="APPEND", rows=[other], **request).message == {"added": "1"}
    assert calls.router("Router.Associate", operation="APPEND", rows=[other], **request).message == {"kept": "1"}
    assert calls.router("Router.Associate", operation="CLEAR", **request).message == {"removed": "1"}


def test_events(calls: Calls) -> None:
    refused = calls.router("Router.Watch", tables=[{"table": "users"}])
    assert not refused.ok
    assert "@events" in refused.printed
    assert calls.router("Admin.DescribeEvents").ok
    assert calls.node(0, "DescribeOutbox").ok
    asked = {"consumer": "search", "holder": "one", "lease_ms": 1000}
    assert calls.router("Admin.HoldPosition", **asked).message == {"held": True, "holder": "one"}
    assert calls.node(0, "HoldPosition", asked=asked).ok


def test_cleanups(calls: Calls) -> None:
    assert calls.router("Admin.ListCleanups").message == {}
    assert calls.node(0, "ListCleanups").message == {}


def test_a_migration(calls: Calls) -> None:
    migration = {"sql": "ALTER TABLE mailboxes ADD note text", "on_top": True}
    [step] = calls.router("Admin.PlanMigration", migration=migration).message["steps"]
    assert (step["phase"], step["table"]) == ("PHASE_FLIP", "public.mailboxes")
    assert not calls.router("Admin.AbortMigration").ok
    told = calls.router("Admin.ApplyMigration", migration=migration).messages
    assert told[-1]["in_force"] is True
    [entry] = calls.router("Admin.ListMigrations").message["migrations"]
    assert (entry["id"], entry["state"]) == ("1", "STATE_DONE")
    mailbox = {"address": "note@example.org", "note": "new"}
    assert calls.router("Router.Insert", table="mailboxes", rows=[mailbox]).message["rows"][0]["note"] == "new"


def test_a_node_has_its_part_in_migrations(calls: Calls) -> None:
    migration = {"sql": "CREATE INDEX ON mailboxes (address)", "on_top": True}
    planned = calls.node(1, "PlanShardMigration", migration=migration).message
    [step] = planned["steps"]
    asked = {"step": step, "epoch": planned["epoch"], "migration": "9"}
    assert calls.node(1, "RunMigrationStep", **asked).ok
    assert calls.node(1, "RunMigrationStep", **asked, undo=True).ok
    assert calls.node(1, "ListUnvalidated").message == {}
    assert [entry["description"]["id"] for entry in calls.node(0, "ReadJournal", limit=9).message["entries"]] == ["1"]
    late = calls.node(0, "NoteMigration", id="1", state="STATE_DONE")
    assert "migration 1 is not where it was" in late.printed


def test_every_method_was_called(calls: Calls) -> None:
    services = [
        *router_pb2.DESCRIPTOR.services_by_name.values(),
        *admin_pb2.DESCRIPTOR.services_by_name.values(),
        *session_pb2.DESCRIPTOR.services_by_name.values(),
        *maintenance_pb2.DESCRIPTOR.services_by_name.values(),
    ]
    assert calls.called == {f"{service.name}.{method.name}" for service in services for method in service.methods}
