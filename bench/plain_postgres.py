"""PostgreSQL without Crosskey: a database on each server that an application shards by hand, and one that holds all."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any
from uuid import uuid4

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from bench.population import SCHEMA_SQL, Population, Row, shard_of
from crosskey.local_cluster.postgres import PostgresServer

CONNECTIONS = 64
"""To each server: as many as work at once, so that nobody waits for one."""

_INSERT = b"INSERT INTO follows_without_key (follower_id, followee_id) VALUES (%s, %s)"

_MESSAGES = "SELECT id, sender_id, content FROM messages ORDER BY id LIMIT %s"
_NAMES = "SELECT id, name FROM people WHERE id = ANY (%s::uuid[])"
_REPLIES = "SELECT message_id, count(*) FROM replies WHERE message_id = ANY (%s) GROUP BY message_id"
_JOINED = """
SELECT m.id, m.content, p.name, (SELECT count(*) FROM replies r WHERE r.message_id = m.id)
FROM messages m JOIN people p ON p.id = m.sender_id
ORDER BY m.id LIMIT %s
"""

Connection = psycopg.AsyncConnection[TupleRow]


class AbsentParent(Exception):
    """The application looked for a parent and found none."""


class ShardedByHand:
    """What an application does without Crosskey: it knows each row's server and looks at the parent's itself.

    Its look is no promise: the parent can go before the child is inserted. Made by `sharded_by_hand`.
    """

    def __init__(self, free: asyncio.LifoQueue[Sequence[Connection]], shards: int) -> None:
        self._free = free
        self._shards = shards

    async def insert_follow(self, follower: str, followee: str) -> None:
        """SELECT on the parent's server, then INSERT on the child's. Raises AbsentParent."""
        async with self._connections() as connections:
            parents = connections[shard_of(followee, self._shards)]
            if not await _rows(parents, "SELECT 1 FROM people WHERE id = %s", followee):
                raise AbsentParent(followee)
            await _rows(
                connections[shard_of(follower, self._shards)],
                "INSERT INTO follows_without_key (follower_id, followee_id) VALUES (%s, %s) RETURNING *",
                follower,
                followee,
            )

    async def insert_without_key(self, follower: str, followee: str) -> None:
        """INSERT into the twin without the key."""
        async with self._connections() as connections:
            await _rows(
                connections[shard_of(follower, self._shards)],
                "INSERT INTO follows_without_key (follower_id, followee_id) VALUES (%s, %s) RETURNING *",
                follower,
                followee,
            )

    async def insert_many(self, follows: Sequence[tuple[str, str]]) -> None:
        """INSERT of many rows into the twin without the key, by executemany on the server of each, all at once."""
        by_shard: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
        for follow in follows:
            by_shard[shard_of(follow[0], self._shards)].append(follow)
        async with self._connections() as connections:
            await asyncio.gather(*(_insert_all(connections[shard], rows) for shard, rows in by_shard.items()))

    async def insert_on_two(self, one: tuple[str, str], other: tuple[str, str]) -> None:
        """Two rows on two servers, all or none: PREPARE TRANSACTION on both, then COMMIT PREPARED on both."""
        async with self._connections() as connections:
            both = [(connections[shard_of(follow[0], self._shards)], follow, uuid4().hex) for follow in (one, other)]
            await asyncio.gather(*(_prepare(connection, follow, gid) for connection, follow, gid in both))
            await asyncio.gather(*(_finish(connection, gid) for connection, _, gid in both))

    async def first_people(self, count: int) -> None:
        """The first people of all servers in the order of their ids: as many of each, merged."""
        async with self._connections() as connections:
            statement = "SELECT * FROM people ORDER BY id LIMIT %s"
            found = await asyncio.gather(*(_rows(one, statement, count) for one in connections[: self._shards]))
            list(islice(merge(*found, key=itemgetter(0)), count))

    async def fill(self, table: str, rows: Sequence[Row]) -> None:
        """Puts rows where their ids say, and looks at no foreign key: parents may live elsewhere."""
        by_shard: defaultdict[int, list[Row]] = defaultdict(list)
        for row in rows:
            by_shard[shard_of(row["id"], self._shards)].append(row)
        async with self._connections() as connections:
            await asyncio.gather(*(_fill(connections[shard], table, some) for shard, some in by_shard.items()))

    async def page_of_messages(self, count: int) -> list[dict[str, Any]]:
        """The first messages of all servers by their ids, each with its sender's name and its number of replies."""
        async with self._connections() as connections:
            found = await asyncio.gather(*(_rows(one, _MESSAGES, count) for one in connections))
            page = list(islice(merge(*found, key=itemgetter(0)), count))
            senders, replies = await asyncio.gather(
                self._names(connections, {str(sender) for _, sender, _ in page}),
                asyncio.gather(*(_rows(one, _REPLIES, [key for key, _, _ in page]) for one in connections)),
            )
        numbers: Counter[Any] = Counter()
        for on_server in replies:
            numbers.update(dict(on_server))
        return [
            {"id": key, "content": content, "sender": {"name": senders[str(sender)]}, "replies": numbers[key]}
            for key, sender, content in page
        ]

    async def _names(self, connections: Sequence[Connection], people: Iterable[str]) -> dict[str, str]:
        """The names of people, each asked for on the right server."""
        by_shard: defaultdict[int, list[str]] = defaultdict(list)
        for person in people:
            by_shard[shard_of(person, self._shards)].append(person)
        found = await asyncio.gather(*(_rows(connections[shard], _NAMES, some) for shard, some in by_shard.items()))
        return {str(person): name for on_server in found for person, name in on_server}

    async def get_person(self, person: str) -> None:
        """SELECT by primary key. Raises AbsentParent."""
        async with self._connections() as connections:
            if not await _rows(
                connections[shard_of(person, self._shards)], "SELECT * FROM people WHERE id = %s", person
            ):
                raise AbsentParent(person)

    @asynccontextmanager
    async def _connections(self) -> AsyncIterator[Sequence[Connection]]:
        """One connection to each server."""
        connections = await self._free.get()
        try:
            yield connections
        finally:
            self._free.put_nowait(connections)


@asynccontextmanager
async def sharded_by_hand(servers: Sequence[PostgresServer], population: Population) -> AsyncIterator[ShardedByHand]:
    """Makes a database on the server of each shard, with its people; each server in turn if there are more shards."""
    hosts = [servers[shard % len(servers)] for shard in range(population.shards)]
    names = [f"by_hand_{shard}" for shard in range(population.shards)]
    for shard, (host, name) in enumerate(zip(hosts, names, strict=True)):
        people = [person for person in population.people if shard_of(person, population.shards) == shard]
        await _create_database(host, name, people)
    async with AsyncExitStack() as stack:
        free: asyncio.LifoQueue[Sequence[Connection]] = asyncio.LifoQueue()
        for _ in range(CONNECTIONS):
            free.put_nowait(
                [await _connected(stack, host, name) for host, name in zip(hosts, names, strict=True)],
            )
        yield ShardedByHand(free, population.shards)


class OneServer:
    """The same schema, whole, on one PostgreSQL server. Made by `one_server`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def insert_people(self, people: Sequence[str]) -> None:
        """Inserts people in one statement."""
        await _rows(self._connection, "INSERT INTO people SELECT unnest(%s::uuid[]), 'Cosette' RETURNING 1", [*people])

    async def insert_follows(self, follows: Sequence[dict[str, str]]) -> None:
        """Inserts follows in one statement."""
        await _rows(
            self._connection,
            "INSERT INTO follows (follower_id, followee_id) SELECT * FROM unnest(%s::uuid[], %s::uuid[]) RETURNING 1",
            [row["follower_id"] for row in follows],
            [row["followee_id"] for row in follows],
        )

    async def fill(self, table: str, rows: Sequence[Row]) -> None:
        """Inserts rows with all their columns."""
        await _fill(self._connection, table, rows)

    async def page_of_messages(self, count: int) -> None:
        """The first messages by their ids, each with its sender's name and its number of replies."""
        await _rows(self._connection, _JOINED, count)

    async def delete_person(self, person: str) -> None:
        """DELETE by primary key, with PostgreSQL's own cascade."""
        await self._connection.execute("DELETE FROM people WHERE id = %s", (person,))


@asynccontextmanager
async def one_server(server: PostgresServer, population: Population) -> AsyncIterator[OneServer]:
    """Makes a database with all people on one server."""
    await _create_database(server, "one_server", population.people)
    async with AsyncExitStack() as stack:
        yield OneServer(await _connected(stack, server, "one_server"))


async def _create_database(server: PostgresServer, name: str, people: Sequence[str]) -> None:
    async with await psycopg.AsyncConnection.connect(server.dsn(), autocommit=True) as connection:
        await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    async with await psycopg.AsyncConnection.connect(server.dsn(database=name), autocommit=True) as connection:
        await connection.execute(SCHEMA_SQL.encode())
        await OneServer(connection).insert_people(people)
        await connection.execute("ANALYZE")


async def _connected(stack: AsyncExitStack, server: PostgresServer, database: str) -> Connection:
    """A connection that prepares every statement at its first use, open until the stack ends."""
    connection = await psycopg.AsyncConnection.connect(
        server.dsn(database=database), autocommit=True, prepare_threshold=0
    )
    return await stack.enter_async_context(connection)


async def _fill(connection: Connection, table: str, rows: Sequence[Row]) -> None:
    name = sql.Identifier(table)
    statement = sql.SQL("INSERT INTO {} SELECT * FROM json_populate_recordset(NULL::{}, %s)").format(name, name)
    async with connection.transaction():
        await connection.execute(b"SET LOCAL session_replication_role = replica")
        await connection.execute(statement, (json.dumps(rows),))


async def _insert_all(connection: Connection, follows: Sequence[tuple[str, str]]) -> None:
    async with connection.transaction(), connection.cursor() as cursor:
        await cursor.executemany(_INSERT, follows)


async def _prepare(connection: Connection, follow: tuple[str, str], gid: str) -> None:
    await connection.execute(b"BEGIN")
    await connection.execute(_INSERT, follow)
    await connection.execute(sql.SQL("PREPARE TRANSACTION {}").format(sql.Literal(gid)))


async def _finish(connection: Connection, gid: str) -> None:
    await connection.execute(sql.SQL("COMMIT PREPARED {}").format(sql.Literal(gid)))


async def _rows(connection: Connection, statement: str, *parameters: Any) -> list[TupleRow]:
    cursor = await connection.execute(statement.encode(), parameters)
    return await cursor.fetchall()
