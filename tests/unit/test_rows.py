"""Rows between Struct, Python and JSON: nothing is rounded, nothing is lost."""

from __future__ import annotations

import enum
import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from crosskey import rows
from crosskey.v1 import router_pb2

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-rows.MAX_EXACT, rows.MAX_EXACT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


class Colour(enum.StrEnum):
    """A subclass of str, as applications have them."""

    RED = "red"


@given(st.dictionaries(st.text(), json_values, max_size=6))
def test_a_json_object_comes_back_as_it_went(row: dict[str, Any]) -> None:
    assert rows.struct_to_dict(rows.dict_to_struct(row)) == row


@given(st.integers())
def test_no_integer_is_ever_rounded(number: int) -> None:
    assert int(rows.value_to_python(rows.python_to_value(number))) == number


@given(st.lists(st.dictionaries(st.text(), st.integers() | json_values, max_size=4), max_size=4))
def test_json_rows_become_the_same_structs_as_python_rows(many: list[dict[str, Any]]) -> None:
    assert rows.json_rows_to_structs(msgspec.json.encode(many)) == rows.rows_to_structs(many)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (2**53 - 1, 9007199254740991),
        (2**53, "9007199254740992"),
        (-(2**53), "-9007199254740992"),
        (Decimal("1.10"), "1.10"),
        (UUID("0190F3C2-7A5E-7C3E-8C3E-000000000001"), "0190f3c2-7a5e-7c3e-8c3e-000000000001"),
        (datetime(2026, 1, 2, 3, 4, 5, 6, UTC), "2026-01-02T03:04:05.000006+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        (b"\x00\xff", "\\x00ff"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (5.0, 5),
        (True, True),
        (None, None),
        (Colour.RED, "red"),
        ((1, "a"), [1, "a"]),
        ([], []),
        ({}, {}),
    ],
)
def test_python_values_are_sent_as_postgres_takes_them(value: Any, sent: Any) -> None:
    received = rows.value_to_python(rows.python_to_value(value))
    assert received == sent
    assert type(received) is type(sent)


def test_a_large_whole_double_stays_a_float_because_its_sender_may_have_rounded_it() -> None:
    received = rows.value_to_python(Value(number_value=float(2**53 + 1)))
    assert received == 2.0**53
    assert isinstance(received, float)


@pytest.mark.parametrize(("number", "text"), [(math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN")])
def test_a_double_that_json_does_not_have_is_received_as_text(number: float, text: str) -> None:
    assert rows.value_to_python(Value(number_value=number)) == text


def test_a_value_that_was_never_set_is_null() -> None:
    assert rows.value_to_python(Value()) is None


def test_a_json_number_too_large_for_a_double_keeps_its_digits() -> None:
    [struct] = rows.json_rows_to_structs(b'[{"a": 1e400, "b": 12345678901234567890, "c": 1.5}]')
    assert rows.struct_to_dict(struct) == {"a": "1e400", "b": "12345678901234567890", "c": 1.5}


@pytest.mark.parametrize("element", [lambda inner: [inner], lambda inner: {"a": inner}])
@pytest.mark.parametrize("depth", [1, rows.MAX_DEPTH, rows.MAX_DEPTH + 1, 300])
def test_a_value_that_nests_too_deep_for_a_message_is_its_text(element: Any, depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = element(value)
    sent = router_pb2.TransactResponse()
    rows.add_json_rows(sent.results.add().insert.rows, msgspec.json.encode([{"document": value}]))
    read = router_pb2.TransactResponse.FromString(sent.SerializeToString())
    document = rows.struct_to_dict(read.results[0].insert.rows[0])["document"]
    assert document == (value if depth <= rows.MAX_DEPTH else msgspec.json.encode(value).decode())


def test_no_depth_is_too_deep_for_an_answer() -> None:
    deep = "[" * 5000 + r'"\"]\\"' + "]" * 5000
    text = f'[{{"id":1,"document":{deep}}},{{"id":2,"document":[{{"a":"]"}}]}}]'
    [first, second] = rows.structs_to_dicts(rows.json_rows_to_structs(text.encode()))
    assert first == {"id": 1, "document": deep}
    assert second == {"id": 2, "document": [{"a": "]"}]}


def test_rows_are_added_to_a_repeated_field_in_order() -> None:
    response = router_pb2.InsertResponse()
    rows.add_rows(response.rows, [{"a": 1}, {"a": 2}])
    rows.add_json_rows(response.rows, b'[{"a":3}]')
    assert rows.structs_to_dicts(response.rows) == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_a_value_of_another_type_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="a value of type object cannot be sent"):
        rows.dict_to_struct({"a": object()})


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b"[{]"])
def test_what_is_no_array_of_objects_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"malformed|truncated|array of objects|Expected"):
        rows.json_rows_to_structs(text)


def test_the_structs_are_ordinary_ones() -> None:
    expected = Struct()
    expected.update({"a": 1, "b": [True, None, {"c": "x"}]})
    assert rows.dict_to_struct({"a": 1, "b": [True, None, {"c": "x"}]}) == expected
