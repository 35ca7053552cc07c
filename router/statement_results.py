"""The answers of an insert, and of a Transact from what its steps came to."""

from __future__ import annotations

from collections.abc import Iterable

from crosskey import errors
from crosskey.rows import add_json_rows
from crosskey.v1 import router_pb2
from router.step_running import GroupResult, ModesSet, StepResult
from router.write_results import WriteResult


def statement_results(
    statements: Iterable[router_pb2.Statement], results: Iterable[StepResult]
) -> list[router_pb2.StatementResult]:
    """One answer a statement."""
    return [_answer(statement, result) for statement, result in zip(statements, results, strict=True)]


def _answer(statement: router_pb2.Statement, result: StepResult) -> router_pb2.StatementResult:
    match result:
        case WriteResult():
            return _write_answer(statement, result)
        case ModesSet():
            return router_pb2.StatementResult(set_constraints=router_pb2.SetConstraintsResult())
        case GroupResult():
            return router_pb2.StatementResult(group=_group_answer(statement.group, result))


def _write_answer(statement: router_pb2.Statement, result: WriteResult) -> router_pb2.StatementResult:
    answer = router_pb2.StatementResult()
    if statement.WhichOneof("statement") == "delete":
        answer.delete.count = result.count
        return answer
    if statement.WhichOneof("statement") == "insert":
        _fill(answer.insert, result)
        return answer
    answer.update.SetInParent()
    add_json_rows(answer.update.rows, result.rows_json)
    return answer


def insert_response(result: WriteResult) -> router_pb2.InsertResponse:
    """The answer of an insert."""
    response = router_pb2.InsertResponse()
    _fill(response, result)
    return response


def _fill(response: router_pb2.InsertResponse, result: WriteResult) -> None:
    response.SetInParent()
    response.outcomes.extend(result.outcomes)
    add_json_rows(response.rows, result.rows_json)


def _group_answer(group: router_pb2.Group, result: GroupResult) -> router_pb2.GroupResult:
    if result.error is not None:
        return router_pb2.GroupResult(error=errors.to_failure(result.error))
    return router_pb2.GroupResult(results=statement_results(group.statements, result.results))
