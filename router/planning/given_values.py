"""Values as requests give them: in google.protobuf.Struct, or as JSON text, whose numbers are taken as written."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, TypeAlias

from crosskey import errors, exact_json
from crosskey.rows import MAX_EXACT, struct_to_dict, structs_to_dicts, value_to_python
from crosskey.v1 import router_pb2, rows_pb2

Row: TypeAlias = dict[str, Any]

Keyed: TypeAlias = (
    router_pb2.GetRequest | router_pb2.UpdateRequest | router_pb2.DeleteRequest | router_pb2.AssociateRequest
)


def _number(digits: str) -> float | Decimal:
    """A number that is as it was written. A float beyond MAX_EXACT could be one that was rounded."""
    number = exact_json.exact_number(digits)
    return number if -MAX_EXACT <= number <= MAX_EXACT else Decimal(digits)


_decode = exact_json.decoder(_number)


def given_rows(request: router_pb2.InsertRequest | router_pb2.AssociateRequest) -> list[Row]:
    """The rows of an insert, or those that an association names.

    Raises InvalidRequest if they are given twice, or are no JSON array of objects.
    """
    if not request.rows_json:
        return structs_to_dicts(request.rows)
    if request.rows:
        raise _twice(request.table, "rows", "rows_json")
    rows = _decoded(request.table, "rows_json", request.rows_json)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _not_of_form(request.table, "rows_json", "an array of objects")
    return rows


def given_set(request: router_pb2.UpdateRequest) -> Row:
    """The new values of an update. Raises InvalidRequest if they are given twice, or are no JSON object."""
    if not request.set_json:
        return struct_to_dict(request.set)
    if request.HasField("set"):
        raise _twice(request.table, "set", "set_json")
    return _object(request.table, "set_json", request.set_json)


def has_key(request: Keyed) -> bool:
    """Whether a request selects by a key."""
    return request.HasField("key") or bool(request.key_json)


def given_key(request: Keyed) -> Row:
    """The key of a request. Raises InvalidRequest if it is given twice, or is no JSON object."""
    if not request.key_json:
        return struct_to_dict(request.key)
    if request.HasField("key"):
        raise _twice(request.table, "key", "key_json")
    return _object(request.table, "key_json", request.key_json)


def has_value(one: rows_pb2.Predicate | rows_pb2.Assignment) -> bool:
    """Whether a predicate or assignment has a value, be it null."""
    return bool(one.value_json) or one.value.WhichOneof("kind") is not None


def given_value(table: str, one: rows_pb2.Predicate | rows_pb2.Assignment) -> Any:
    """Its value; None if it has none. Raises InvalidRequest if it is given twice, or is no JSON."""
    if not one.value_json:
        return value_to_python(one.value)
    if one.HasField("value"):
        raise _twice(table, "value", "value_json")
    return _decoded(table, "value_json", one.value_json)


def is_text_form(form: rows_pb2.RowForm.ValueType) -> bool:
    """Whether values are answered as text. Raises InvalidRequest if there is no such form."""
    if form not in rows_pb2.RowForm.values():
        raise errors.InvalidRequest(f"there is no row_form {form}")
    return form == rows_pb2.ROW_FORM_TEXT


def _object(table: str, field: str, text: str) -> Row:
    value = _decoded(table, field, text)
    if not isinstance(value, dict):
        raise _not_of_form(table, field, "an object")
    return value


def _decoded(table: str, field: str, text: str) -> Any:
    try:
        return _decode(text)
    except ValueError as error:
        raise errors.InvalidRequest(f"{field} cannot be read: {error}", table=table) from None
    except RecursionError:
        raise errors.InvalidRequest(f"{field} is nested too deep", table=table) from None


def _twice(table: str, field: str, as_json: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"the request has both {field} and {as_json}; it takes one of them", table=table)


def _not_of_form(table: str, field: str, form: str) -> errors.InvalidRequest:
    return errors.InvalidRequest(f"{field} is not {form}", table=table)
