"""JSON as people read it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosskey.cli.demo.json_text import json_text

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
)


def test_what_fits_is_one_line() -> None:
    assert json_text({"rows": [{"id": 1}]}, 80) == '{"rows": [{"id": 1}]}'


def test_what_does_not_fit_is_broken_from_the_outside() -> None:
    assert json_text({"rows": [{"id": 1}, {"id": 2}], "next": ""}, 33) == (
        '{\n  "rows": [{"id": 1}, {"id": 2}],\n  "next": ""\n}'
    )


def test_a_name_in_front_and_a_comma_behind_count_too() -> None:
    assert json_text({"rows": [{"id": 1}, {"id": 2}], "next": ""}, 32) == (
        '{\n  "rows": [\n    {"id": 1},\n    {"id": 2}\n  ],\n  "next": ""\n}'
    )


@pytest.mark.parametrize("empty", [{}, []])
def test_what_is_empty_is_never_broken(empty: object) -> None:
    assert json_text({"rows": empty}, 1) == f'{{\n  "rows": {empty}\n}}'


@given(value=JSON_VALUES, width=st.integers(1, 60))
def test_it_says_the_same_at_any_width(value: object, width: int) -> None:
    assert msgspec.json.decode(json_text(value, width)) == value


def test_what_nests_deep_is_not_broken_for_ever() -> None:
    deep: list[object] = []
    for _ in range(900):
        deep = [deep]
    assert len(json_text(deep, 80).splitlines()) <= 200
