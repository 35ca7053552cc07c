"""The answers of an insert, and of a Transact from what its steps came to."""

from __future__ import annotations

from collections.abc import Iterable

from crosskey import errors
from crosskey.router.planning.nesting.actions import Outcome
from crosskey.router.row_answers import aggregate_response, fill_rows, get_response, list_response
from crosskey.router.writing.nested_results import NestedResult
from crosskey.router.writing.step_running import GroupResult, ModesSet, StepResult
from crosskey.router.writing.transaction_reads import ReadResult
from crosskey.router.writing.write_results import WriteResult
from crosskey.v1 import router_pb2


def statement_results(
    statements: Iterable[router_pb2.Statement], results: Iterable[StepResult]
) -> list[router_pb2.StatementResult]:
    """One answer a statement."""
    return [_answer(statement, result) for statement, result in zip(statements, results, strict=True)]


def _answer(statement: router_pb2.Statement, result: StepResult) -> router_pb2.StatementResult:
    match result:
        case WriteResult():
            return _write_answer(statement, result)
        case NestedResult():
            return _nested_answer(statement, result)
        case ReadResult():
            return _read_answer(statement, result)
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
        fill_insert_response(answer.insert, statement.insert, result)
        return answer
    fill_update_response(answer.update, statement.update, result)
    return answer


def _nested_answer(statement: router_pb2.Statement, result: NestedResult) -> router_pb2.StatementResult:
    if statement.WhichOneof("statement") == "associate":
        return router_pb2.StatementResult(associate=associate_response(result.outcome))
    return _write_answer(statement, result.written)


def associate_response(outcome: Outcome) -> router_pb2.AssociateResponse:
    """The answer of an association."""
    return router_pb2.AssociateResponse(added=outcome.added, removed=outcome.removed, kept=outcome.kept)


def _read_answer(statement: router_pb2.Statement, result: ReadResult) -> router_pb2.StatementResult:
    match statement.WhichOneof("statement"):
        case "get":
            return router_pb2.StatementResult(get=get_response(statement.get, result.rows_json))
        case "list":
            page = list_response(statement.list, result.rows_json, result.next_page_token)
            return router_pb2.StatementResult(list=page)
        case "aggregate":
            return router_pb2.StatementResult(aggregate=aggregate_response(statement.aggregate, result.rows_json))
        case _:
            return router_pb2.StatementResult(count=router_pb2.CountResponse(count=result.counted or 0))


def fill_insert_response(
    response: router_pb2.InsertResponse, request: router_pb2.InsertRequest, result: WriteResult
) -> None:
    """Makes it the answer of an insert."""
    response.SetInParent()
    response.outcomes.extend(result.outcomes)
    _add_rows(response, request, result)


def fill_update_response(
    response: router_pb2.UpdateResponse, request: router_pb2.UpdateRequest, result: WriteResult
) -> None:
    """Makes it the answer of an update."""
    response.SetInParent()
    _add_rows(response, request, result)


def _add_rows(
    response: router_pb2.InsertResponse | router_pb2.UpdateResponse,
    request: router_pb2.InsertRequest | router_pb2.UpdateRequest,
    result: WriteResult,
) -> None:
    if request.count_only:
        response.count = result.count
    else:
        fill_rows(response, request, result.rows_json)


def _group_answer(group: router_pb2.Group, result: GroupResult) -> router_pb2.GroupResult:
    if result.error is not None:
        return router_pb2.GroupResult(error=errors.to_failure(result.error))
    return router_pb2.GroupResult(results=statement_results(group.statements, result.results))
