"""Ids that carry a slot: made where rows are made, so that a row's id is known before the row is written.

A uuid primary key beside the shard key tells on which shard its row is. The router mints such an id for a row that has
none; `mint_for` does the same in advance, as for rows that name each other and are inserted in one transaction.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Final, Literal
from uuid import UUID

SLOTS: Final = 16384
"""A power of two, so that masking and modulo agree; enough to spread over any number of shards."""

ShardKeyType = Literal["integer", "text", "uuid"]

_SLOT_MASK: Final = SLOTS - 1


def mint_for(shard_key: int | str | UUID, column_type: ShardKeyType | None = None) -> UUID:
    """A new UUIDv7 for a row whose shard key has this value: the row's id, accepted by the router as its own would be.

    The type of the shard key's column matters, as equal texts of two types have other slots: by default `int` is for
    smallint, integer and bigint, `str` for text and varchar, UUID for uuid. Say "uuid" or "integer" for one that comes
    as a text. Raises ValueError for a value that the type does not take, and for a `str` that looks like a uuid if
    nothing is said.
    """
    return mint_uuid(slot_of_shard_key(shard_key, column_type))


def slot_of_shard_key(shard_key: int | str | UUID, column_type: ShardKeyType | None = None) -> int:
    """The slot of a shard key's value, as `mint_for` takes it. Raises ValueError as that does."""
    if isinstance(shard_key, bool) or not isinstance(shard_key, int | str | UUID):
        raise ValueError(f"a shard key is an int, a str or a UUID, not {shard_key!r}")
    kind = column_type or _type_of(shard_key)
    if kind == "uuid":
        return slot_of_uuid(shard_key if isinstance(shard_key, UUID) else UUID(str(shard_key)))
    if kind == "integer" and not isinstance(shard_key, UUID):
        return slot_of_text(str(int(shard_key)))
    if kind == "text" and isinstance(shard_key, str):
        return slot_of_text(shard_key)
    raise ValueError(f"{shard_key!r} is no shard key of type {kind}")


def _type_of(shard_key: int | str | UUID) -> ShardKeyType:
    if isinstance(shard_key, UUID):
        return "uuid"
    if isinstance(shard_key, int):
        return "integer"
    if _looks_like_uuid(shard_key):
        raise ValueError(f'"{shard_key}" may be a uuid or a text: say column_type="uuid" or column_type="text"')
    return "text"


def _looks_like_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def slot_of_text(text: str) -> int:
    """The slot of a canonical text: 0 to SLOTS - 1. Raises ValueError if the text is no Unicode."""
    return _first_two_bytes(text.encode()) & _SLOT_MASK


def slot_of_uuid(value: UUID) -> int:
    """The slot that a uuid carries in its last two bytes, blurred by a hash of the fourteen before them."""
    return (int.from_bytes(value.bytes[14:], "big") ^ _first_two_bytes(value.bytes[:14])) & _SLOT_MASK


def mint_uuid(slot: int) -> UUID:
    """A new UUIDv7 that carries `slot`.

    The first six bytes are the time in milliseconds; 60 further bits are random, two of them above the slot. Ids of one
    millisecond have no order among themselves. Raises ValueError if there is no such slot.
    """
    if not 0 <= slot < SLOTS:
        raise ValueError(f"slot {slot} is not in 0 to {SLOTS - 1}")
    head = bytearray((time.time_ns() // 1_000_000).to_bytes(6, "big") + secrets.token_bytes(8))
    head[6] = 0x70 | head[6] & 0x0F
    head[8] = 0x80 | head[8] & 0x3F
    top_bits = secrets.randbits(2) << 14
    tail = (top_bits | slot) ^ _first_two_bytes(bytes(head)) & _SLOT_MASK
    return UUID(bytes=bytes(head) + tail.to_bytes(2, "big"))


def _first_two_bytes(text: bytes) -> int:
    return int.from_bytes(hashlib.sha256(text).digest()[:2], "big")
