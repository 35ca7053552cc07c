"""Writes as commands for one shard: results dealt out, and errors that name their statement."""

from __future__ import annotations

import pytest

import crosskey
from crosskey import errors
from crosskey.v1 import shard_node_pb2 as proto
from router.planning.writes import plan_delete, plan_insert
from router.writing.script import deal_out, naming_statements, script
from tests.messenger_view import VIEW, user_on

TWO_PARTS = plan_insert(VIEW, crosskey.insert("users", [{"id": user_on(1)}, {"id": user_on(1, 1), "state": "old"}]))
ONE_PART = plan_delete(VIEW, crosskey.delete("users", key={"id": user_on(1)}))
PLANS = [TWO_PARTS, ONE_PART]


def statement_of(command: int | None, first: int = 0) -> str | None:
    with pytest.raises(errors.UniqueViolation) as caught, naming_statements(PLANS, first=first):
        raise errors.UniqueViolation("taken", command=command)
    assert "command" not in caught.value.metadata
    return caught.value.metadata.get("statement")


def test_each_plan_ends_with_a_check() -> None:
    assert [command.WhichOneof("command") for command in script(PLANS)] == ["run", "run", "check", "run", "check"]


def test_results_are_dealt_out() -> None:
    results = [proto.CommandResult(count=count, rows_json=b"[]") for count in (1, 1, 0, 5, 0)]
    assert [result.count for result in deal_out(PLANS, 1, results)] == [2, 5]


def test_an_error_names_the_statement_of_its_command() -> None:
    assert [statement_of(command) for command in range(6)] == ["0", "0", "0", "1", "1", None]
    assert [statement_of(command, first=2) for command in range(8)] == [None, None, "0", "0", "0", "1", "1", None]
    assert statement_of(None) is None
