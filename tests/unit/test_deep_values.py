"""Values that nest too deep for Python are told by their column."""

from collections.abc import Callable
from typing import Any

import pytest

from crosskey import JSON_NULL, column, delete, eq, insert, update
from crosskey.exact_json import decode
from crosskey.requests import get
from crosskey.row_reading import JsonRows, TypedRows
from crosskey.v1 import admin_pb2

LEVELS = 5000


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


DEEP = nested(LEVELS)
DEEP_TEXT = "[" * LEVELS + "]" * LEVELS

REQUESTS: dict[str, Callable[[], object]] = {
    "insert": lambda: insert("docs", [{"id": 1, "body": [1]}, {"id": 2, "body": DEEP}]),
    "insert of JSON texts": lambda: insert("docs", [{"id": 1, "body": JSON_NULL}, {"id": 2, "body": DEEP}]),
    "update": lambda: update("docs", {"id": 1, "body": DEEP}, key={"id": 1}),
    "computed": lambda: update("docs", {"body": column("body").concatenate(DEEP)}, key={"id": 1}),
    "where": lambda: delete("docs", where=eq("body", DEEP)),
    "key": lambda: get("docs", {"id": 1, "body": DEEP}),
}


@pytest.mark.parametrize("request_of", REQUESTS.values(), ids=REQUESTS)
def test_a_request(request_of: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match='the value of "body" nests too deep to be sent by this client'):
        request_of()


def test_depths_that_are_sent_are_read() -> None:
    assert decode(insert("docs", {"body": nested(250)}).rows_json) == [{"body": nested(250)}]


@pytest.mark.parametrize("before", ["", '"a":"[[[[",', '"[[\\"[[":["b",{"c":"d"}],'])
def test_an_answer(before: str) -> None:
    rows = f'[{{"id":1,"body":[]}},{{{before}"body":{DEEP_TEXT},"z":[["y"]]}}]'
    with pytest.raises(ValueError, match='a value of "body" of "docs" nests too deep to be read by this client'):
        JsonRows().rows("docs", rows)


def test_a_typed_answer() -> None:
    typed, columns = TypedRows(), admin_pb2.TableDescription(table="docs").columns
    columns.add(name="body", base_type="jsonb")
    typed.use_schema(
        admin_pb2.DescribeSchemaResponse(tables=[admin_pb2.TableDescription(table="docs", columns=columns)])
    )
    with pytest.raises(ValueError, match='a value of "body" of "docs" nests too deep'):
        typed.rows("docs", f'[{{"id":"1","body":"{DEEP_TEXT}"}}]')
