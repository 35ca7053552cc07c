"""The shard's half of the audit: what it can see alone, and pages of guards that a router compares between shards."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from typing import LiteralString

from psycopg import errors as postgres
from psycopg import sql

from crosskey.catalog.model import TableName
from crosskey.catalog.plan import Claim, ReferencedKey
from crosskey.internal.v1 import maintenance_pb2 as proto
from crosskey.shard_node.auditing.damage_checks import DamageCheck, damage_checks
from crosskey.shard_node.auditing.drift import Difference, find_drift
from crosskey.shard_node.auditing.guard_pairs import GuardPair, guard_pair, owner_of_there
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.postgres.startup import ShardIdentity
from crosskey.shard_node.schema.shard_schema import ShardSchema
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.key_columns import same_key
from crosskey.shard_node.sql_text.sql_names import as_record, column_list, table_identifier
from crosskey.shard_node.sql_text.travelling_keys import travelling_copies, travelling_key
from crosskey.v1.admin_pb2 import AuditResponse

_OTHER_PARENT: LiteralString = (
    "EXISTS (SELECT FROM {parent} g WHERE {same} AND record_image_ne(ROW({values}), ROW({given})))"
)
_OTHER_SHADOW: LiteralString = (
    "NOT EXISTS (SELECT FROM {shadow} g WHERE {same} AND record_image_eq(ROW({values}), ROW({given})))"
)

# What is gone is among the missing guards already.
_GONE = (postgres.UndefinedTable, postgres.UndefinedColumn, postgres.UndefinedFunction)


async def audit_shard(
    connection: Connection, schema: ShardSchema, identity: ShardIdentity, dsn: str
) -> AsyncIterator[proto.AuditShardResponse]:
    """Streams the digest of every reference table, which guards there are, and then what is damaged.

    The digests come first: whoever wants only those can hang up after them. `dsn` is the shard's own. Raises
    psycopg.Error, and NotSupported if the shard's role has no planner.
    """
    for table in schema.plan.tables:
        if table.placement == "reference":
            yield await _digest(connection, table.table.name)
    if guards_here := await _guards_here(connection, schema, identity):
        yield proto.AuditShardResponse(guards_here=guards_here)
    for check in damage_checks(schema.plan, identity.shard, identity.shards):
        for finding in await _run_check(connection, check):
            yield finding
    for difference in await find_drift(connection, schema, identity, dsn):
        yield _drift(difference)


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
        " FROM (SELECT {key} AS key FROM {guards} WHERE {owner} = %s AND {counted} AND {after}"
        " ORDER BY {columns} LIMIT %s) page"
    ).format(
        key=_listed(pair, "g", copies=request.copies),
        guards=pair.guards(pins=request.pins),
        owner=owner_of_there() if request.pins else pair.counterpart,
        counted=pair.counted,
        after=after,
        columns=column_list(pair.key.columns, alias="g"),
    )
    cursor = await connection.execute(statement, [request.other_shard, *parameters, request.limit])
    [(keys, count, last)] = await cursor.fetchall()
    return proto.ListGuardsResponse(keys_json=keys.encode(), count=count, last_json=last.encode())


async def find_unguarded(
    connection: Connection, schema: ShardSchema, identity: ShardIdentity, request: proto.FindUnguardedRequest
) -> proto.FindUnguardedResponse:
    """Those of the keys that have no pin for the other shard here, or no shadow; or that have other values.

    Raises InvalidRequest and psycopg.Error.
    """
    if request.copies:
        return await _find_other_values(connection, schema.referenced_key(request.referenced_key), request)
    pair = guard_pair(schema, request.referenced_key, identity.shards)
    statement = sql.SQL(
        "SELECT coalesce(json_agg({key}), '[]')::text FROM json_populate_recordset(NULL::{given}, %s) k"
        " WHERE NOT EXISTS (SELECT FROM {guards} WHERE {same} AND {owner} = %s)"
    ).format(
        key=travelling_key(pair.key, "k"),
        given=table_identifier(pair.there),
        guards=pair.guards(pins=request.pins),
        same=pair.same,
        owner=owner_of_there() if request.pins else pair.counterpart,
    )
    cursor = await connection.execute(statement, [request.keys_json.decode(), request.other_shard])
    [(keys,)] = await cursor.fetchall()
    return proto.FindUnguardedResponse(keys_json=keys.encode())


async def _find_other_values(
    connection: Connection, referenced: ReferencedKey, request: proto.FindUnguardedRequest
) -> proto.FindUnguardedResponse:
    """Those of the shadows, with their values, whose parents here have other values; or that are not so any more."""
    names = {
        "row": travelling_copies(referenced, "k"),
        "shadow": table_identifier(referenced.shadow),
        "parent": table_identifier(referenced.parent),
        "same": same_key(referenced, "g", "k"),
        "values": column_list(referenced.copied, alias="g"),
        "given": column_list(referenced.copied, alias="k"),
    }
    found = sql.SQL(_OTHER_PARENT if request.pins else _OTHER_SHADOW).format(**names)
    statement = sql.SQL(
        "SELECT coalesce(json_agg({row}), '[]')::text FROM json_populate_recordset(NULL::{shadow}, %s) k WHERE {found}"
    ).format(found=found, **names)
    cursor = await connection.execute(statement, [request.keys_json.decode()])
    [(rows,)] = await cursor.fetchall()
    return proto.FindUnguardedResponse(keys_json=rows.encode())


def _listed(pair: GuardPair, alias: str, *, copies: bool) -> sql.Composed:
    if copies and isinstance(pair.key, ReferencedKey):
        return travelling_copies(pair.key, alias)
    return travelling_key(pair.key, alias)


async def _guards_here(connection: Connection, schema: ShardSchema, identity: ShardIdentity) -> list[proto.GuardsHere]:
    """The guards of which there are any: most schemas have many that never come to be, and need no comparison.

    All of them, if one cannot be looked at.
    """
    tables = dict(_guard_tables(schema, identity))
    if not tables:
        return []
    each = sql.SQL(", ").join(sql.SQL("EXISTS (SELECT FROM {})").format(guards) for guards in tables.values())
    there_are = [True] * len(tables)
    with suppress(*_GONE):
        [(there_are,)] = await (await connection.execute(sql.SQL("SELECT ARRAY[{}]").format(each), ())).fetchall()
    return [
        proto.GuardsHere(referenced_key=key, pins=pins)
        for (key, pins), there_is in zip(tables, there_are, strict=True)
        if there_is
    ]


def _guard_tables(schema: ShardSchema, identity: ShardIdentity) -> Iterator[tuple[tuple[str, bool], sql.Composed]]:
    """For each referenced key or claim, and for whether its pins are meant: the rows."""
    guards: list[ReferencedKey | Claim] = [*schema.plan.referenced_keys, *schema.plan.claims]
    for guarded in guards:
        pair = guard_pair(schema, guarded.id, identity.shards)
        for pins in (False, True):
            yield (guarded.id, pins), pair.guards(pins=pins)


def _after(pair: GuardPair, after_json: bytes) -> tuple[sql.Composable, list[str]]:
    """The condition that a key lies after another one, which the key's index serves."""
    if not after_json:
        return sql.SQL("true"), []
    if pair.oddly_ordered.isdisjoint(pair.key.columns):
        return _compared(pair, ">", pair.key.columns), [after_json.decode()]
    records = sql.SQL("{} > (SELECT {} FROM json_populate_record(NULL::{}, %s) k)").format(
        as_record(identifier("g", column) for column in pair.key.columns),
        as_record(identifier("k", column) for column in pair.key.columns),
        table_identifier(pair.there),
    )
    # An index does not serve a comparison of records, but the columns before the odd one bound a scan of it.
    bound = [*takewhile(lambda column: column not in pair.oddly_ordered, pair.key.columns)]
    if not bound:
        return records, [after_json.decode()]
    return sql.SQL("{} AND {}").format(_compared(pair, ">=", bound), records), [after_json.decode()] * 2


def _compared(pair: GuardPair, operator: LiteralString, columns: Sequence[str]) -> sql.Composed:
    """The first columns of a key compared with those of a key that is a parameter."""
    return sql.SQL("({columns}) {operator} (SELECT {given} FROM json_populate_record(NULL::{there}, %s) k)").format(
        columns=column_list(columns, alias="g"),
        operator=sql.SQL(operator),
        given=column_list(columns, alias="k"),
        there=table_identifier(pair.there),
    )


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


def _drift(difference: Difference) -> proto.AuditShardResponse:
    part = difference.part
    missing_guard = part.is_guard and difference.wanted is not None
    return proto.AuditShardResponse(
        kind=AuditResponse.KIND_MISSING_GUARD if missing_guard else AuditResponse.KIND_SCHEMA_DIFFERS,
        table=part.table.removeprefix("public."),
        constraint=part.name,
        message=_what_differs(difference),
    )


def _what_differs(difference: Difference) -> str:
    wanted, found = difference.wanted, difference.found
    kind = difference.part.kind
    if wanted is None:
        state = difference.part.state
        return f"this {kind} is none of the schema in force. Drop it, unless it was made on purpose: {state}"
    there = "is missing" if found is None else f"is not as it was installed, but: {found.state}"
    if wanted.is_guard:
        return f"this {kind} {there}. Repair what it let through, then make it again: {wanted.state}"
    return f"this {kind} {there}. Make it as the schema in force says: {wanted.state}"
