"""What triggers noted in `crosskey.effect`, taken out in the order in which it is to be applied."""

from __future__ import annotations

import msgspec
from psycopg import sql

from crosskey.internal.v1.effects_pb2 import Effect
from crosskey.shard_node.postgres.database import Connection
from crosskey.shard_node.sql_text.identifiers import literal

# Claims are left before pins are changed: that waits for whoever is about to add a pin, so that the change finds it.
# Pins that one change of a row's values moved are there before the next change of that row moves them on.
_IN_ORDER = (
    Effect.FIND_ANCHORS_FIELD_NUMBER,
    Effect.RESTORE_PINS_FIELD_NUMBER,
    Effect.CHANGE_VALUES_FIELD_NUMBER,
    Effect.RELEASE_VALUES_FIELD_NUMBER,
    Effect.CLAIM_VALUES_FIELD_NUMBER,
    Effect.REKEY_SHADOWS_FIELD_NUMBER,
    Effect.REVISE_SHADOWS_FIELD_NUMBER,
    Effect.DELETE_SHADOWS_FIELD_NUMBER,
    Effect.PIN_PARENTS_FIELD_NUMBER,
    Effect.TAKE_OUT_DISPLACED_FIELD_NUMBER,
    Effect.COPIES_UNSEEN_FIELD_NUMBER,
)
_TAKE_EFFECTS = (
    sql.SQL("SELECT * FROM crosskey.take_effects(ARRAY[{}], {})")
    .format(sql.SQL(", ").join(map(literal, _IN_ORDER)), literal(Effect.RELEASE_VALUES_FIELD_NUMBER))
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


async def take_effects(connection: Connection, *, after: bytes = b"") -> list[NotedEffects]:
    """Takes the effects that the triggers noted in this transaction; `after` is SQL to run first, on the same way."""
    if after:
        cursor = await connection.execute(after + _TAKE_EFFECTS, prepare=False)
        while cursor.nextset():
            pass
    else:
        cursor = await connection.execute(_TAKE_EFFECTS)
    return [NotedEffects(*row) for row in await cursor.fetchall()]
