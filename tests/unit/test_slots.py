"""Slots: the published vectors, canonical texts, and ids that carry a slot."""

import json
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosskey.catalog.slots import (
    SLOTS,
    canonical_text,
    mint_uuid,
    quick_slot,
    shard_of_slot,
    slot_of_text,
    slot_of_uuid,
    slot_of_value,
)

VECTORS = json.loads((Path(__file__).parents[2] / "docs" / "slots.json").read_text(encoding="utf-8"))
BASE_TYPES = {"text": "text", "integer": "int8", "uuid": "uuid"}


@pytest.mark.parametrize("kind", BASE_TYPES)
def test_published_vectors(kind: str) -> None:
    for vector in VECTORS[kind]:
        assert slot_of_value(BASE_TYPES[kind], vector["value"]) == vector["slot"]


def test_the_vectors_are_for_this_number_of_slots() -> None:
    assert VECTORS["slots"] == SLOTS


def test_slot_of_a_known_digest() -> None:
    # SHA-256 of nothing begins with e3 b0.
    assert slot_of_text("") == 0xE3B0 & 0x3FFF


@given(st.integers(0, SLOTS - 1))
def test_a_minted_id_carries_its_slot_and_is_a_uuid_of_version_7(slot: int) -> None:
    minted = mint_uuid(slot)
    assert slot_of_uuid(minted) == slot
    assert (minted.version, minted.variant) == (7, uuid.RFC_4122)


def test_minted_ids_differ_and_begin_with_the_time() -> None:
    before = time.time_ns() // 1_000_000
    minted = {mint_uuid(7) for _ in range(1000)}
    after = time.time_ns() // 1_000_000
    assert len(minted) == 1000
    assert all(before <= int.from_bytes(value.bytes[:6], "big") <= after for value in minted)


@pytest.mark.parametrize("slot", [-1, SLOTS])
def test_no_id_for_a_slot_that_is_none(slot: int) -> None:
    with pytest.raises(ValueError, match="not in 0 to 16383"):
        mint_uuid(slot)


def test_slots_are_striped_over_shards() -> None:
    assert [shard_of_slot(slot, 3) for slot in range(5)] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    ("base_type", "value", "text"),
    [
        ("int8", 5, "5"),
        ("int8", 5.0, "5"),
        ("int8", -0.0, "0"),
        ("int4", " \t+007\n", "7"),
        ("int4", "-0", "0"),
        ("int8", "0x_1F", "31"),
        ("int8", "-0b101", "-5"),
        ("int8", "0o17", "15"),
        ("int8", "1_000", "1000"),
        ("int2", "-32768", "-32768"),
        ("int8", "000000000000000000000000000000000000009", "9"),
        ("uuid", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("uuid", "{a0eebc999c0b4ef8bb6d6bb9bd380a11}", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("uuid", "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("text", " as is ", " as is "),
        ("text", 5.0, "5"),
        ("text", 2**70, str(2**70)),
    ],
)
def test_canonical_text(base_type: str, value: object, text: str) -> None:
    assert canonical_text(base_type, value) == text


@pytest.mark.parametrize(
    ("base_type", "value", "message"),
    [
        ("int8", "abc", 'invalid input syntax for type bigint: "abc"'),
        ("int8", "", 'invalid input syntax for type bigint: ""'),
        ("int8", 5.5, 'invalid input syntax for type bigint: "5.5"'),
        ("int8", True, 'invalid input syntax for type bigint: "true"'),
        ("int4", "- 5", 'invalid input syntax for type integer: "- 5"'),
        ("int4", "1__0", 'invalid input syntax for type integer: "1__0"'),
        ("int4", "\u0665", 'invalid input syntax for type integer: "\u0665"'),
        ("int4", "\u00a05", 'invalid input syntax for type integer: "\u00a05"'),
        ("int4", "99999999999", 'value "99999999999" is out of range for type integer'),
        ("int2", 32768, 'value "32768" is out of range for type smallint'),
        ("int8", "9" * 5000, f'value "{"9" * 5000}" is out of range for type bigint'),
        ("int8", "0x8000000000000000", 'value "0x8000000000000000" is out of range for type bigint'),
        ("uuid", "x", 'invalid input syntax for type uuid: "x"'),
        ("uuid", 5, 'invalid input syntax for type uuid: "5"'),
        (
            "uuid",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
            'invalid input syntax for type uuid: "{a0eebc999c0b4ef8bb6d6bb9bd380a11"',
        ),
        (
            "uuid",
            "a0-eebc999c0b4ef8bb6d6bb9bd380a11",
            'invalid input syntax for type uuid: "a0-eebc999c0b4ef8bb6d6bb9bd380a11"',
        ),
        ("text", True, "a shard key of type text takes a string, not true"),
        ("text", 5.5, "a shard key of type text takes a string, not 5.5"),
        ("text", "a\0b", "unsupported Unicode escape sequence"),
    ],
)
def test_what_a_type_does_not_take(base_type: str, value: object, message: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the whole message is compared
        canonical_text(base_type, value)
    assert str(raised.value) == message


def test_varchar_cuts_excess_spaces_only() -> None:
    assert canonical_text("varchar", "ab  ", 3) == "ab "
    assert canonical_text("varchar", "äöü", 3) == "äöü"
    with pytest.raises(ValueError, match=r"^value too long for type character varying\(3\)$"):
        canonical_text("varchar", "abcd", 3)


@given(st.uuids())
def test_every_spelling_of_a_uuid_has_one_slot(value: uuid.UUID) -> None:
    spellings = [str(value), str(value).upper(), value.hex, "{" + str(value) + "}"]
    assert {slot_of_value("uuid", spelling) for spelling in spellings} == {slot_of_uuid(value)}


@given(st.integers(-(2**31), 2**31 - 1))
def test_an_integer_has_one_slot_in_every_width_and_form(value: int) -> None:
    slots = {slot_of_value("int8", value), slot_of_value("int4", value), slot_of_value("int8", f" {value:+d} ")}
    assert slots == {slot_of_text(str(value)), slot_of_value("int4", float(value))}


@pytest.mark.parametrize(
    ("base_type", "text"),
    [
        ("uuid", "018f4e3c-7b1a-7c3d-9e2f-0123456789ab"),
        ("uuid", "018F4E3C7B1A7C3D9E2F0123456789AB"),
        ("int8", "0"),
        ("int8", "42"),
        ("int2", "32767"),
        ("text", "über"),
        ("text", ""),
    ],
)
def test_quick_slots_are_the_same(base_type: str, text: str) -> None:
    assert quick_slot(base_type)(text.encode()) == slot_of_value(base_type, text)


@pytest.mark.parametrize(
    ("base_type", "text"),
    [("uuid", "{018f4e3c-7b1a-7c3d-9e2f-0123456789ab}"), ("int8", "-7"), ("int8", "007"), ("int4", " 7")],
)
def test_other_spellings_have_no_quick_slot(base_type: str, text: str) -> None:
    assert quick_slot(base_type)(text.encode()) is None
