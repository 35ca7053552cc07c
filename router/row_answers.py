"""Rows as they are answered: as Structs, or as the JSON text that the nodes made, which is passed on unread."""

from __future__ import annotations

from typing import TypeAlias

from crosskey.rows import add_json_rows
from crosskey.v1 import router_pb2, rows_pb2

NO_ROWS = b"[]"

WithRows: TypeAlias = (
    router_pb2.InsertResponse
    | router_pb2.UpdateResponse
    | router_pb2.ListResponse
    | router_pb2.StreamListResponse
    | router_pb2.AggregateResponse
)
AskingForRows: TypeAlias = (
    router_pb2.InsertRequest | router_pb2.UpdateRequest | router_pb2.ListRequest | router_pb2.AggregateRequest
)


def fill_rows(response: WithRows, request: AskingForRows, rows_json: bytes) -> None:
    """Adds a JSON array of rows in the form that the request asks for."""
    if request.row_form != rows_pb2.ROW_FORM_UNSPECIFIED:
        response.rows_json = rows_json.decode()
        return
    add_json_rows(response.rows, rows_json)


def get_response(request: router_pb2.GetRequest, rows_json: bytes) -> router_pb2.GetResponse:
    """The answer of a get that found the one row of a JSON array, or no row."""
    response = router_pb2.GetResponse()
    if rows_json != NO_ROWS:
        fill_row(response, request, rows_json)
    return response


def list_response(request: router_pb2.ListRequest, rows_json: bytes, next_page_token: str) -> router_pb2.ListResponse:
    """The answer of a list."""
    response = router_pb2.ListResponse(next_page_token=next_page_token)
    fill_rows(response, request, rows_json)
    return response


def aggregate_response(request: router_pb2.AggregateRequest, rows_json: bytes) -> router_pb2.AggregateResponse:
    """The answer of an aggregate."""
    response = router_pb2.AggregateResponse()
    fill_rows(response, request, rows_json)
    return response


def fill_row(response: router_pb2.GetResponse, request: router_pb2.GetRequest, row_json: bytes) -> None:
    """Adds the one row of a JSON array in the form that the request asks for."""
    if request.row_form != rows_pb2.ROW_FORM_UNSPECIFIED:
        response.row_json = row_json.strip().removeprefix(b"[").removesuffix(b"]").decode()
        return
    page = router_pb2.ListResponse()
    add_json_rows(page.rows, row_json)
    response.row.CopyFrom(page.rows[0])
