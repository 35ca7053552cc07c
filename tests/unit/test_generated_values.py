"""What an insert needs before it is planned, and what becomes of it: pure."""

from __future__ import annotations

import json
from typing import Any

import pytest

import crosskey
from crosskey import errors
from crosskey.catalog.model import TableName
from crosskey.catalog.slots import shard_of_slot, slot_of_value
from crosskey.requests import Overriding
from crosskey.router.planning.generated_values import GeneratedValues, need_of, needs_of
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.transactions import Refused, plan_transact
from crosskey.router.planning.writes import Part, plan_insert
from tests.schema_builders import column, plan_of, table

SHARDS = 3
IDS, CODES = TableName("public", "ids"), TableName("public", "codes")

THINGS = table(
    "things",
    "@shard_by id",
    column("id", identity="ALWAYS", sequence=IDS),
    column("code", "text", default="('A'::text || nextval('codes'::regclass))", sequence=CODES),
    column("number", identity="BY DEFAULT", sequence=IDS),
)
REGIONS = table("regions", "@reference", column("id", identity="ALWAYS", sequence=IDS))
PLAIN = table("plain", "@shard_by id", column("id"), column("state", "text", default="'new'::text"))
VIEW = SchemaView(plan_of(THINGS, REGIONS, PLAIN), SHARDS, "a fingerprint")


def rows_of(part: Part) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(part.statement.insert.rows_json)
    return rows


def generated_values(**values: list[Any]) -> GeneratedValues:
    return GeneratedValues(values)


def test_what_rows_leave_out_is_needed() -> None:
    need = need_of(VIEW, crosskey.insert("things", [{}, {"code": "x"}, {"number": None}]))
    assert need is not None
    assert need.counted == [("id", IDS, 3), ("number", IDS, 2)]
    assert need.computed == [("code", 2)]


@pytest.mark.parametrize(
    ("name", "row"), [("things", {"code": "x", "id": 1, "number": 2}), ("plain", {}), ("regions", {}), ("nothing", {})]
)
def test_nothing_is_needed(name: str, row: dict[str, Any]) -> None:
    assert need_of(VIEW, crosskey.insert(name, row)) is None


def test_values_that_are_overridden_are_needed_too() -> None:
    row = {"id": 1, "code": "x", "number": 2}
    need = need_of(VIEW, crosskey.insert("things", [row, row], overriding="USER_VALUE"))
    assert need is not None
    assert need.counts == {"id": 2, "number": 2}
    assert need_of(VIEW, crosskey.insert("things", row, overriding="SYSTEM_VALUE")) is None


def test_inserts_of_a_transaction_are_named_by_their_place() -> None:
    inner = crosskey.group([crosskey.delete("things", key={"id": 1}), crosskey.insert("things", {})])
    request = crosskey.requests.transaction([crosskey.insert("plain", {"id": 1}), inner, crosskey.insert("things", {})])
    assert [*needs_of(VIEW, request.statements)] == ["1.1", "2"]


def test_rows_are_placed_by_what_is_generated() -> None:
    generated = generated_values(id=[10, 11, 12], number=[1, 2, 3], code=["A1", "A2"])
    parts = plan_insert(VIEW, crosskey.insert("things", [{}, {"code": "x"}, {}]), generated).parts
    stored = {row["id"]: row for part in parts for row in rows_of(part)}
    assert [stored[id]["code"] for id in (10, 11, 12)] == ["A1", "x", "A2"]
    for part in parts:
        assert {shard_of_slot(slot_of_value("int8", row["id"]), SHARDS) for row in rows_of(part)} == {part.shard}
        assert part.statement.insert.overriding_system_value


@pytest.mark.parametrize("name", ["things", "regions"])
def test_a_value_for_a_column_that_is_always_generated_is_refused(name: str) -> None:
    with pytest.raises(errors.InvalidValue, match='cannot insert a non-DEFAULT value into column "id"') as caught:
        plan_insert(VIEW, crosskey.insert(name, {"id": 5}), generated_values(code=["A1"], number=[1]))
    assert caught.value.metadata["sqlstate"] == "428C9"


@pytest.mark.parametrize(("overriding", "stored"), [("SYSTEM_VALUE", (5, 6)), ("USER_VALUE", (1, 2))])
def test_the_overriding_clause(overriding: Overriding, stored: tuple[int, int]) -> None:
    request = crosskey.insert("things", {"id": 5, "number": 6, "code": "x"}, overriding=overriding)
    generated = generated_values(id=[1], number=[2]) if overriding == "USER_VALUE" else generated_values()
    [part] = plan_insert(VIEW, request, generated).parts
    [row] = rows_of(part)
    assert (row["id"], row["number"]) == stored


def test_the_door_is_open_only_for_what_was_let_in() -> None:
    [part] = plan_insert(VIEW, crosskey.insert("plain", {"id": 5}, overriding="SYSTEM_VALUE")).parts
    assert not part.statement.insert.overriding_system_value
    [part] = plan_insert(VIEW, crosskey.insert("regions", {}, overriding="USER_VALUE")).parts
    assert not part.statement.insert.overriding_system_value


def test_an_unknown_clause_is_refused() -> None:
    request = crosskey.insert("plain", {"id": 5})
    request.overriding = 7  # type: ignore[assignment]
    with pytest.raises(errors.InvalidRequest, match="there is no OVERRIDING clause 7"):
        plan_insert(VIEW, request)


def test_an_error_is_raised_when_the_turn_of_its_statement_comes() -> None:
    request = crosskey.requests.transaction([crosskey.insert("plain", {"id": 1}), crosskey.insert("things", {})])
    used_up = errors.InvalidValue("nextval: reached maximum value")
    first, second = plan_transact(VIEW, request, {"1": GeneratedValues(error=used_up)})
    assert not isinstance(first, Refused)
    assert second == Refused(used_up)


def test_what_is_wrong_with_the_request_itself_comes_first() -> None:
    with pytest.raises(errors.UnknownColumn):
        plan_insert(VIEW, crosskey.insert("things", {"what": 1}), GeneratedValues(error=errors.InvalidValue("used up")))
