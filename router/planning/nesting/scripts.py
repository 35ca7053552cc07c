"""The scripts of requests: nested inserts and updates, and associations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from crosskey import errors
from crosskey.catalog.plan import TablePlan
from crosskey.router.planning.expectations import Expected
from crosskey.router.planning.given_values import given_key, given_rows, given_set, has_key, is_text_form
from crosskey.router.planning.nesting.actions import Outcome, Script
from crosskey.router.planning.nesting.associations import associate
from crosskey.router.planning.nesting.changing import Changing
from crosskey.router.planning.nesting.creating import Creating
from crosskey.router.planning.nesting.tasks import TaskReader, is_nested
from crosskey.router.planning.predicates import check_key
from crosskey.router.planning.schema_view import SchemaView
from crosskey.router.planning.writes import RowForms, forms_of
from crosskey.v1 import router_pb2

Request: TypeAlias = router_pb2.InsertRequest | router_pb2.UpdateRequest | router_pb2.AssociateRequest


@dataclass(frozen=True, slots=True)
class NestedStep:
    """A step of a transaction that is carried out by a script; each attempt has a new one."""

    table: TablePlan
    request: Request
    begin: Callable[[], Script[Outcome]]
    expected: Expected | None = None


def nested_step(
    view: SchemaView,
    request: router_pb2.InsertRequest | router_pb2.UpdateRequest,
    expected: Expected | None = None,
) -> NestedStep | None:
    """The step of an insert or update whose rows have something under the name of a relation; None if none has.

    Raises InvalidRequest if it expects more than a count.
    """
    table = view.table(request.table)
    match request:
        case router_pb2.InsertRequest():
            rows = given_rows(request)
            if any(is_nested(view, table, row) for row in rows):
                return NestedStep(table, request, lambda: _insert(view, table, request), _count_only(expected))
        case router_pb2.UpdateRequest():
            if is_nested(view, table, given_set(request)):
                return NestedStep(table, request, lambda: _update(view, table, request), _count_only(expected))
    return None


def association_step(view: SchemaView, request: router_pb2.AssociateRequest) -> NestedStep:
    """The step of an association."""
    table = view.table(request.table)
    return NestedStep(table, request, lambda: associate(view, table, request))


def _count_only(expected: Expected | None) -> Expected | None:
    if expected is not None and expected.each:
        raise errors.InvalidRequest("a write with rows of relations can expect a count only")
    return expected


def _insert(view: SchemaView, table: TablePlan, request: router_pb2.InsertRequest) -> Script[Outcome]:
    if request.HasField("on_conflict"):
        raise _not_nested(request.table, "an insert with on_conflict", "Use connect_or_create or upsert.")
    forms = forms_of(table.table, request)
    reader = TaskReader(view)
    given = given_rows(request)
    rows = [
        reader.row(table, row, "" if len(given) == 1 else f"[{number}]", exists=False)
        for number, row in enumerate(given)
    ]
    creating = Creating(view, as_text=forms.as_text)
    yield from creating.create(rows, forms=_without_count(forms), overriding=request.overriding)
    return Outcome(rows, len(rows))


def _update(view: SchemaView, table: TablePlan, request: router_pb2.UpdateRequest) -> Script[Outcome]:
    if not has_key(request) or request.where:
        raise _not_nested(request.table, "an update of the rows that where selects", "Say which row by its key.")
    forms = forms_of(table.table, request)
    as_text = is_text_form(request.row_form)
    row = TaskReader(view).row(table, given_set(request), "", exists=True)
    changing = Changing(view, Creating(view, as_text=as_text), as_text=as_text)
    key = check_key(table.table, given_key(request))
    is_there = yield from changing.change(row, key, _without_count(forms), list(request.assignments))
    return Outcome([row], 1) if is_there else Outcome()


def _without_count(forms: RowForms) -> RowForms:
    """Rows are answered to the router, whether or not the client wants them."""
    return RowForms(False, forms.as_text, forms.json_text_columns, forms.columns)


def _not_nested(table: str, what: str, hint: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"{what} takes no rows of relations", table=table, hint=hint)
