"""Crosskey's client: rows of a sharded PostgreSQL schema as dicts.

    with crosskey.Client("127.0.0.1:7400") as client:
        [user] = client.insert("users", {"name": "Ada"})
        client.get("users", id=user["id"])
        for row in client.list("users", where=[crosskey.ge("name", "B")], order_by="name"):
            ...

AsyncClient has the same methods, to be awaited. Errors are exceptions by reason, all in `crosskey.errors` and here.
"""

from crosskey._operations import Page
from crosskey.assignments import column
from crosskey.client import AsyncClient, Client
from crosskey.errors import (
    Cancelled,
    CheckViolation,
    Conflict,
    CrosskeyError,
    DeadlineExceeded,
    ExclusionViolation,
    ForeignKeyViolation,
    InternalError,
    InvalidPageToken,
    InvalidRequest,
    InvalidValue,
    NotDeferrable,
    NotNullViolation,
    NotSupported,
    NumberNotExact,
    OutcomeUnknown,
    Overloaded,
    RaisedByDatabase,
    RestrictViolation,
    RowNotFound,
    SchemaChanged,
    SchemaNotLoaded,
    SchemaRefused,
    ShardKeyMissing,
    ShardUnavailable,
    SlotMismatch,
    UniqueViolation,
    UnknownColumn,
    UnknownConstraint,
    UnknownTable,
    WrongShard,
)
from crosskey.predicates import desc, eq, ge, gt, in_, is_null, le, lt, ne
from crosskey.requests import count, delete, get, group, insert, list_rows, set_constraints, transaction, update

__all__ = [
    "AsyncClient",
    "Cancelled",
    "CheckViolation",
    "Client",
    "Conflict",
    "CrosskeyError",
    "DeadlineExceeded",
    "ExclusionViolation",
    "ForeignKeyViolation",
    "InternalError",
    "InvalidPageToken",
    "InvalidRequest",
    "InvalidValue",
    "NotDeferrable",
    "NotNullViolation",
    "NotSupported",
    "NumberNotExact",
    "OutcomeUnknown",
    "Overloaded",
    "Page",
    "RaisedByDatabase",
    "RestrictViolation",
    "RowNotFound",
    "SchemaChanged",
    "SchemaNotLoaded",
    "SchemaRefused",
    "ShardKeyMissing",
    "ShardUnavailable",
    "SlotMismatch",
    "UniqueViolation",
    "UnknownColumn",
    "UnknownConstraint",
    "UnknownTable",
    "WrongShard",
    "column",
    "count",
    "delete",
    "desc",
    "eq",
    "ge",
    "get",
    "group",
    "gt",
    "in_",
    "insert",
    "is_null",
    "le",
    "list_rows",
    "lt",
    "ne",
    "set_constraints",
    "transaction",
    "update",
]
