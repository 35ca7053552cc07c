"""Locks on the rows of reads: pure."""

from __future__ import annotations

from typing import TypeAlias

from crosskey import errors
from crosskey.v1 import router_pb2, rows_pb2

RowLock: TypeAlias = rows_pb2.RowLock.ValueType

UNLOCKED: RowLock = rows_pb2.ROW_LOCK_UNSPECIFIED


def checked_lock(lock: RowLock) -> RowLock:
    """The lock. Raises InvalidRequest if there is no such one."""
    if lock not in rows_pb2.RowLock.values():
        raise errors.InvalidRequest(f"there is no lock {lock}")
    return lock


def refuse_lock(request: object) -> None:
    """Raises InvalidRequest if a read that is no statement of a transaction is to lock rows."""
    if isinstance(request, router_pb2.GetRequest | router_pb2.ListRequest) and request.lock:
        raise errors.InvalidRequest(
            "a lock ends with its transaction, and this read is part of none",
            table=request.table,
            hint="Read in a transaction: as a statement of Transact, or of a transaction of a session.",
        )
