"""Values that a statement of a transaction takes of the answers of earlier ones: pure.

Where a value goes may tell the shard of a row, so a statement that takes some is planned when its turn comes: with the
values where the request would have given them itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from google.protobuf.message import Message

from crosskey import errors, exact_json
from crosskey.router.planning.given_values import given_key, given_rows, given_set
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.values import checked_json
from crosskey.typed_values import reader_of
from crosskey.v1 import router_pb2, rows_pb2

ValueOf = Callable[[rows_pb2.AnswerValue], Any]
"""Tells the value of an earlier answer."""

_ANSWERING = frozenset({"insert", "update", "get", "list", "aggregate"})

_OURS = "crosskey.v1."


@dataclass(frozen=True, slots=True)
class _Answer:
    """Rows of a table as a JSON array, whose values may be PostgreSQL's text."""

    table: str
    rows_json: bytes
    as_text: bool


class EarlierAnswers:
    """The rows that the statements of a transaction have answered so far."""

    def __init__(self, view: SchemaView) -> None:
        self._view = view
        self._answers: dict[str, _Answer] = {}

    def note(self, place: str, table: str, rows_json: bytes, *, as_text: bool) -> None:
        """Notes the rows of a table that the statement at a place answered: a JSON array, perhaps of texts."""
        self._answers[place] = _Answer(table, rows_json, as_text)

    def forget_group(self, within: str) -> None:
        """Forgets what a group answered that has failed; the places in it begin with `within`, such as "2."."""
        for place in [one for one in self._answers if one.startswith(within)]:
            del self._answers[place]

    def value(self, wanted: rows_pb2.AnswerValue) -> Any:
        """The value. Raises ExpectationFailed if there is no such row, and InvalidRequest if it has no such column."""
        if wanted.statement not in self._answers:
            raise _no_row(wanted, "that has failed with its group")
        answer = self._answers[wanted.statement]
        rows = msgspec.json.decode(answer.rows_json, type=list[msgspec.Raw])
        if wanted.row >= len(rows):
            raise _no_row(wanted, f"that has {len(rows)} rows")
        row = exact_json.decode(bytes(rows[wanted.row]))
        if wanted.column not in row:
            known = ", ".join(f'"{name}"' for name in row)
            raise errors.InvalidRequest(
                f'statement {wanted.statement} answers no column "{wanted.column}", but {known}', columns=wanted.column
            )
        return self._read(answer, wanted.column, row[wanted.column])

    def _read(self, answer: _Answer, name: str, value: Any) -> Any:
        """The value of a column, be it answered as PostgreSQL's text."""
        column = self._view.table(answer.table).table.column(name)
        if not answer.as_text or not isinstance(value, str) or column is None:
            return value
        read = reader_of(column.base_type)
        return value if read is None else exact_json.jsonable(read(value))


def taken_values(statement: router_pb2.Statement) -> list[rows_pb2.AnswerValue]:
    """The values that a statement takes; those of a group take their own."""
    kind = statement.WhichOneof("statement")
    return [] if kind in (None, "group") else list(_wanted(getattr(statement, kind)))


def check_taken(statement: router_pb2.Statement, earlier: Iterable[tuple[str, str]]) -> bool:
    """Whether a statement takes values; `earlier` are the statements before it, each its place and what it does.

    Raises InvalidRequest for a value of one that is not among them, or that answers no rows.
    """
    wanted = taken_values(statement)
    kinds = dict(earlier) if wanted else {}
    for one in wanted:
        if one.statement not in kinds:
            raise errors.InvalidRequest(
                f'a value is to be taken of statement "{one.statement}", which does not come before this one',
                hint='Statements are named by their places from 0, such as "0", or inside a group "2.1".',
            )
        if kinds[one.statement] not in _ANSWERING:
            raise errors.InvalidRequest(f"statement {one.statement}, a {kinds[one.statement]}, answers no rows")
    return bool(wanted)


def with_values(view: SchemaView, statement: router_pb2.Statement, value: ValueOf) -> router_pb2.Statement:
    """The statement with the values in it.

    Raises what `value` raises, UnknownTable, NumberNotExact and InvalidRequest.
    """
    filled = router_pb2.Statement()
    filled.CopyFrom(statement)
    request = getattr(filled, filled.WhichOneof("statement") or "")
    match request:
        case router_pb2.InsertRequest():
            _fill_rows(view, request, value)
        case router_pb2.UpdateRequest():
            _fill_set(view, request, value)
    if isinstance(request, router_pb2.GetRequest | router_pb2.UpdateRequest | router_pb2.DeleteRequest):
        _fill_key(request, value)
    for one in _operands(request):
        if one.HasField("taken"):
            one.value_json = exact_json.encode(value(one.taken)).decode()
            one.ClearField("taken")
    return filled


def refuse_taken(request: Message) -> None:
    """Raises InvalidRequest if a request that is no statement of a Transact is to take values."""
    if next(_wanted(request), None) is not None:
        raise errors.InvalidRequest(
            "a value of an earlier answer can be taken by a statement of a Transact only",
            table=getattr(request, "table", None),
        )


def _fill_rows(view: SchemaView, request: router_pb2.InsertRequest, value: ValueOf) -> None:
    if not request.taken:
        return
    rows = given_rows(request)
    _check_exact(view, request, rows)
    for one in request.taken:
        if one.row >= len(rows):
            raise errors.InvalidRequest(
                f'a value is to be taken for column "{one.column}" of row {one.row}, and there are {len(rows)} rows',
                table=request.table,
            )
        _put(request.table, rows[one.row], one, value)
    del request.rows[:], request.taken[:]
    request.rows_json = exact_json.encode(rows).decode()


def _fill_set(view: SchemaView, request: router_pb2.UpdateRequest, value: ValueOf) -> None:
    if not request.taken:
        return
    values = given_set(request)
    _check_exact(view, request, [values])
    for one in request.taken:
        _put(request.table, values, one, value)
    request.ClearField("set")
    request.ClearField("taken")
    request.set_json = exact_json.encode(values).decode()


def _fill_key(
    request: router_pb2.GetRequest | router_pb2.UpdateRequest | router_pb2.DeleteRequest,
    value: ValueOf,
) -> None:
    if not request.taken_key:
        return
    key = given_key(request)
    for one in request.taken_key:
        _put(request.table, key, one, value)
    request.ClearField("key")
    request.ClearField("taken_key")
    request.key_json = exact_json.encode(key).decode()


def _put(table: str, row: dict[str, Any], taken: rows_pb2.TakenValue, value: ValueOf) -> None:
    if taken.column in row:
        raise errors.InvalidRequest(
            f'column "{taken.column}" has a value, and is to take one', table=table, columns=taken.column
        )
    row[taken.column] = value(taken.value)


def _check_exact(
    view: SchemaView, request: router_pb2.InsertRequest | router_pb2.UpdateRequest, rows: Iterable[dict[str, Any]]
) -> None:
    """Numbers of a Struct are checked here: in JSON text they would pass for what was written."""
    table = view.table(request.table).table
    for row in rows:
        for name, given in row.items():
            column = table.column(name)
            if column is not None:
                row[name] = checked_json(table, column, given)


def _wanted(message: Message) -> Iterator[rows_pb2.AnswerValue]:
    for one in _messages(message):
        if isinstance(one, rows_pb2.AnswerValue):
            yield one


def _operands(message: Message) -> list[rows_pb2.Predicate | rows_pb2.Assignment]:
    """The predicates and assignments, those inside of others too."""
    return [one for one in _messages(message) if isinstance(one, rows_pb2.Predicate | rows_pb2.Assignment)]


def _messages(message: Message) -> Iterator[Message]:
    """The messages of ours inside of a message; rows, keys and values are none."""
    for field, content in message.ListFields():
        if field.message_type is None or not field.message_type.full_name.startswith(_OURS):
            continue
        for one in [content] if isinstance(content, Message) else content:
            yield one
            yield from _messages(one)


def _no_row(wanted: rows_pb2.AnswerValue, why: str) -> errors.ExpectationFailed:
    place = wanted.statement
    return errors.ExpectationFailed(
        f'"{wanted.column}" is to be taken of row {wanted.row} of the answer of statement {place}, but {why}',
        columns=wanted.column,
    )
