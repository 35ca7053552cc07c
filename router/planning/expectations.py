"""What must come of a statement of a transaction: pure."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.json_format import MessageToJson

from crosskey import errors
from crosskey.catalog.model import Table
from crosskey.internal.v1 import reads_pb2
from crosskey.router.planning.predicates import check_predicates, refuse_related, to_conditions
from crosskey.v1 import router_pb2, rows_pb2

_OF_ROWS = frozenset({"insert", "update", "get"})
_OF_NOTHING = frozenset({"set_constraints", "group", "associate"})


@dataclass(frozen=True, slots=True)
class Expected:
    """How many rows there must be, and what each must meet, of which there must then be one."""

    count: int | None = None
    each: tuple[rows_pb2.Predicate, ...] = ()

    def check_count(self, found: int) -> None:
        """Raises ExpectationFailed if there are more or fewer."""
        if self.count is not None and found != self.count:
            raise _failed(f"the count {self.count}", str(found))
        if self.each and not found:
            raise self.unmet("no row")

    def unmet(self, found: str) -> errors.ExpectationFailed:
        """What is raised for a row that is not as expected."""
        conditions = (MessageToJson(one, indent=None, preserving_proto_field_name=True) for one in self.each)
        return _failed(f"each row to meet {', '.join(conditions)}", found)


def expected_of(statement: router_pb2.Statement) -> Expected | None:
    """What a statement expects; None if nothing. Raises InvalidRequest for what a statement of its kind cannot."""
    if not statement.HasField("expect"):
        return None
    expect, kind = statement.expect, statement.WhichOneof("statement")
    if kind in _OF_NOTHING:
        raise errors.InvalidRequest(f"a {kind} can expect nothing", hint="Say it of a statement inside of the group.")
    if expect.each and kind not in _OF_ROWS:
        raise errors.InvalidRequest(
            f"a {kind} can expect a count only", hint="Put the conditions into where, and expect the count."
        )
    return Expected(expect.count if expect.HasField("count") else None, tuple(expect.each))


def conditions_of(table: Table, expected: Expected) -> list[reads_pb2.Condition]:
    """What each row must meet, as nodes take it. Raises InvalidRequest, UnknownColumn and NumberNotExact."""
    predicates = check_predicates(table, expected.each)
    refuse_related(predicates)
    return to_conditions(predicates)


def _failed(expected: str, found: str) -> errors.ExpectationFailed:
    error = errors.ExpectationFailed(f"expected {expected}, and found {found}")
    error.metadata.update(expected=expected, found=found)
    return error
