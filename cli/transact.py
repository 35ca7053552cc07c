"""The command that runs a transaction: statements as JSON in, their answers as JSON out."""

from __future__ import annotations

from typing import Any

import click

from crosskey import CrosskeyError, Page
from crosskey.cli.connection import OBJECTS, connected, parse_message, print_json, router_options
from crosskey.v1 import router_pb2


@click.command()
@click.argument("statements_json", metavar="STATEMENTS", type=OBJECTS)
@router_options
def transact(statements_json: Any, router: str, timeout: float) -> None:
    """Run STATEMENTS, a JSON list (- reads standard input), in one transaction, and print one answer a line.

    A statement is what gRPC takes, such as '{"insert": {"table": "users", "rows": [{"id": 1}]}}'. An insert, update or
    aggregate answers its rows, a delete or count a number, a get its row or null, a list its rows and the token of the
    next page, set_constraints null, a group the list of its answers, or its error.
    """
    request = parse_message({"statements": statements_json}, router_pb2.TransactRequest())
    statements = [_checked(statement, place) for place, statement in enumerate(request.statements)]
    with connected(router, timeout) as client:
        for answer in client.transact(statements):
            print_json(printable(answer))


def _checked(statement: router_pb2.Statement, place: int) -> router_pb2.Statement:
    if statement.WhichOneof("statement") is None:
        raise click.UsageError(f"statement {place} names no statement, such as insert, delete or group")
    return statement


def printable(answer: Any) -> Any:
    """An answer with pages, and the errors of groups, in it as objects."""
    if isinstance(answer, CrosskeyError):
        return {"error": {"reason": answer.reason_name, "message": answer.message, "metadata": answer.metadata}}
    if isinstance(answer, Page):
        return {"rows": answer.rows, "next_page_token": answer.next_page_token}
    return [printable(each) for each in answer] if isinstance(answer, list) else answer
