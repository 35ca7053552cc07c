"""What a shard can be asked, on a connection of its own, or on that of a branch, which sees its own writes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import psycopg

from crosskey import errors
from crosskey.catalog.model import Table
from crosskey.internal.v1 import reads_pb2
from crosskey.shard_node.guards.claim_queries import look_up_claims
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.postgres_errors import naming_table
from crosskey.shard_node.reading import aggregating, linked_rows, reader, sorting
from crosskey.shard_node.schema.shard_schema import ShardSchema

_OfTable = Callable[[Connection, Table, Any, ShardSchema], Awaitable[Any]]


async def reply(connection: Connection, schema: ShardSchema, kind: str, request: Any) -> Any:
    """The reply to a question of that kind, one of QUESTIONS.

    Errors name the table. Raises UnknownTable, what the question raises, and psycopg.Error.
    """
    return await _REPLIES[kind](connection, schema, request)


async def _about_table(work: _OfTable, connection: Connection, schema: ShardSchema, request: Any) -> Any:
    table = schema.readable(request.table)
    try:
        return await work(connection, table, request, schema)
    except (psycopg.Error, errors.CrosskeyError) as error:
        named = naming_table(error, table.name)
        if named is error:
            raise
        raise named from error


async def _sort(
    connection: Connection, table: Table, request: reads_pb2.SortRequest, _: ShardSchema
) -> reads_pb2.SortResponse:
    return await sorting.sort(connection, table, request)


async def _find_pins(
    connection: Connection, schema: ShardSchema, request: reads_pb2.FindPinsRequest
) -> reads_pb2.FindPinsResponse:
    referenced = schema.referenced_key(request.referenced_key)
    table = schema.table(referenced.parent.qualified)
    return await linked_rows.find_pins(connection, referenced, request.keys_json, table)


async def _find_claims(
    connection: Connection, schema: ShardSchema, request: reads_pb2.FindClaimsRequest
) -> reads_pb2.FindClaimsResponse:
    found = await look_up_claims(connection, schema.claim(request.claim), request.values_json.decode())
    return reads_pb2.FindClaimsResponse(claims=map(to_found_claim, found))


def to_found_claim(found: tuple[int | None, int]) -> reads_pb2.FoundClaim:
    """What a look-up found for a value: the shard, and the place of the first equal value."""
    shard, first_equal = found
    return reads_pb2.FoundClaim(shard=shard, first_equal=first_equal)


_REPLIES: dict[str, Callable[[Connection, ShardSchema, Any], Awaitable[Any]]] = {
    "read": partial(_about_table, reader.read),
    "count_rows": partial(_about_table, reader.count_rows),
    "read_linked": partial(_about_table, linked_rows.read_linked),
    "read_keys": partial(_about_table, linked_rows.read_keys),
    "aggregate": partial(_about_table, aggregating.aggregate),
    "sort": partial(_about_table, _sort),
    "find_pins": _find_pins,
    "find_claims": _find_claims,
}

QUESTIONS = frozenset(_REPLIES)
"""The kinds of questions: the fields of the message Question, and as many of Call."""
