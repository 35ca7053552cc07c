"""What writes answer, put together from what each shard answered."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from crosskey.internal.v1 import transactions_pb2 as proto
from crosskey.router.planning.writes import WritePlan
from crosskey.v1.router_pb2 import InsertResponse

Outcome = InsertResponse.Outcome


class WriteResult(msgspec.Struct, frozen=True):
    """How many rows a write changed, and them as a JSON array; of an insert, in the order of the request.

    With on_conflict, there is an outcome for each row of the request.
    """

    count: int
    rows_json: bytes
    outcomes: tuple[Outcome.ValueType, ...] = ()
    unmet_json: bytes = b""
    """The first row that is not as expected."""


def collect(plan: WritePlan, results: Mapping[int, Sequence[proto.CommandResult]]) -> WriteResult:
    """Puts the answers to a plan's parts together; each shard's are in the order of its parts."""
    remaining = {shard: deque(answers) for shard, answers in results.items()}
    answers = [remaining[part.shard].popleft() for part in plan.parts]
    count = sum(answer.count for answer in answers)
    unmet = next((answer.unmet_json for answer in answers if answer.unmet_json), b"")
    result = _collect(plan, count, answers)
    return msgspec.structs.replace(result, unmet_json=unmet) if unmet else result


def _collect(plan: WritePlan, count: int, answers: Sequence[proto.CommandResult]) -> WriteResult:
    if plan.on_conflict is not None:
        return _upserted(plan, count, answers)
    if len(answers) == 1:
        return WriteResult(count, answers[0].rows_json)
    if plan.kind == "insert":
        return WriteResult(count, _in_order_of_request(plan, answers))
    return WriteResult(count, join_rows(row for answer in answers for row in split_rows(answer.rows_json)))


def _in_order_of_request(plan: WritePlan, answers: Sequence[proto.CommandResult]) -> bytes:
    rows: dict[int, msgspec.Raw] = {}
    for part, answer in zip(plan.parts, answers, strict=True):
        # A BEFORE trigger of the user's may drop a row; then nobody can tell which, and the rows keep their order.
        rows.update(zip(part.positions, split_rows(answer.rows_json), strict=False))
    return join_rows(rows[position] for position in sorted(rows))


def _upserted(plan: WritePlan, count: int, answers: Sequence[proto.CommandResult]) -> WriteResult:
    """Each answered row says by its place which one of the request it is, and whether it was updated for that one."""
    outcomes = [InsertResponse.OUTCOME_SKIPPED] * sum(len(part.positions) for part in plan.parts)
    rows: dict[int, msgspec.Raw] = {}
    for part, answer in zip(plan.parts, answers, strict=True):
        positions = [part.positions[abs(place) - 1] for place in answer.places]
        for position, place in zip(positions, answer.places, strict=True):
            outcomes[position] = InsertResponse.OUTCOME_INSERTED if place > 0 else InsertResponse.OUTCOME_UPDATED
        # There are none if only their number was asked for.
        rows.update(zip(positions, split_rows(answer.rows_json), strict=False))
    return WriteResult(count, join_rows(rows[position] for position in sorted(rows)), tuple(outcomes))


def split_rows(rows_json: bytes) -> list[msgspec.Raw]:
    """The rows of a JSON array, each as it stands there."""
    return msgspec.json.decode(rows_json, type=list[msgspec.Raw])


def join_rows(rows: Iterable[msgspec.Raw]) -> bytes:
    """A JSON array of rows."""
    return msgspec.json.encode(list(rows))
