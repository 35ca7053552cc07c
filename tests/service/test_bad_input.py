"""Bad requests: each is refused with an error that says what is wrong and where, and leaves no trace."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import grpc
import psycopg
import pytest
from google.protobuf.message import Message
from psycopg import sql

import crosskey
from crosskey import Client, errors
from crosskey.local_cluster.cluster import LocalCluster
from crosskey.rows import add_rows
from crosskey.v1.admin_pb2 import ApplySchemaRequest, DescribeSchemaRequest
from crosskey.v1.router_pb2 import CountRequest, ExplainRequest, InsertRequest
from tests.fresh_cluster import FreshClusters
from tests.refusals import RawCalls, Refusal, refusal_of
from tests.service.bad_requests import (
    BAD_REQUESTS,
    BEYOND_EXACT,
    MEGABYTE,
    NOBODY,
    ODD_COLUMN,
    OWNER,
    OWNERS,
    SCHEMA,
    Bad,
    raw_thing,
    thing,
)
from tests.shard_sql import as_superuser

CODES = {
    "CHECK_VIOLATION": grpc.StatusCode.INVALID_ARGUMENT,
    "FOREIGN_KEY_VIOLATION": grpc.StatusCode.FAILED_PRECONDITION,
    "INVALID_PAGE_TOKEN": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_REQUEST": grpc.StatusCode.INVALID_ARGUMENT,
    "INVALID_VALUE": grpc.StatusCode.INVALID_ARGUMENT,
    "NOT_NULL_VIOLATION": grpc.StatusCode.INVALID_ARGUMENT,
    "NUMBER_NOT_EXACT": grpc.StatusCode.INVALID_ARGUMENT,
    "RAISED_BY_DATABASE": grpc.StatusCode.FAILED_PRECONDITION,
    "ROW_NOT_FOUND": grpc.StatusCode.NOT_FOUND,
    "SCHEMA_CHANGED": grpc.StatusCode.FAILED_PRECONDITION,
    "SCHEMA_NOT_LOADED": grpc.StatusCode.FAILED_PRECONDITION,
    "SCHEMA_REFUSED": grpc.StatusCode.INVALID_ARGUMENT,
    "SHARD_KEY_MISSING": grpc.StatusCode.INVALID_ARGUMENT,
    "SLOT_MISMATCH": grpc.StatusCode.INVALID_ARGUMENT,
    "UNIQUE_VIOLATION": grpc.StatusCode.ALREADY_EXISTS,
    "UNKNOWN_COLUMN": grpc.StatusCode.INVALID_ARGUMENT,
    "UNKNOWN_TABLE": grpc.StatusCode.INVALID_ARGUMENT,
}

INVALID_TEXTS = {
    "small": "99999",
    "whole": "x",
    "large": "1.5",
    "exact": "1e30",
    "half": "x",
    "double": "1e999",
    "flag": "maybe",
    "word": "too long",
    "fixed": "abcd",
    "bytes": "\\xzz",
    "day": "2024-13-45",
    "moment": "never",
    "clock": "25:99",
    "span": "x y",
    "address": "300.1.1.1",
    "bits": "1111",
    "numbers": "x",
    "doubles": "{1,x}",
    "words": "{",
    "range": "[5,1]",
    "feeling": "angry",
    "pair": "(x)",
    "above": "-1",
    "spot": "1",
}
"""For a column of each family of types, a text that it does not take."""


class Target:
    """The cluster that gets bad requests, and a look at all that is stored in it."""

    def __init__(self, cluster: LocalCluster) -> None:
        """Connects to the router, and to each shard behind its node's back."""
        self.cluster = cluster
        self.calls = RawCalls(cluster.address)
        self.client = Client(cluster.address)
        self._shards = [as_superuser(cluster, shard) for shard in range(len(cluster.databases))]
        self._digest = _digest_of_all_rows(self._shards[0])

    def close(self) -> None:
        """Closes the connections."""
        self.calls.close()
        self.client.close()
        for connection in self._shards:
            connection.close()

    def content(self) -> list[tuple[Any, ...]]:
        """A digest of the rows, shadows and pins of each shard."""
        return [connection.execute(self._digest).fetchall()[0] for connection in self._shards]

    def refusal_by_postgres(self, statement: sql.Composed, *parameters: object) -> psycopg.Error:
        """What PostgreSQL itself says to a statement."""
        with pytest.raises(psycopg.Error) as refused:
            self._shards[0].execute(statement, parameters)
        return refused.value


def _digest_of_all_rows(connection: psycopg.Connection) -> sql.Composed:
    names = connection.execute(
        "SELECT schemaname, tablename FROM pg_tables WHERE schemaname = 'public' OR schemaname LIKE 'crosskey_shadow%'"
        " OR (schemaname = 'crosskey' AND tablename LIKE 'pin%') ORDER BY 1, 2"
    )
    sums = [
        sql.SQL("(SELECT count(*) || ' ' || sum(hashtext(r::text)) FROM {} r)").format(sql.Identifier(*name))
        for name in names.fetchall()
    ]
    return sql.SQL("SELECT {}").format(sql.SQL(", ").join(sums))


@pytest.fixture(scope="module")
def target(fresh_cluster: FreshClusters) -> Iterator[Target]:
    target = Target(fresh_cluster(SCHEMA))
    target.client.insert("owners", [{"id": number, "name": f"owner {number}"} for number in OWNERS])
    friends = [*OWNERS[1:], OWNERS[0]]
    pairs = zip(OWNERS, friends, strict=True)
    target.client.insert("things", [{"owner": owner, "friend": friend} for owner, friend in pairs])
    yield target
    target.close()
    with Client(target.cluster.address) as client:
        assert client.audit() == []
        assert not client.list_in_doubt().transactions
    for process in (*target.cluster.routers, *target.cluster.nodes):
        _check_log(process.log.read_text())


def _check_log(text: str) -> None:
    """Every line is JSON, and nothing that a caller sent was unforeseen."""
    for line in text.splitlines():
        entry = json.loads(line)
        assert "exception" not in entry
        assert entry.get("reason") != "INTERNAL"


@pytest.fixture(autouse=True)
def _nothing_is_written(target: Target) -> Iterator[None]:
    """Whatever a test sends, all rows, shadows and pins are as before."""
    before = target.content()
    yield
    assert target.content() == before


def explain(request: Message) -> ExplainRequest:
    """Asks what the request would do."""
    made = ExplainRequest()
    kind = type(request).__name__.removesuffix("Request").lower()
    getattr(made, kind).CopyFrom(request)
    return made


def check(refusal: Refusal, bad: Bad) -> None:
    assert (refusal.reason, refusal.message) == (bad.reason, bad.message)
    assert refusal.code == CODES[bad.reason]
    assert not refusal.retryable
    metadata = {key: value for key, value in refusal.metadata.items() if key != "hint"}
    if bad.found_by_shard:
        metadata.pop("shard")
    assert metadata == bad.metadata


@pytest.mark.parametrize("bad", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_a_bad_request_is_refused(target: Target, bad: Bad) -> None:
    check(target.calls.refusal(bad.request), bad)


EXPLAINABLE = {name: bad for name, bad in BAD_REQUESTS.items() if not bad.found_by_shard}
ONLY_SHARDS_CAN_TELL = {name: bad for name, bad in BAD_REQUESTS.items() if bad.found_by_shard}


@pytest.mark.parametrize("bad", EXPLAINABLE.values(), ids=EXPLAINABLE.keys())
def test_to_explain_a_bad_request_is_refused_alike(target: Target, bad: Bad) -> None:
    check(target.calls.refusal(explain(bad.request)), bad)


@pytest.mark.parametrize("bad", ONLY_SHARDS_CAN_TELL.values(), ids=ONLY_SHARDS_CAN_TELL.keys())
def test_what_only_a_shard_can_find_is_explained(target: Target, bad: Bad) -> None:
    assert target.calls.send(explain(bad.request)).rpcs


def test_there_is_nothing_to_explain(target: Target) -> None:
    refusal = target.calls.refusal(ExplainRequest())
    assert (refusal.reason, refusal.message) == ("INVALID_REQUEST", "there is no request to explain")


@pytest.mark.parametrize(("column", "text"), INVALID_TEXTS.items())
def test_a_value_of_the_wrong_type_is_refused_in_postgresqls_words(target: Target, column: str, text: str) -> None:
    insert = sql.SQL("INSERT INTO things (owner, {}) VALUES (%s, %s)").format(sql.Identifier(column))
    expected = target.refusal_by_postgres(insert, OWNER, text)
    for request in (
        thing(**{column: text}),
        crosskey.update("things", {column: text}, where={"owner": OWNER}),
        crosskey.transaction([thing(body="good"), thing(**{column: text})]),
    ):
        refusal = target.calls.refusal(request)
        assert refusal.message == expected.diag.message_primary
        assert refusal.metadata["sqlstate"] == expected.sqlstate
        assert refusal.code == grpc.StatusCode.INVALID_ARGUMENT
        assert refusal.metadata["shard"] == "0"
        assert "table" in refusal.metadata or "constraint" in refusal.metadata


@pytest.mark.parametrize(
    ("column", "sent", "stored"),
    [
        ("double", BEYOND_EXACT, BEYOND_EXACT),
        ("double", float("nan"), "NaN"),
        ("half", float("-inf"), "-Infinity"),
        ("exact", float("nan"), "NaN"),
        ("large", BEYOND_EXACT - 1, "9007199254740991"),
        ("large", 5.0, "5"),
        ("tree", {"a": [BEYOND_EXACT - 1]}, {"a": [BEYOND_EXACT - 1]}),
    ],
)
def test_a_number_that_its_column_takes_is_stored(target: Target, column: str, sent: Any, stored: Any) -> None:
    [row] = target.calls.send(raw_thing(**{column: sent})).rows
    assert row[column] == stored
    assert target.client.delete("things", key={"id": row["id"]}) == 1


def test_doubles_in_an_array_may_be_large(target: Target) -> None:
    [row] = target.calls.send(raw_thing(doubles=[BEYOND_EXACT, 1e300])).rows
    assert list(row["doubles"]) == [BEYOND_EXACT, 1e300]
    assert target.client.delete("things", key={"id": row["id"]}) == 1


HOSTILE_TEXTS = ["'; DROP TABLE owners; --", "%s %(x)s %% {} {0} $1", '\\" \\u0000 \\ud800', "\x01\x7f\u202e\U0001f600"]


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_text_is_only_text(target: Target, text: str) -> None:
    [row] = target.client.insert("things", {"owner": OWNER, "body": text, "tree": {text: [text]}, "words": [text]})
    found = target.client.get("things", id=row["id"])
    assert (found["body"], found["tree"], found["words"]) == (text, {text: [text]}, [text])
    assert target.client.count("things", [crosskey.in_("body", [text, "'"])]) == 1
    assert target.client.delete("things", where={"body": text, "owner": OWNER}) == 1


def test_a_column_may_have_any_name(target: Target) -> None:
    target.client.insert("places", {"code": "x", ODD_COLUMN: "%s"})
    assert target.client.update("places", {ODD_COLUMN: "%%"}, where={ODD_COLUMN: "%s"})[0][ODD_COLUMN] == "%%"
    assert target.client.list_page("places", order_by=ODD_COLUMN).rows == [{"code": "x", ODD_COLUMN: "%%"}]
    assert target.client.delete("places", where={ODD_COLUMN: "%%"}) == 1


def test_a_lone_surrogate_is_no_text(target: Target) -> None:
    with pytest.raises(UnicodeEncodeError):
        target.client.insert("owners", {"id": 1, "name": "\ud800"})


# Page tokens.


@pytest.fixture(scope="module")
def token(target: Target) -> str:
    """A page token of a list of owners by id."""
    token = target.client.list_page("owners", page_size=1).next_page_token
    assert token
    return token


DAMAGED = "the page token is damaged"
OF_ANOTHER_QUERY = "the page token is of another query: send the same table, where and order_by"


@pytest.mark.parametrize("garbage", ["garbage", "é\0", "====", "A" * 10_000, "../../etc/passwd"])
def test_garbage_is_no_page_token(target: Target, garbage: str) -> None:
    refusal = target.calls.refusal(crosskey.list_rows("owners", page_token=garbage))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")
    assert refusal.message == DAMAGED


@pytest.mark.parametrize("place", [0, 7, 20])
def test_a_page_token_with_another_letter_is_damaged(target: Target, token: str, place: int) -> None:
    letters = list(token)
    letters[place] = "A" if letters[place] != "A" else "B"
    refusal = target.calls.refusal(crosskey.list_rows("owners", page_token="".join(letters)))
    assert (refusal.reason, refusal.message) == ("INVALID_PAGE_TOKEN", DAMAGED)


@pytest.mark.parametrize(
    "other",
    [
        crosskey.list_rows("things"),
        crosskey.list_rows("owners", {"name": "x"}),
        crosskey.list_rows("owners", order_by=crosskey.desc("id")),
        crosskey.list_rows("owners", order_by="name"),
    ],
    ids=["table", "where", "direction", "order"],
)
def test_a_page_token_of_another_query_is_refused(target: Target, token: str, other: Any) -> None:
    other.page_token = token
    for request in (other, explain(other)):
        refusal = target.calls.refusal(request)
        assert (refusal.reason, refusal.message) == ("INVALID_PAGE_TOKEN", OF_ANOTHER_QUERY)


def test_a_page_may_have_another_size_than_the_one_before(target: Target, token: str) -> None:
    assert len(target.client.list_page("owners", page_size=2, page_token=token).rows) == 2


# Large requests.

LONG = "ü" * (MEGABYTE // 2)
LARGE_REQUESTS = {
    "table": (crosskey.count(LONG), "UNKNOWN_TABLE"),
    "column": (crosskey.insert("owners", {LONG: 1}), "UNKNOWN_COLUMN"),
    "column of where": (crosskey.count("owners", {LONG: 1}), "UNKNOWN_COLUMN"),
    "key": (crosskey.get("owners", {LONG: 1}), "UNKNOWN_COLUMN"),
    "missing key": (crosskey.get("places", {"code": LONG}), "ROW_NOT_FOUND"),
    "value": (thing(whole=LONG), "INVALID_VALUE"),
    "shard key": (crosskey.insert("owners", {"id": LONG, "name": "x"}), "INVALID_VALUE"),
    "id": (thing(id=LONG), "INVALID_VALUE"),
    "set": (crosskey.update("things", {"moment": LONG}, where={"owner": OWNER}), "INVALID_VALUE"),
    "failing row": (thing(whole=13, body=LONG), "CHECK_VIOLATION"),
    "parent": (crosskey.insert("owners", {"id": NOBODY, "name": "x", "place": LONG}), "FOREIGN_KEY_VIOLATION"),
    "entry of an index": (crosskey.insert("places", {"code": LONG}), "INVALID_VALUE"),
    "page token": (crosskey.list_rows("owners", page_token="A" * MEGABYTE), "INVALID_PAGE_TOKEN"),
    "schema": (ApplySchemaRequest(sql=LONG), "SCHEMA_REFUSED"),
}


@pytest.mark.parametrize(("request_", "reason"), LARGE_REQUESTS.values(), ids=LARGE_REQUESTS.keys())
def test_an_error_about_a_megabyte_is_short(target: Target, request_: Message, reason: str) -> None:
    refusal = target.calls.refusal(request_)
    assert (refusal.reason, refusal.code) == (reason, CODES[reason])
    assert len(refusal.message.encode()) <= 1024


def test_a_request_of_thousands_of_rows_just_below_the_limit_is_taken(target: Target) -> None:
    [largest] = target.client.list_page("owners", order_by=crosskey.desc("id"), page_size=1).rows
    first = int(largest["id"]) + 1
    rows = [{"id": first + place, "name": "n" * 960} for place in range(4000)]
    request = crosskey.insert("owners", rows)
    assert 3_900_000 < request.ByteSize() < 4 * 1024 * 1024
    answer = target.calls.channel.unary_unary(
        "/crosskey.v1.Router/Insert", InsertRequest.SerializeToString, lambda response: len(response)
    )(request, timeout=30)
    assert answer > request.ByteSize()
    assert target.client.count("owners") == len(OWNERS) + len(rows)
    assert target.client.delete("owners", where=crosskey.ge("id", first)) == len(rows)


def test_a_request_of_5_mb_is_refused(target: Target) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        target.calls.send(crosskey.insert("owners", {"id": 5, "name": "x" * 5 * MEGABYTE}))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    error = errors.from_rpc_error(refused.value)
    assert isinstance(error, errors.RequestTooLarge)
    assert error.message == "the request has 5,000,033 bytes, and a request may have 4,194,304"
    assert not error.retryable


def test_a_request_of_20_mb_is_refused_by_grpc_and_told_as_ours(target: Target) -> None:
    with pytest.raises(errors.RequestTooLarge, match=r"SERVER: Received message larger than max .* vs\. 16777216"):
        target.client.insert("owners", {"id": 5, "name": "x" * 20 * MEGABYTE})


@pytest.mark.parametrize(
    "where",
    [
        [crosskey.eq("id", 1)] * 70_000,
        [crosskey.is_null("place")] * 1001,
        [crosskey.in_("name", [["x"]] * 1001)],
    ],
    ids=["comparisons", "tests for NULL", "lists in IN"],
)
def test_a_statement_takes_a_bounded_number_of_comparisons(target: Target, where: Any) -> None:
    refusal = target.calls.refusal(crosskey.count("owners", where))
    assert (refusal.reason, refusal.message) == ("INVALID_REQUEST", "a statement takes 1000 comparisons at most")


def test_in_takes_many_values(target: Target) -> None:
    assert target.client.count("owners", [crosskey.in_("id", range(20_000))]) == len(OWNERS)


# What is no request at all.


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize("depth", [30, 200])
def test_json_may_be_nested(target: Target, depth: int) -> None:
    [row] = target.client.insert("things", {"owner": OWNER, "tree": nested(depth)})
    assert row["tree"] == nested(depth)
    assert target.client.delete("things", key={"id": row["id"]}) == 1


def _as_structs(thing: dict[str, Any]) -> InsertRequest:
    request = InsertRequest(table="things")
    add_rows(request.rows, [thing])
    return request


NOT_A_MESSAGE = {
    "nested too deeply": _as_structs({"owner": OWNER, "tree": nested(200)}).SerializeToString(),
    "not UTF-8": b"\x0a\x02\xff\xfe",
    "truncated": crosskey.insert("owners", {"id": 5, "name": "x"}).SerializeToString()[:-3],
    "random": bytes(range(255, 0, -1)),
}


@pytest.mark.parametrize("data", NOT_A_MESSAGE.values(), ids=NOT_A_MESSAGE.keys())
def test_what_is_no_message_is_an_invalid_request(target: Target, data: bytes) -> None:
    insert: grpc.UnaryUnaryMultiCallable[bytes, bytes]
    insert = target.calls.channel.unary_unary("/crosskey.v1.Router/Insert")
    refusal = refusal_of(lambda: insert(data, timeout=10))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert refusal.message == "the request is not a message of the method's type"


@pytest.mark.parametrize("method", ["/crosskey.v1.Router/Drop", "/crosskey.v1.ShardNode/Execute", "/x.Y/Z"])
def test_a_method_that_does_not_exist_is_unimplemented(target: Target, method: str) -> None:
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = target.calls.channel.unary_unary(method)
    with pytest.raises(grpc.RpcError) as refused:
        call(b"", timeout=10)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


NOT_GRPC = {
    "garbage": bytes(range(256)) * 40,
    "HTTP/1.1": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
    "half a preface": b"PRI * HTTP/2.0\r\n\r\nSM",
    "preface and garbage": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 5000,
    "PostgreSQL": (80877103).to_bytes(4, "big") * 2,
    "nothing": b"",
}


@pytest.mark.parametrize("data", NOT_GRPC.values(), ids=NOT_GRPC.keys())
def test_what_is_not_grpc_disturbs_nobody(target: Target, data: bytes) -> None:
    for address in (target.cluster.address, target.cluster.nodes[0].address):
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=5) as connection:
            connection.sendall(data)
    target.cluster.check_running()
    assert target.client.count("owners") == len(OWNERS)


# Schemas.

PLACED = "CREATE TABLE t (id int PRIMARY KEY); COMMENT ON TABLE t IS '@shard_by id'"
REFUSED_SCHEMAS = {
    "empty": ("", "the schema has no tables"),
    "only a comment": ("-- nothing here", "the schema has no tables"),
    "syntax error": ("CREATE TABLE t (\nid int,,\n)", 'line 2: syntax error at or near ","'),
    "unknown type": ("CREATE TABLE t (id nothing)", 'type "nothing" does not exist'),
    "error at run time": (f"{PLACED}; DO $$ BEGIN PERFORM 1/0; END $$", "division by zero"),
    "NUL": (f"{PLACED}\0", "the schema contains a NUL character"),
    "end of the transaction": (f"{PLACED}; ROLLBACK", "the schema ends its transaction"),
    "other role": ("CREATE ROLE other", "line 1: CREATE ROLE is no part of a schema"),
    "Crosskey's own names": ("CREATE SCHEMA crosskey_mine", 'schema "crosskey_mine"'),
    "no placement": ("CREATE TABLE t (id int)", 'table "t": no placement'),
    "unknown tag": (f"{PLACED.replace('shard_by id', 'shard')}", 'table "t": unknown tag @shard'),
    "tag with too much": (f"{PLACED.replace('@', '@events all' + chr(10) + '@')}", 'table "t": @events takes nothing'),
    "events without a key": (
        "CREATE TABLE t (id int NOT NULL); COMMENT ON TABLE t IS E'@shard_by id\\n@events'",
        'table "t": @events needs a PRIMARY KEY',
    ),
    "unknown column": (PLACED.replace("shard_by id", "shard_by nothing"), 'there is no column "nothing"'),
    "unfit shard key": (PLACED.replace("int", "numeric"), 'column "id" cannot be the shard key: it is numeric'),
    "UNIQUE over shards": (PLACED.replace("KEY", "KEY, born date UNIQUE"), 'UNIQUE constraint "t_born_key"'),
}


@pytest.fixture(scope="module")
def empty_cluster(fresh_cluster: FreshClusters) -> LocalCluster:
    """A cluster that no schema is in force on."""
    return fresh_cluster(shards=1)


@pytest.fixture(scope="module")
def on_empty(empty_cluster: LocalCluster) -> Iterator[RawCalls]:
    calls = RawCalls(empty_cluster.address)
    yield calls
    calls.close()


def tables_of(cluster: LocalCluster) -> list[list[tuple[Any, ...]]]:
    """Every table of each shard, and the number of databases beside."""
    found = []
    for shard in range(len(cluster.databases)):
        with as_superuser(cluster, shard) as connection:
            tables = connection.execute("SELECT schemaname, tablename FROM pg_tables ORDER BY 1, 2").fetchall()
            scratch = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'crosskey_scratch%'")
            found.append([*tables, *scratch.fetchall()])
    return found


@pytest.mark.parametrize(("text", "message"), REFUSED_SCHEMAS.values(), ids=REFUSED_SCHEMAS.keys())
def test_a_schema_that_does_not_load_or_cannot_be_placed_is_refused(
    empty_cluster: LocalCluster, on_empty: RawCalls, text: str, message: str
) -> None:
    before = tables_of(empty_cluster)
    for dry_run in (True, False):
        refusal = on_empty.refusal(ApplySchemaRequest(sql=text, dry_run=dry_run))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SCHEMA_REFUSED")
        assert message in refusal.message
    assert tables_of(empty_cluster) == before


def test_a_dry_run_changes_nothing(empty_cluster: LocalCluster, on_empty: RawCalls) -> None:
    before = tables_of(empty_cluster)
    answer = on_empty.send(ApplySchemaRequest(sql=SCHEMA, dry_run=True))
    assert (answer.changed, [table.table for table in answer.schema.tables]) == (False, ["owners", "places", "things"])
    assert tables_of(empty_cluster) == before


@pytest.mark.parametrize(
    "request_",
    [DescribeSchemaRequest(), CountRequest(table="owners"), crosskey.insert("owners", {"id": 1})],
    ids=["DescribeSchema", "Count", "Insert"],
)
def test_without_a_schema_there_are_no_tables(on_empty: RawCalls, request_: Message) -> None:
    refusal = on_empty.refusal(request_)
    assert (refusal.code, refusal.reason) == (CODES["SCHEMA_NOT_LOADED"], "SCHEMA_NOT_LOADED")
    assert "ApplySchema" in refusal.metadata["hint"]


@pytest.mark.parametrize(
    ("text", "dry_run"),
    [(PLACED, True), (PLACED, False), (f"{SCHEMA}; CREATE TYPE more AS ()", False)],
    ids=["dry run", "other", "longer"],
)
def test_another_schema_over_a_live_one_is_refused(target: Target, text: str, dry_run: bool) -> None:
    before = tables_of(target.cluster)
    refusal = target.calls.refusal(ApplySchemaRequest(sql=text, dry_run=dry_run))
    assert (refusal.code, refusal.reason) == (CODES["SCHEMA_CHANGED"], "SCHEMA_CHANGED")
    assert refusal.message == "another schema is in force"
    assert "migrate" in refusal.metadata["hint"]
    assert tables_of(target.cluster) == before


def test_the_schema_in_force_may_be_applied_again(target: Target) -> None:
    before = tables_of(target.cluster)
    for dry_run in (True, False):
        assert target.calls.send(ApplySchemaRequest(sql=SCHEMA, dry_run=dry_run)).changed is False
    assert tables_of(target.cluster) == before
