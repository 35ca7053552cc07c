"""The statements of a Transact as steps: places, groups, and what is refused when."""

from __future__ import annotations

import pytest

import crosskey
from crosskey import errors
from crosskey.router.planning.transactions import (
    GroupPlan,
    ModeChange,
    Refused,
    all_writes,
    home_of,
    only_writes,
    plan_transact,
    raise_refusals,
)
from crosskey.router.planning.writes import WritePlan
from crosskey.v1 import router_pb2, rows_pb2
from tests.messenger_view import VIEW, user_on

USER = user_on(1)
INSERT = router_pb2.Statement(insert=crosskey.insert("users", {"id": USER}))
DELETE = router_pb2.Statement(delete=crosskey.delete("users", key={"id": user_on(2)}))
WRONG = router_pb2.Statement(insert=crosskey.insert("users", {"nmae": "x"}))
DEFER = router_pb2.Statement(set_constraints=rows_pb2.SetConstraints(deferred=True))


def request(*statements: router_pb2.Statement) -> router_pb2.TransactRequest:
    return router_pb2.TransactRequest(statements=statements)


def group(*statements: router_pb2.Statement) -> router_pb2.Statement:
    return router_pb2.Statement(group=router_pb2.Group(statements=statements))


def test_statements_are_planned_in_order() -> None:
    update = router_pb2.Statement(update=crosskey.update("users", {"name": "x"}, key={"id": USER}))
    plans = only_writes(plan_transact(VIEW, request(DELETE, INSERT, update)))
    assert plans is not None
    assert [plan.kind for plan in plans] == ["delete", "insert", "update"]
    assert [plan.shards for plan in plans] == [[2], [1], [1]]


def test_groups_nest() -> None:
    steps = plan_transact(VIEW, request(DEFER, group(DELETE, group(INSERT)), INSERT))
    mode_change, outer, last = steps
    assert isinstance(mode_change, ModeChange)
    assert mode_change.change.deferred
    assert isinstance(outer, GroupPlan)
    assert isinstance(outer.steps[1], GroupPlan)
    assert isinstance(last, WritePlan)
    assert only_writes(steps) is None
    assert [plan.kind for plan in all_writes(steps)] == ["delete", "insert", "insert"]


def test_home_is_where_the_first_row_is_written() -> None:
    assert home_of(plan_transact(VIEW, request(DEFER, group(DELETE), INSERT))) == 2
    assert home_of(plan_transact(VIEW, request(DEFER))) == 0


def test_a_wrong_name_or_value_waits_for_its_turn() -> None:
    steps = plan_transact(VIEW, request(INSERT, group(DELETE, WRONG)))
    outer = steps[1]
    assert isinstance(outer, GroupPlan)
    assert isinstance(outer.steps[1], Refused)
    with pytest.raises(errors.UnknownColumn) as caught:
        raise_refusals(steps)
    assert caught.value.metadata["statement"] == "1.1"


@pytest.mark.parametrize(
    ("statements", "message", "place"),
    [
        ([], "a transaction has no statements", None),
        ([INSERT, router_pb2.Statement()], "statement 1 is empty", "1"),
        ([group(INSERT), group()], "group 1 has no statements", "1"),
        ([group(INSERT, group(router_pb2.Statement()))], "statement 0.1.0 is empty", "0.1.0"),
        ([INSERT, router_pb2.Statement(insert=crosskey.insert("users", []))], "has no rows", "1"),
    ],
)
def test_what_is_no_transaction_is_refused_before_anything_runs(
    statements: list[router_pb2.Statement], message: str, place: str | None
) -> None:
    with pytest.raises(errors.InvalidRequest, match=message) as caught:
        plan_transact(VIEW, request(*statements))
    assert caught.value.metadata.get("statement") == place
