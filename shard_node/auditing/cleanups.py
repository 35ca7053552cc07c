"""What a shard is to clean up, and what it is to tell others, for operators and for those who have it done."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from psycopg import sql

from crosskey.catalog.plan import Plan, ReferencedKey
from crosskey.shard_node.guards.dead_shadows import SINCE, TOLD, among_dead, eventual_keys
from crosskey.shard_node.guards.pin_places import PIN_SHARD
from crosskey.shard_node.pace import Pace
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.schema.shard_schema import ShardSchema
from crosskey.shard_node.sql_text.identifiers import identifier
from crosskey.shard_node.sql_text.sql_names import table_identifier
from crosskey.v1.admin_pb2 import Cleanup

COUNTED = 10_000
"""Children that are counted; of more it is only told that there are so many."""

_AGE_MS = sql.SQL("(extract(epoch FROM clock_timestamp() - min({})) * 1000)::bigint").format(identifier(SINCE))


async def list_cleanups(
    connection: Connection, schema: ShardSchema, shard: int, pace: Pace, *, count_rows: bool
) -> list[Cleanup]:
    """What the shard is to clean up itself, and what it is to tell other shards. Raises psycopg.Error."""
    eventual = [key for key in schema.plan.referenced_keys if key.eventual]
    if not eventual:
        return []
    cursor = await connection.execute(_list_text(tuple(eventual)), [shard] * len(eventual))
    found = [_cleanup(eventual[place], shard, *row) for place, *row in await cursor.fetchall()]
    for cleanup in found:
        cleanup.late = cleanup.age_ms > pace.late_seconds * 1000
        if not cleanup.HasField("waits_on"):
            referenced = next(key for key in eventual if _names(key, cleanup))
            cleanup.rows_last_minute = pace.rows_last_minute(referenced.id)
            if count_rows:
                cleanup.rows_left = await _rows_left(connection, schema.plan, referenced)
    return found


def _cleanup(referenced: ReferencedKey, here: int, shard: int, deleted: int, age_ms: int, told: bool) -> Cleanup:
    return Cleanup(
        shard=shard,
        waits_on=None if told else here,
        table=str(referenced.parent),
        columns=referenced.columns,
        deleted=deleted,
        age_ms=age_ms,
    )


def _names(referenced: ReferencedKey, cleanup: Cleanup) -> bool:
    return str(referenced.parent) == cleanup.table and referenced.columns == tuple(cleanup.columns)


@lru_cache
def _list_text(eventual: Sequence[ReferencedKey]) -> bytes:
    """One statement for all keys, as most of the time there is nothing in any."""
    parts: list[sql.Composed] = []
    for place, referenced in enumerate(eventual):
        names = {
            "place": sql.Literal(place),
            "departed": table_identifier(referenced.departed),
            "dead": table_identifier(referenced.dead),
            "shard": identifier(PIN_SHARD),
            "since": identifier(SINCE),
            "told": identifier(TOLD),
            "age": _AGE_MS,
        }
        parts.append(
            sql.SQL(
                "SELECT {place}, {shard}, count(*), {age}, false FROM {departed} WHERE NOT {told} GROUP BY {shard}"
            ).format(**names)
        )
        parts.append(
            sql.SQL("SELECT {place}, %s::integer, count(*), {age}, true FROM {dead} HAVING count(*) > 0").format(
                **names
            )
        )
    return sql.SQL(" UNION ALL ").join(parts).as_bytes()


async def _rows_left(connection: Connection, plan: Plan, referenced: ReferencedKey) -> int:
    """How many children there are, up to COUNTED."""
    left = 0
    for key in eventual_keys(plan, referenced):
        statement = sql.SQL("SELECT count(*) FROM (SELECT FROM {child} c WHERE {dead} LIMIT %s) AS first").format(
            child=table_identifier(key.foreign_key.table), dead=sql.SQL(among_dead(plan, key, "c"))
        )
        [(count,)] = await (await connection.execute(statement, (COUNTED - left,))).fetchall()
        left += count
    return left
