"""The shard's half of the audit: what it can see alone, and pages of guards that a router compares between shards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

from psycopg import errors as postgres
from psycopg import sql

from catalog.model import TableName
from catalog.plan import Claim, ReferencedKey
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.v1.admin_pb2 import AuditResponse
from shard_node.auditing.damage_checks import DamageCheck, damage_checks
from shard_node.auditing.guard_pairs import GuardPair, guard_pair, owner_of_there
from shard_node.auditing.missing_guards import MissingGuard, find_missing_guards
from shard_node.postgres.database import Connection
from shard_node.postgres.startup import ShardIdentity
from shard_node.schema.shard_schema import ShardSchema
from shard_node.sql_text.sql_names import column_list, columns_equal, json_object, table_identifier

# What is gone is among the missing guards already.
_GONE = (postgres.UndefinedTable, postgres.UndefinedColumn, postgres.UndefinedFunction)


async def audit_shard(
    connection: Connection, schema: ShardSchema, identity: ShardIdentity
) -> AsyncIterator[proto.AuditShardResponse]:
    """Streams the digest of every reference table, which guards there are, and then what is damaged.

    The digests come first: whoever wants only those can hang up after them. Raises psycopg.Error.
    """
    for table in schema.plan.tables:
        if table.placement == "reference":
            yield await _digest(connection, table.table.name)
    if guards_here := await _guards_here(connection, schema, identity):
        yield proto.AuditShardResponse(guards_here=guards_here)
    for check in damage_checks(schema.plan, identity.shard, identity.shards):
        for finding in await _run_check(connection, check):
            yield finding
    for missing in await find_missing_guards(connection, schema, identity):
        yield _missing_guard(missing)


async def list_guards(
    connection: Connection, schema: ShardSchema, identity: ShardIdentity, request: proto.ListGuardsRequest
) -> proto.ListGuardsResponse:
    """A page of pins for, or of shadows of parents on, another shard (or this one), in order of their keys.

    Raises InvalidRequest and psycopg.Error.
    """
    pair = guard_pair(schema, request.referenced_key, identity.shards)
    after, parameters = _after(pair, request.after_json)
    statement = sql.SQL(
        "SELECT coalesce(json_agg(key), '[]')::text, count(*), coalesce((json_agg(key) -> -1)::text, '')"
        " FROM (SELECT {key} AS key FROM {guards} g WHERE {owner} = %s AND {counted} AND {after}"
        " ORDER BY {columns} LIMIT %s) page"
    ).format(
        key=json_object(pair.columns, "g"),
        guards=table_identifier(pair.there if request.pins else pair.here),
        owner=owner_of_there() if request.pins else pair.counterpart,
        counted=pair.counted,
        after=after,
        columns=column_list(pair.columns, alias="g"),
    )
    cursor = await connection.execute(statement, [request.other_shard, *parameters, request.limit])
    [(keys, count, last)] = await cursor.fetchall()
    return proto.ListGuardsResponse(keys_json=keys.encode(), count=count, last_json=last.encode())


async def find_unguarded(
    connection: Connection, schema: ShardSchema, identity: ShardIdentity, request: proto.FindUnguardedRequest
) -> proto.FindUnguardedResponse:
    """Those of the keys that have no pin for the other shard here, or no shadow.

    Raises InvalidRequest and psycopg.Error.
    """
    pair = guard_pair(schema, request.referenced_key, identity.shards)
    statement = sql.SQL(
        "SELECT coalesce(json_agg({key}), '[]')::text FROM json_populate_recordset(NULL::{given}, %s) k"
        " WHERE NOT EXISTS (SELECT FROM {guards} g WHERE {same} AND {owner} = %s)"
    ).format(
        key=json_object(pair.columns, "k"),
        given=table_identifier(pair.there),
        guards=table_identifier(pair.there if request.pins else pair.here),
        same=columns_equal(pair.columns, "g", "k"),
        owner=owner_of_there() if request.pins else pair.counterpart,
    )
    cursor = await connection.execute(statement, [request.keys_json.decode(), request.other_shard])
    [(keys,)] = await cursor.fetchall()
    return proto.FindUnguardedResponse(keys_json=keys.encode())


async def _guards_here(connection: Connection, schema: ShardSchema, identity: ShardIdentity) -> list[proto.GuardsHere]:
    """The guards of which there are any: most schemas have many that never come to be, and need no comparison.

    All of them, if one cannot be looked at.
    """
    tables = dict(_guard_tables(schema, identity))
    if not tables:
        return []
    each = sql.SQL(", ").join(
        sql.SQL("EXISTS (SELECT FROM {})").format(table_identifier(table)) for table in tables.values()
    )
    there_are = [True] * len(tables)
    with suppress(*_GONE):
        [(there_are,)] = await (await connection.execute(sql.SQL("SELECT ARRAY[{}]").format(each), ())).fetchall()
    return [
        proto.GuardsHere(referenced_key=key, pins=pins)
        for (key, pins), there_is in zip(tables, there_are, strict=True)
        if there_is
    ]


def _guard_tables(schema: ShardSchema, identity: ShardIdentity) -> Iterator[tuple[tuple[str, bool], TableName]]:
    """For each referenced key or claim, and for whether its pins are meant: the table."""
    guards: list[ReferencedKey | Claim] = [*schema.plan.referenced_keys, *schema.plan.claims]
    for guarded in guards:
        pair = guard_pair(schema, guarded.id, identity.shards)
        yield (guarded.id, False), pair.here
        yield (guarded.id, True), pair.there


def _after(pair: GuardPair, after_json: bytes) -> tuple[sql.Composable, list[str]]:
    """The condition that a key lies after another one, which the key's index serves."""
    if not after_json:
        return sql.SQL("true"), []
    condition = sql.SQL("({columns}) > (SELECT {columns_after} FROM json_populate_record(NULL::{given}, %s) k)").format(
        columns=column_list(pair.columns, alias="g"),
        columns_after=column_list(pair.columns, alias="k"),
        given=table_identifier(pair.there),
    )
    return condition, [after_json.decode()]


async def _digest(connection: Connection, table: TableName) -> proto.AuditShardResponse:
    """A digest that is equal where the rows are, in whatever order they lie; it takes no memory and no sorting."""
    statement = sql.SQL(
        "SELECT concat(count(*), ':', sum(('x' || left(encode(sha256(convert_to((t.*)::text, 'UTF8')), 'hex'), 16))"
        "::bit(64)::bigint)) FROM {} t"
    ).format(table_identifier(table))
    digest = "no such table"
    with suppress(*_GONE):
        [(digest,)] = await (await connection.execute(statement, ())).fetchall()
    return proto.AuditShardResponse(kind=AuditResponse.KIND_REFERENCE_DIFFERS, table=str(table), digest=digest)


async def _run_check(connection: Connection, check: DamageCheck) -> list[proto.AuditShardResponse]:
    try:
        [(count, keys)] = await (await connection.execute(check.query, ())).fetchall()
    except _GONE:
        return []
    return list(_findings(check, count, keys))


def _findings(check: DamageCheck, count: int, keys: list[str]) -> Iterator[proto.AuditShardResponse]:
    for key in keys:
        yield _finding(check, check.message, key)
    if count > len(keys):
        yield _finding(check, f"{count - len(keys)} more rows like the {len(keys)} before")


def _finding(check: DamageCheck, message: str, key: str = "") -> proto.AuditShardResponse:
    return proto.AuditShardResponse(
        kind=check.kind, table=str(check.table), constraint=check.constraint, key_json=key.encode(), message=message
    )


def _missing_guard(missing: MissingGuard) -> proto.AuditShardResponse:
    wanted = missing.wanted
    found = "is missing" if missing.found is None else f"is not as it was installed, but: {missing.found}"
    return proto.AuditShardResponse(
        kind=AuditResponse.KIND_MISSING_GUARD,
        table=wanted.table.removeprefix("public."),
        constraint=wanted.name,
        message=f"this {wanted.kind} {found}. Repair what it let through, then make it again: {wanted.state}",
    )
