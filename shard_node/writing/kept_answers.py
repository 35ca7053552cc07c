"""Answers of requests that have an id: each is kept in the transaction of its rows, so that a repeat is answered it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import psycopg
import structlog
from psycopg import sql

from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.shard_node.postgres.database import Connection, Database
from crosskey.shard_node.writing.execution import uninterrupted

MAX_KEPT_BYTES = 1 << 20
"""Of one answer. Of a larger one it is kept that there was one: rows would be written twice, and kept for long."""

BATCH = 5000
"""Answers that one transaction forgets."""

_UNIQUE = "request_pkey"
_SCHEMA = "crosskey"

_KEEP_MANY = (
    "INSERT INTO crosskey.request (id, digest, answer)"
    " SELECT * FROM unnest(%s::text[], %s::bytea[], %s::bytea[]) ORDER BY 1"
)
_FIND = "SELECT digest, answer FROM crosskey.request WHERE id = %s"
_FORGET = (
    "DELETE FROM crosskey.request WHERE ctid = ANY(ARRAY(SELECT ctid FROM crosskey.request"
    " WHERE kept_at < now() - make_interval(secs => %s) LIMIT %s FOR UPDATE SKIP LOCKED))"
)

_log = structlog.get_logger(__name__)


def keeping(keep: proto.Keep, results: Iterable[proto.CommandResult]) -> sql.Composed:
    """SQL that keeps an answer; the results, if none is given. If there is one already, it fails as `is_kept` says."""
    insert = sql.SQL("INSERT INTO crosskey.request (id, digest, answer) VALUES ({}, {}, {}); ")
    return insert.format(keep.request_id, keep.digest, _to_keep(keep, results))


async def keep_many(
    connection: Connection, keeps: Sequence[proto.Keep], responses: Sequence[proto.RunResponse]
) -> None:
    """Keeps the answers of several requests. Raises psycopg.Error, also if there is one of them already."""
    answers = [_to_keep(keep, response.results) for keep, response in zip(keeps, responses, strict=True)]
    await connection.execute(
        _KEEP_MANY, ([keep.request_id for keep in keeps], [keep.digest for keep in keeps], answers)
    )


def _to_keep(keep: proto.Keep, results: Iterable[proto.CommandResult]) -> bytes:
    answer = keep.answer if keep.HasField("answer") else proto.KeptAnswer(results=proto.RunResponse(results=results))
    text = answer.SerializeToString()
    return text if len(text) <= MAX_KEPT_BYTES else proto.KeptAnswer(too_large=True).SerializeToString()


def is_kept(error: Exception) -> bool:
    """Whether the error says that an answer with that id is kept already: all that came before is to be rolled back."""
    return (
        isinstance(error, psycopg.errors.UniqueViolation)
        and error.diag.constraint_name == _UNIQUE
        and error.diag.schema_name == _SCHEMA
    )


async def roll_back_and_find(connection: Connection, keep: proto.Keep) -> proto.KeptAnswer:
    """The answer that is kept already, by a transaction that has committed.

    Raises RequestIdReused if it is that of another request, Conflict if it has just been forgotten, and psycopg.Error.
    """
    await uninterrupted(connection.rollback())
    cursor = await connection.execute(_FIND, (keep.request_id,))
    found = await cursor.fetchone()
    if found is None:
        raise errors.Conflict("the answer of this request has just been forgotten")
    digest, answer = found
    if bytes(digest) != keep.digest:
        raise errors.RequestIdReused(
            f'the request_id "{keep.request_id}" is that of another request, which was answered already',
            hint="Give each request an id of its own, and a repeat that of the request that it repeats.",
        )
    return proto.KeptAnswer.FromString(bytes(answer))


async def forget_regularly(database: Database, retention_seconds: float, interval_seconds: float) -> None:
    """Forgets old answers, again and again, until it is cancelled."""
    while True:
        await asyncio.sleep(interval_seconds)
        try:
            async with database.connection() as connection:
                await forget(connection, retention_seconds)
        except (psycopg.Error, errors.CrosskeyError) as error:
            _log.warning("answers not forgotten", error=str(error))


async def forget(connection: Connection, retention_seconds: float) -> int:
    """Forgets the answers that are older, in batches; returns how many. Others may do the same at once."""
    forgotten = 0
    while True:
        cursor = await connection.execute(_FORGET, (retention_seconds, BATCH))
        forgotten += cursor.rowcount
        if cursor.rowcount < BATCH:
            return forgotten
