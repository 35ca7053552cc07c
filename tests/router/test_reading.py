"""Get, List and Count over three real databases, against the same rows in order."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import msgspec
import psycopg
import pytest
import pytest_asyncio

import crosskey
from crosskey import errors
from crosskey.catalog.model import Database
from crosskey.catalog.planning import plan_schema
from crosskey.catalog.slots import shard_of_slot, slot_of_value
from crosskey.internal.v1 import session_pb2
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.router.calls.nodes import Nodes
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.reading.reader import Reader
from crosskey.shard_node.reading import reader, sorting
from crosskey.shard_node.schema.introspection import describe
from crosskey.v1 import router_pb2
from tests.fake_nodes import FakeNode

SHARDS = 3
SCHEMA = """
CREATE TABLE notes (id bigint PRIMARY KEY, author bigint, title text, at timestamptz NOT NULL DEFAULT now());
COMMENT ON TABLE notes IS '@shard_by id';
CREATE TABLE lines (shop bigint NOT NULL, line text);
COMMENT ON TABLE lines IS '@shard_by shop';
CREATE TABLE regions (code text PRIMARY KEY);
COMMENT ON TABLE regions IS '@reference';
INSERT INTO regions VALUES ('de'), ('fr'), ('it');
"""


_WORK: dict[str, Any] = {"read": reader.read, "count_rows": reader.count_rows, "sort": sorting.sort}


class NodesOfDatabases(Nodes):
    """Nodes without gRPC: each call runs on the shard's database, and is remembered."""

    def __init__(self, connections: list[Any], database: Database) -> None:
        super().__init__([FakeNode(shard, self._answer) for shard in range(len(connections))])
        self.connections = connections
        self.calls: list[str] = []
        self._tables = {table.name.qualified: table for table in database.tables}

    async def _answer(self, shard: int, call: session_pb2.Call) -> session_pb2.Answer:
        kind = call.WhichOneof("call") or ""
        request = getattr(call, kind)
        self.calls.append(f"s{shard} {kind}")
        answer = await _WORK[kind](self.connections[shard], self._tables[request.table], request)
        return session_pb2.Answer(**{kind: answer})


@dataclass
class Cluster:
    """What the tests read from; `nodes.calls` are the calls so far."""

    nodes: NodesOfDatabases
    reader: Reader
    view: SchemaView

    async def run(self, shard: int, statement: str, *parameters: object) -> None:
        """Runs a statement on one shard."""
        await self.nodes.connections[shard].execute(statement.encode(), parameters)

    async def add_note(self, identifier: int, author: int | None = None, title: str | None = None) -> None:
        """Inserts a note where it belongs."""
        await self.run(shard_of(identifier), "INSERT INTO notes VALUES (%s, %s, %s)", identifier, author, title)

    async def page(self, request: router_pb2.ListRequest) -> tuple[list[dict[str, Any]], str]:
        """The rows of a page, and the token of the next."""
        page = await self.reader.list_page(self.view, request)
        return msgspec.json.decode(page.rows_json), page.next_page_token

    async def all_rows(self, table: str, **query: Any) -> list[dict[str, Any]]:
        """The rows of all pages."""
        rows, token = await self.page(crosskey.list_rows(table, **query))
        while token:
            more, token = await self.page(crosskey.list_rows(table, page_token=token, **query))
            rows += more
        return rows


def shard_of(identifier: int) -> int:
    return shard_of_slot(slot_of_value("int8", identifier), SHARDS)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def cluster(postgres: list[PostgresServer]) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        connections = [await new_database(postgres[shard % len(postgres)], stack) for shard in range(SHARDS)]
        database = await describe(connections[0])
        nodes = NodesOfDatabases(connections, database)
        yield Cluster(nodes, Reader(nodes), SchemaView(plan_schema(database), SHARDS, "a fingerprint"))


async def new_database(server: PostgresServer, stack: AsyncExitStack) -> Any:
    name = f"test_{secrets.token_hex(6)}"
    owner = await stack.enter_async_context(await psycopg.AsyncConnection.connect(server.dsn(), autocommit=True))
    await owner.execute(f"CREATE DATABASE {name}".encode())
    stack.push_async_callback(owner.execute, f"DROP DATABASE {name} WITH (FORCE)".encode())
    connection = await stack.enter_async_context(
        await psycopg.AsyncConnection.connect(server.dsn(database=name), autocommit=True)
    )
    await connection.execute(SCHEMA.encode())
    return connection


@pytest_asyncio.fixture(loop_scope="session")
async def notes(cluster: Cluster) -> AsyncIterator[Cluster]:
    """Sixty notes by six authors, some without author, with few titles."""
    for number in range(60):
        await cluster.add_note(number, number % 7 or None, f"{'äBc'[number % 3]} {number % 4}")
    cluster.nodes.calls.clear()
    yield cluster
    for shard in range(SHARDS):
        await cluster.run(shard, "TRUNCATE notes")


async def test_get_asks_the_one_shard_of_the_key(notes: Cluster) -> None:
    [note] = msgspec.json.decode(await notes.reader.get(notes.view, crosskey.get("notes", {"id": 17})))
    assert (note["id"], note["author"]) == ("17", "3")
    assert notes.nodes.calls == [f"s{shard_of(17)} read"]


async def test_get_finds_nothing(notes: Cluster) -> None:
    with pytest.raises(errors.RowNotFound, match=r'"notes" has no row with the key {"id":"99"}') as caught:
        await notes.reader.get(notes.view, crosskey.get("notes", {"id": "99"}))
    assert caught.value.metadata == {"table": "notes", "key": '{"id":"99"}'}


async def test_get_reads_the_copies_of_a_reference_table_in_turn(cluster: Cluster) -> None:
    cluster.nodes.calls.clear()
    for _ in range(SHARDS):
        await cluster.reader.get(cluster.view, crosskey.get("regions", {"code": "fr"}))
    assert sorted(cluster.nodes.calls) == ["s0 read", "s1 read", "s2 read"]


async def test_count(notes: Cluster) -> None:
    assert await notes.reader.count(notes.view, crosskey.count("notes")) == 60
    assert await notes.reader.count(notes.view, crosskey.count("notes", [crosskey.is_null("author")])) == 9
    assert await notes.reader.count(notes.view, crosskey.count("regions")) == 3


async def test_pages_by_key_are_merged_without_a_sort(notes: Cluster) -> None:
    rows = await notes.all_rows("notes", page_size=7)
    assert [int(row["id"]) for row in rows] == list(range(60))
    assert "Sort" not in {call.split()[1] for call in notes.nodes.calls}


async def test_nulls_come_last_or_descending_first(notes: Cluster) -> None:
    ascending = await notes.all_rows("notes", order_by="author", page_size=11)
    assert [row["author"] for row in ascending[-9:]] == [None] * 9
    descending = await notes.all_rows("notes", order_by=crosskey.desc("author"), page_size=11)
    assert descending == ascending[::-1]


async def test_text_is_merged_as_postgresql_sorts_it(notes: Cluster) -> None:
    query: dict[str, Any] = {"order_by": ["title", crosskey.desc("author")], "page_size": 13}
    rows = await notes.all_rows("notes", **query)
    cursor = await notes.nodes.connections[0].execute(
        b"SELECT n FROM generate_series(0, 59) AS n"
        b" ORDER BY (ARRAY['\xc3\xa4', 'B', 'c'])[n % 3 + 1] || ' ' || n % 4, nullif(n % 7, 0) DESC, n DESC"
    )
    assert [int(row["id"]) for row in rows] == [number for (number,) in await cursor.fetchall()]
    assert sum(call.endswith("sort") for call in notes.nodes.calls) == 5


async def test_conditions_on_a_list(notes: Cluster) -> None:
    rows = await notes.all_rows("notes", where=[crosskey.in_("author", [2, 3]), crosskey.ge("id", 30)], page_size=2)
    assert [int(row["id"]) for row in rows] == [30, 31, 37, 38, 44, 45, 51, 52, 58, 59]


async def test_a_list_of_one_shard_asks_one_shard(notes: Cluster) -> None:
    rows = await notes.all_rows("notes", where=[crosskey.eq("id", 17)])
    assert [row["id"] for row in rows] == ["17"]
    assert notes.nodes.calls == [f"s{shard_of(17)} read"]


async def test_finished_shards_are_not_asked_again(notes: Cluster) -> None:
    await notes.all_rows("notes", where=[crosskey.in_("id", [1, 2, 3, 58, 59])], page_size=2)
    assert len(notes.nodes.calls) < 3 * SHARDS


async def test_the_last_full_page_has_no_token(notes: Cluster) -> None:
    rows, token = await notes.page(crosskey.list_rows("notes", page_size=60))
    assert len(rows) == 60
    assert token == ""


async def test_rows_that_come_and_go_between_pages_move_no_other_row(notes: Cluster) -> None:
    first, token = await notes.page(crosskey.list_rows("notes", page_size=20))
    for number in (3, 19, 25):
        await notes.run(shard_of(number), "DELETE FROM notes WHERE id = %s", number)
    for number in (-1, -2, 1000):
        await notes.add_note(number)
    rest, token = await notes.page(crosskey.list_rows("notes", page_size=100, page_token=token))
    assert [int(row["id"]) for row in first] == list(range(20))
    assert [int(row["id"]) for row in rest] == [number for number in range(20, 60) if number != 25] + [1000]
    assert token == ""


async def test_a_table_without_a_key_is_listed_shard_by_shard(cluster: Cluster) -> None:
    for number in range(40):
        await cluster.run(number % SHARDS, "INSERT INTO lines VALUES (1, %s)", f"{number // 10}")
    every = await cluster.all_rows("lines", page_size=7)
    assert sorted(row["line"] for row in every) == sorted(f"{number // 10}" for number in range(40))
    ordered = await cluster.all_rows("lines", order_by=crosskey.desc("line"), page_size=7)
    assert [row["line"] for row in ordered] == sorted((row["line"] for row in every), reverse=True)


async def test_an_empty_table(cluster: Cluster) -> None:
    assert await cluster.page(crosskey.list_rows("notes", order_by="title")) == ([], "")


async def test_a_reference_table_is_read_to_its_end_from_one_copy(cluster: Cluster) -> None:
    cluster.nodes.calls.clear()
    rows = await cluster.all_rows("regions", page_size=1)
    assert [row["code"] for row in rows] == ["de", "fr", "it"]
    assert len(cluster.nodes.calls) == 3
    assert len(set(cluster.nodes.calls)) == 1
