"""Writes as commands for one shard: results collected by the tags of their commands, errors named by them."""

from __future__ import annotations

import pytest

import crosskey
from crosskey import errors
from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.committing.tags import naming_tagged, tag_of
from crosskey.router.planning.writes import plan_delete, plan_insert
from crosskey.router.writing.statement_commands import collect_results, to_commands
from tests.messenger_view import VIEW, user_on

TWO_PARTS = plan_insert(VIEW, crosskey.insert("users", [{"id": user_on(1)}, {"id": user_on(1, 1), "state": "old"}]))
ONE_PART = plan_delete(VIEW, crosskey.delete("users", key={"id": user_on(1)}))
PLANS = [TWO_PARTS, ONE_PART]


def result(statement: str, count: int) -> proto.CommandResult:
    return proto.CommandResult(tag=tag_of(statement), count=count, rows_json=b"[]")


def test_each_plan_ends_with_a_check() -> None:
    commands = to_commands(PLANS)
    assert [command.WhichOneof("command") for command in commands] == ["run", "run", "check", "run", "check"]
    assert [command.tag for command in commands] == [tag_of(place) for place in "00011"]


def test_results_are_collected() -> None:
    results = [result("0", 1), result("0", 1), result("1", 5)]
    assert [one.count for one in collect_results(PLANS, results)] == [2, 5]


def test_a_plan_that_was_not_run_has_no_result() -> None:
    late_effects = proto.CommandResult(tag=tag_of("0"))
    assert [one.count for one in collect_results(PLANS, [result("0", 1), result("0", 1), late_effects])] == [2]


@pytest.mark.parametrize(("tag", "statement"), [(tag_of("2.1"), "2.1"), ("17", None), ("", None)])
def test_an_error_names_the_statement_of_its_tag(tag: str, statement: str | None) -> None:
    refused = errors.UniqueViolation("taken")
    refused.metadata["tag"] = tag
    with pytest.raises(errors.UniqueViolation) as caught, naming_tagged():
        raise refused
    assert caught.value.metadata == ({} if statement is None else {"statement": statement})
