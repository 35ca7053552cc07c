"""Slots in SQL: the same as in Python, and cheap enough for a CHECK constraint."""

import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest
from psycopg.rows import TupleRow

from crosskey.catalog.slots import slot_of_value
from crosskey.local_cluster.postgres import PostgresServer
from crosskey.shard_node.schema.scratch import scratch_database
from crosskey.shard_node.sql import load

VECTORS = json.loads((Path(__file__).parents[2] / "docs" / "slots.json").read_text(encoding="utf-8"))

Connection = psycopg.AsyncConnection[TupleRow]


@pytest.fixture(scope="module")
async def connection(postgres: list[PostgresServer]) -> AsyncIterator[Connection]:
    async with (
        scratch_database(postgres[0].dsn()) as scratch,
        await scratch.connect() as connection,
    ):
        await connection.execute("CREATE SCHEMA crosskey")
        await connection.execute(load("slots").encode())
        yield connection


@pytest.mark.parametrize(("kind", "type_name"), [("text", "text"), ("integer", "bigint"), ("uuid", "uuid")])
async def test_published_vectors(connection: Connection, kind: str, type_name: str) -> None:
    values = [vector["value"] for vector in VECTORS[kind]]
    statement = (
        f"SELECT crosskey.slot(value::{type_name}) FROM unnest(%s::text[]) WITH ORDINALITY AS v(value, n) ORDER BY n"
    )
    cursor = await connection.execute(statement.encode(), (values,))
    assert [slot for (slot,) in await cursor.fetchall()] == [vector["slot"] for vector in VECTORS[kind]]


async def test_narrow_types_are_widened(connection: Connection) -> None:
    cursor = await connection.execute(
        "SELECT crosskey.slot(7::smallint), crosskey.slot(7), crosskey.slot('7'::varchar(3)), crosskey.slot(NULL::uuid)"
    )
    slot = slot_of_value("int8", 7)
    assert await cursor.fetchall() == [(slot, slot, slot, None)]


async def test_random_uuids(connection: Connection) -> None:
    values = [str(uuid.uuid4()) for _ in range(200)]
    cursor = await connection.execute(
        "SELECT crosskey.slot(value::uuid) FROM unnest(%s::text[]) WITH ORDINALITY AS v(value, n) ORDER BY n", (values,)
    )
    assert [slot for (slot,) in await cursor.fetchall()] == [slot_of_value("uuid", value) for value in values]


@pytest.mark.parametrize("type_name", ["text", "bigint", "uuid"])
async def test_the_functions_are_inlined(connection: Connection, type_name: str) -> None:
    statement = f"EXPLAIN (VERBOSE) SELECT crosskey.slot(v) FROM unnest(NULL::{type_name}[]) AS v"
    plan = await (await connection.execute(statement.encode())).fetchall()
    assert "crosskey.slot" not in str(plan)
    assert str(plan).count("sha256") == 1
