"""Inserts of single requests that one statement, and so one commit, carries out together.

Each request keeps its own answer and its own error: what the shared statement does not insert as a whole is inserted
request by request.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, islice
from typing import NamedTuple

import msgspec
import psycopg

from crosskey import errors
from crosskey.catalog.model import Table
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.shard_node.guards.event_triggers import REQUEST_IDS_SEPARATOR
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import unknown_if_lost
from crosskey.shard_node.schema.shard import Shard
from crosskey.shard_node.writing.execution import execute_statement, uninterrupted
from crosskey.shard_node.writing.kept_answers import keep_many

MAX_BYTES = 16 * 1024
"""Of a request's rows: larger requests gain nothing by sharing."""

LONGEST_WAIT_MS = 50
"""For a row's lock, before a shared statement is given up: one request's wait must not hold up the others."""


class InsertShape(NamedTuple):
    """What inserts have in common that share a statement: all but their rows, as a serialised Statement."""

    statement: bytes


def insert_shape(request: proto.RunRequest) -> InsertShape | None:
    """The shape of a request that inserts a few rows into one table, checks and commits; None for any other."""
    if request.start != proto.RunRequest.START_PLAIN or len(request.commands) != 3:
        return None
    first, second, last = request.commands
    if not (first.HasField("run") and second.HasField("check") and last.HasField("commit")):
        return None
    insert = first.run.insert
    if last.commit.decision_gid or first.run.lock_table or not insert.columns or insert.HasField("on_conflict"):
        return None
    if len(insert.rows_json) > MAX_BYTES:
        return None
    shape = proto.Statement()
    shape.CopyFrom(first.run)
    shape.insert.ClearField("rows_json")
    return InsertShape(shape.SerializeToString(deterministic=True))


class InsertOf(NamedTuple):
    """A request to insert rows, and the id of the client's request that it is made for."""

    request: proto.RunRequest
    request_id: str


class SharedInserts:
    """Carries out inserts of one shape by one statement."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard

    async def insert(self, shape: InsertShape, inserts: Sequence[InsertOf]) -> Sequence[proto.RunResponse] | None:
        """A response for each request; None, with nothing inserted, if each is to be carried out alone.

        It is so where anything is refused or waits for too long, and for tables with triggers of the user's: they would
        tell one statement from several. Raises OutcomeUnknown, and what Database.borrow raises.
        """
        schema = self._shard.known_schema
        if schema is None:
            return None
        statement = proto.Statement.FromString(shape.statement)
        try:
            table = schema.table(statement.table)
        except errors.UnknownTable:
            return None
        if table.acts_on_inserts or table.acts_after_rows:
            return None
        requests = [insert.request for insert in inserts]
        given = _rows(requests)
        if given is None:
            return None
        statement.insert.rows_json = msgspec.json.encode(list(chain.from_iterable(given)))
        ids = _ids(inserts, given) if schema.tells_events else ""

        def respond(result: proto.CommandResult) -> list[proto.RunResponse]:
            return _responses(requests, given, result, shows_rows=not statement.count_only)

        async with self._shard.database.connection() as connection:
            if not any(request.commands[-1].commit.HasField("keep") for request in requests):
                result = await _insert(connection, table, statement, ids)
                return None if result is None else respond(result)
            return await _insert_keeping(connection, table, statement, ids, requests, respond)


def _ids(inserts: Sequence[InsertOf], given: Sequence[Sequence[msgspec.Raw]]) -> str:
    """The request ids of all rows, in order."""
    ids = ([insert.request_id] * len(rows) for insert, rows in zip(inserts, given, strict=True))
    return REQUEST_IDS_SEPARATOR.join(chain.from_iterable(ids))


def _rows(requests: Sequence[proto.RunRequest]) -> list[list[msgspec.Raw]] | None:
    """The rows of each request; None if one of them has no JSON array of rows."""
    try:
        return [
            msgspec.json.decode(request.commands[0].run.insert.rows_json, type=list[msgspec.Raw])
            for request in requests
        ]
    except msgspec.MsgspecError:
        return None


async def _insert(
    connection: Connection, table: Table, statement: proto.Statement, request_ids: str
) -> proto.CommandResult | None:
    """Runs the statement, which commits by itself; None if it did nothing."""
    result = proto.CommandResult()
    try:
        # No time-out but of locks: to cancel a commit that waits for a standby would call it done.
        await execute_statement(connection, table, statement, result, request_ids, LONGEST_WAIT_MS)
    except (psycopg.Error, errors.CrosskeyError) as error:
        told = unknown_if_lost(error)
        if told is not error:
            raise told from error
        return None
    return result


async def _insert_keeping(
    connection: Connection,
    table: Table,
    statement: proto.Statement,
    request_ids: str,
    requests: Sequence[proto.RunRequest],
    respond: Callable[[proto.CommandResult], list[proto.RunResponse]],
) -> list[proto.RunResponse] | None:
    """Runs the statement, and keeps the answers in its transaction; None if it did nothing, as for a repeat.

    Raises OutcomeUnknown.
    """
    result = proto.CommandResult()
    try:
        await connection.execute(b"BEGIN")
        await execute_statement(connection, table, statement, result, request_ids, LONGEST_WAIT_MS)
        responses = respond(result)
        kept = [
            (request.commands[-1].commit.keep, response)
            for request, response in zip(requests, responses, strict=True)
            if request.commands[-1].commit.HasField("keep")
        ]
        await keep_many(connection, [keep for keep, _ in kept], [response for _, response in kept])
    except (psycopg.Error, errors.CrosskeyError):
        # Whoever carries each out alone meets what is wrong, a lost connection too.
        if not connection.closed:
            await uninterrupted(connection.rollback())
        return None
    try:
        await uninterrupted(connection.execute(b"COMMIT"))
    except psycopg.Error as error:
        told = unknown_if_lost(error)
        if told is not error:
            raise told from error
        return None
    return responses


def _responses(
    requests: Sequence[proto.RunRequest],
    given: Sequence[Sequence[msgspec.Raw]],
    result: proto.CommandResult,
    *,
    shows_rows: bool,
) -> list[proto.RunResponse]:
    """Each request's part of what the shared statement answered."""
    shown = iter(msgspec.json.decode(result.rows_json, type=list[msgspec.Raw]) if shows_rows else ())
    responses = []
    for request, rows in zip(requests, given, strict=True):
        response = proto.RunResponse(finished=True)
        own_rows = msgspec.json.encode(list(islice(shown, len(rows))))
        response.results.add(tag=request.commands[0].tag, count=len(rows), rows_json=own_rows)
        responses.append(response)
    return responses
