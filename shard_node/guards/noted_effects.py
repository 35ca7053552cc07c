"""What triggers noted in `crosskey.effect`, taken out in the order in which it is to be applied."""

from __future__ import annotations

import msgspec
from psycopg import sql

from crosskey.internal.v1.effects_pb2 import Effect
from shard_node.postgres.database import Connection
from shard_node.sql_text.identifiers import literal

# Claims are left before pins are changed: that waits for whoever is about to add a pin, so that the change finds it.
# Pins that one change of a row's values moved are there before the next change of that row moves them on.
_IN_ORDER = (
    Effect.FIND_ANCHORS_FIELD_NUMBER,
    Effect.RESTORE_PINS_FIELD_NUMBER,
    Effect.CHANGE_VALUES_FIELD_NUMBER,
    Effect.RELEASE_VALUES_FIELD_NUMBER,
    Effect.CLAIM_VALUES_FIELD_NUMBER,
    Effect.REKEY_SHADOWS_FIELD_NUMBER,
    Effect.DELETE_SHADOWS_FIELD_NUMBER,
    Effect.PIN_PARENTS_FIELD_NUMBER,
    Effect.TAKE_OUT_DISPLACED_FIELD_NUMBER,
)
_TAKE_EFFECTS = (
    sql.SQL(
        "WITH taken AS (DELETE FROM crosskey.effect"
        " RETURNING *, (kind = {release} AND new_key::text = 'true') IS TRUE AS keeps_pins)"
        " SELECT kind, referenced_key, shard, json_agg(old_key ORDER BY place)::text,"
        " json_agg(new_key ORDER BY place)::text, json_agg(place ORDER BY place)::text, keeps_pins"
        " FROM taken GROUP BY kind, referenced_key, shard, keeps_pins"
        " ORDER BY NOT keeps_pins, array_position(ARRAY[{in_order}], kind), referenced_key, shard"
    )
    .format(release=literal(Effect.RELEASE_VALUES_FIELD_NUMBER), in_order=sql.SQL(", ").join(map(literal, _IN_ORDER)))
    .as_bytes()
)


class NotedEffects(msgspec.Struct, frozen=True):
    """What triggers noted for one shard and one referenced key, claim or table (`name`); keys are JSON arrays.

    `kind` is the number of a field of Effect; `new_keys` matches `old_keys` one by one where it means something.
    `places`, a JSON array too, tells when each was noted.
    """

    kind: int
    name: str
    shard: int
    old_keys: str
    new_keys: str
    places: str
    keeps_pins: bool


async def take_effects(connection: Connection) -> list[NotedEffects]:
    """Takes the effects that the triggers noted in this transaction."""
    cursor = await connection.execute(_TAKE_EFFECTS)
    return [NotedEffects(*row) for row in await cursor.fetchall()]
