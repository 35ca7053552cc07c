"""Slots: the buckets that shard keys hash to, the same here, in SQL and in every client.

Only types whose equal values have equal text can be hashed so: integers, uuid, and text with a deterministic collation.
`docs/slots.json` has test vectors.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from binascii import unhexlify
from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

from crosskey.slots import SLOTS, mint_uuid, slot_of_text, slot_of_uuid

__all__ = [
    "FAMILIES",
    "SLOTS",
    "Family",
    "canonical_text",
    "mint_uuid",
    "quick_slot",
    "shard_of_slot",
    "slot_of_text",
    "slot_of_uuid",
    "slot_of_value",
    "slot_of_values",
]

Family = Literal["integer", "uuid", "text"]
"""Types of one family have the same canonical text for equal values, whatever their width."""

FAMILIES: Final[dict[str, Family]] = {
    "int2": "integer",
    "int4": "integer",
    "int8": "integer",
    "uuid": "uuid",
    "text": "text",
    "varchar": "text",
}

_BETWEEN_VALUES: Final = "\x1f"
"""What separates texts that are hashed together. That others then have the same hash does no harm."""

_SLOT_MASK: Final = SLOTS - 1
_INTEGER_TYPES: Final = {"int2": ("smallint", 16), "int4": ("integer", 32), "int8": ("bigint", 64)}
# PostgreSQL 15 takes decimal digits only and refuses the other spellings itself, with its own message.
_INTEGER: Final = re.compile(
    r"[ \t\n\v\f\r]*([+-]?)(?:0[xX]((?:_?[0-9a-fA-F])+)|0[oO]((?:_?[0-7])+)|0[bB]((?:_?[01])+)|([0-9](?:_?[0-9])*))"
    r"[ \t\n\v\f\r]*"
)
_BASES: Final = (16, 8, 2, 10)
_UUID_DIGITS: Final = r"[0-9a-fA-F]{4}(?:-?[0-9a-fA-F]{4}){7}"
_UUID: Final = re.compile(rf"({_UUID_DIGITS})|\{{({_UUID_DIGITS})\}}")
_PLAIN_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""As PostgreSQL spells it, and nearly everybody else."""
_UUID_BYTES: Final = 16
_ZERO: Final = ord("0")
_MAX_INTEGER_DIGITS: Final = 100
"""More than any number in range has in any base, so that what is cut off was out of range and still is."""


def slot_of_value(base_type: str, value: object, max_length: int | None = None) -> int:
    """The slot of a JSON value for a column of that type. Raises ValueError as canonical_text does."""
    text = canonical_text(base_type, value, max_length)
    return _slot_of_plain_uuid(text.encode()) if base_type == "uuid" else slot_of_text(text)


def quick_slot(base_type: str, max_length: int | None = None) -> Callable[[bytes], int | None]:
    """A function that answers the slot of a value's text in UTF-8, and None for a spelling that takes a closer look.

    For very many values, of which nearly all are spelt as PostgreSQL itself does. What the type does not take at all
    may get any slot.
    """
    family = FAMILIES[base_type]
    if family == "uuid":
        return _quick_uuid_slot
    if family == "integer":
        return _quick_integer_slot
    return _quick_text_slot if max_length is None else _no_quick_slot


def _quick_uuid_slot(text: bytes) -> int | None:
    try:
        value = unhexlify(text.replace(b"-", b""))
    except ValueError:
        return None
    return _slot_of_bytes(value) if len(value) == _UUID_BYTES else None


def _slot_of_plain_uuid(text: bytes) -> int:
    return _slot_of_bytes(unhexlify(text.replace(b"-", b"")))


def _slot_of_bytes(value: bytes) -> int:
    """As slot_of_uuid, of the bytes: to make a UUID of them takes longer than all the rest."""
    digest = hashlib.sha256(value[:14]).digest()
    return ((value[14] ^ digest[0]) << 8 | value[15] ^ digest[1]) & _SLOT_MASK


def _quick_integer_slot(text: bytes) -> int | None:
    # A leading zero is a spelling of its own.
    return _quick_text_slot(text) if text.isdigit() and (text[0] != _ZERO or text == b"0") else None


def _quick_text_slot(text: bytes) -> int | None:
    digest = hashlib.sha256(text).digest()
    return (digest[0] << 8 | digest[1]) & _SLOT_MASK


def _no_quick_slot(_: bytes) -> int | None:
    return None


def slot_of_values(values: Sequence[tuple[str, object, int | None]]) -> int:
    """The slot of several values together, each with its type and maximal length; of a single one, its own.

    A JSON null is as if it were not there. Raises ValueError as canonical_text does.
    """
    if len(values) == 1:
        ((base_type, value, max_length),) = values
        return 0 if value is None else slot_of_value(base_type, value, max_length)
    given = [canonical_text(*one) for one in values if one[1] is not None]
    return slot_of_text(_BETWEEN_VALUES.join(given))


def shard_of_slot(slot: int, shards: int) -> int:
    """The shard, 0 to shards - 1, that holds a slot: striped, so that neighbours spread."""
    return slot % shards


def canonical_text(base_type: str, value: object, max_length: int | None = None) -> str:
    """The one text that all spellings of a shard key's JSON value share.

    `base_type` is a key of FAMILIES and `max_length` the n of varchar(n). A float stands for the integer that it
    equals. Raises ValueError with PostgreSQL's own message for what the type does not take, and for a boolean or a
    fraction where text is asked for: the text of those depends on who writes the JSON.
    """
    family = FAMILIES[base_type]
    text = _json_text(value)
    if family == "integer":
        return _canonical_integer(base_type, text)
    if family == "uuid":
        return _canonical_uuid(text)
    if not isinstance(value, str) and not text.lstrip("-").isdecimal():
        raise ValueError(f"a shard key of type text takes a string, not {text}")
    return _fit_text(text, max_length)


def _json_text(value: object) -> str:
    """The text that PostgreSQL's JSON functions would hand to the column's type."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1:
        return str(int(value))
    return msgspec.json.encode(value).decode()


def _canonical_integer(base_type: str, text: str) -> str:
    name, bits = _INTEGER_TYPES[base_type]
    number = _parse_integer(text)
    if number is None:
        raise ValueError(f'invalid input syntax for type {name}: "{text}"')
    if not -(1 << bits - 1) <= number < 1 << bits - 1:
        raise ValueError(f'value "{text}" is out of range for type {name}')
    return str(number)


def _parse_integer(text: str) -> int | None:
    """The number in any of PostgreSQL's spellings, None if it is none of them."""
    if len(text) < 19 and text.isascii() and text.isdecimal():
        return int(text)  # Nearly every number, at a fraction of the cost.
    found = _INTEGER.fullmatch(text)
    if found is None:
        return None
    sign, *spellings = found.groups()
    digits, base = next((digits, base) for digits, base in zip(spellings, _BASES, strict=True) if digits is not None)
    digits = digits.replace("_", "").lstrip("0") or "0"
    return int(sign + digits[:_MAX_INTEGER_DIGITS], base)


def _canonical_uuid(text: str) -> str:
    if _PLAIN_UUID.fullmatch(text) is not None:
        return text
    found = _UUID.fullmatch(text)
    if found is None:
        raise ValueError(f'invalid input syntax for type uuid: "{text}"')
    return str(uuid.UUID(found[1] or found[2]))


def _fit_text(text: str, max_length: int | None) -> str:
    if "\0" in text:
        raise ValueError("unsupported Unicode escape sequence")
    if max_length is None or len(text) <= max_length:
        return text
    if text[max_length:].strip(" "):
        raise ValueError(f"value too long for type character varying({max_length})")
    return text[:max_length]
