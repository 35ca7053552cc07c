"""Numbers that a double may have rounded are refused, wherever they are."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Value

from crosskey.errors import InvalidValue, NumberNotExact
from crosskey.router.planning.values import checked_json
from crosskey.rows import value_to_python
from tests.schema_builders import column, table

ITEMS = table("items", "@reference")
LARGEST_EXACT = 2**53 - 1


def sent(number: float) -> Any:
    return value_to_python(Value(number_value=number))


@pytest.mark.parametrize("number", [0, 5.0, -5, 0.1, 1e-9, LARGEST_EXACT, -LARGEST_EXACT])
def test_an_exact_number_passes(number: float) -> None:
    assert checked_json(ITEMS, column("amount", "numeric"), sent(number)) == number


def test_a_whole_number_passes_as_an_integer() -> None:
    assert type(checked_json(ITEMS, column("amount"), sent(5.0))) is int


@pytest.mark.parametrize(
    ("type_name", "sent", "passed"),
    [
        ("int4", 5.0, "5"),
        ("_int8", [[5.0]], "[[5]]"),
        ("numeric", -5.0, "-5"),
        ("text", 5.0, "5"),
        ("jsonb", 5.0, "5.0"),
        ("_jsonb", [5.0], "[5.0]"),
        ("public.pair", {"a": 5.0}, "{'a': 5.0}"),
        ("float8", -0.0, "-0.0"),
        ("int4", 5.5, "5.5"),
    ],
)
def test_a_whole_float_is_an_integer_where_that_is_the_same(type_name: str, sent: Any, passed: str) -> None:
    assert str(checked_json(ITEMS, column("amount", type_name), sent)) == passed


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**53 + 2, 1e300])
@pytest.mark.parametrize("type_name", ["bigint", "numeric", "text", "jsonb"])
def test_a_number_that_may_have_been_rounded_is_refused(number: float, type_name: str) -> None:
    with pytest.raises(NumberNotExact, match=r'column "amount" is beyond 2\^53') as caught:
        checked_json(ITEMS, column("amount", type_name), sent(number))
    assert (caught.value.metadata["table"], caught.value.metadata["columns"]) == ("items", "amount")


@pytest.mark.parametrize("value", [[1, [2e300]], {"a": {"b": [1e300]}}])
def test_a_number_inside_a_value_is_refused_too(value: Any) -> None:
    with pytest.raises(NumberNotExact):
        checked_json(ITEMS, column("doc", "jsonb"), value)


@pytest.mark.parametrize("type_name", ["json", "jsonb", "_jsonb", "public.kept_pair"])
def test_nobody_is_told_to_change_the_type_inside_json(type_name: str) -> None:
    with pytest.raises(NumberNotExact) as caught:
        checked_json(ITEMS, column("doc", type_name), [1e300])
    assert "as a string" not in caught.value.metadata["hint"]
    assert "rows_json" in caught.value.metadata["hint"]


@pytest.mark.parametrize("value", ["\\x", "\\x00ff", "", None])
def test_bytes_are_hexadecimal(value: Any) -> None:
    assert checked_json(ITEMS, column("raw", "bytea"), value) == value
    assert checked_json(ITEMS, column("raws", "_bytea"), [value, [value]]) == [value, [value]]


@pytest.mark.parametrize("value", ["AQID", "AQ==", "x", "\\X00", "{}", 1, True, {}])
def test_base64_is_not_taken_for_bytes(value: Any) -> None:
    with pytest.raises(InvalidValue, match=r'bytes are "\\x" and hexadecimal digits'):
        checked_json(ITEMS, column("raw", "bytea"), value)


def test_an_array_of_bytes_may_be_its_text() -> None:
    assert checked_json(ITEMS, column("raws", "_bytea"), "[0:0]={NULL}") == "[0:0]={NULL}"
    with pytest.raises(InvalidValue):
        checked_json(ITEMS, column("raws", "_bytea"), ["AQID"])


@pytest.mark.parametrize("value", ["90071992547409930", None, True, [1, "x"], {"a": [None, {}]}])
def test_other_values_pass(value: Any) -> None:
    assert checked_json(ITEMS, column("doc", "jsonb"), value) is value


@pytest.mark.parametrize("type_name", ["float4", "float8"])
def test_columns_of_floats_take_every_number(type_name: str) -> None:
    assert checked_json(ITEMS, column("ratio", type_name), 1e300) == 1e300
