"""The vocabulary of errors: one exception class per reason, raised by servers and raised again by clients.

    CrosskeyError
    ├── ForeignKeyViolation         a child names no parent, or a parent still has children
    │   └── RestrictViolation       ON DELETE RESTRICT or ON UPDATE RESTRICT
    ├── UniqueViolation
    ├── ExclusionViolation
    ├── NotNullViolation
    ├── CheckViolation
    ├── RaisedByDatabase            a trigger or function of the user's own
    ├── InvalidValue                a value that the column's type does not take
    ├── NumberNotExact              a number that a double cannot hold: send a string
    ├── UnknownTable
    ├── UnknownColumn
    ├── UnknownConstraint
    ├── NotDeferrable               a constraint that cannot wait for the commit
    ├── ExpectationFailed           what a statement of a transaction expected did not come of it
    ├── TransactionAborted          a call of a transaction that an earlier error has ended
    ├── TransactionTimedOut         a call of a transaction that was idle, or lasted, for too long
    ├── InvalidRequest
    ├── RequestIdReused             a request_id that is that of another request
    ├── AnswerNotKept               a repeat of a request that was carried out, and answered too much to keep
    ├── InvalidPageToken
    ├── EventsGone                  a token of a Watch that is too old
    ├── ShardKeyMissing
    ├── SlotMismatch
    ├── RowNotFound
    ├── Conflict                    a lock time-out, deadlock or serialization failure
    ├── ShardUnavailable
    ├── Overloaded
    ├── RequestTooLarge             more than 4 MB at once
    ├── ShardFull                   a shard's PostgreSQL has no room left
    ├── DeadlineExceeded
    ├── Cancelled
    ├── OutcomeUnknown              all done or not done at all, but nobody knows yet which
    ├── SchemaRefused
    ├── SchemaNotLoaded
    ├── SchemaChanged
    ├── MigrationUnderWay           another one is to come to its end first
    ├── WrongShard
    ├── NotSupported
    └── InternalError               anything unforeseen; the detail is in the server's log

On the wire an error is a google.rpc.Status with one ErrorInfo, and a RetryInfo if it is retryable. gRPC drops details
that are too large, so long texts are cut.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, TypedDict, Unpack, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

from crosskey.v1 import error_reason_pb2 as reasons

DOMAIN = "crosskey"
"""The domain of every ErrorInfo of ours."""

DETAILS_KEY = "grpc-status-details-bin"
"""The trailer that carries google.rpc.Status."""

MAX_MESSAGE_BYTES = 1024
"""A message travels twice, once of them percent-encoded (up to three times as long), in 8 KB of trailers."""

MAX_METADATA_BYTES = 2048
"""All metadata values of an error together; with the message and the keys, the details stay under 4 KB."""

RETRY_DELAY_MS = 100
"""What RetryInfo advises; clients add jitter of their own."""

_NEVER_SENT = "failed to connect to all addresses"
"""How gRPC begins the details of a call that it failed without sending it."""

_TOO_LARGE = "SERVER: Received message larger than max"
"""How gRPC tells of a message that is too large even to be refused by a server of ours."""


class Metadata(TypedDict, total=False):
    """Where an error happened. None is the same as leaving it out.

    `statement` is the place of a statement in its transaction, from 0; inside a group it is such as "2.1". `command` is
    between router and nodes alone, as is `line`. `row` is the place of a row among those to load, from 1. `path` is
    where in a nested write it was, such as "accounts[2].email".
    """

    table: str | None
    constraint: str | None
    columns: str | None
    key: str | None
    sqlstate: str | None
    shard: str | int | None
    statement: str | None
    path: str | None
    command: str | int | None
    line: str | int | None
    row: str | int | None
    detail: str | None
    hint: str | None
    request_id: str | None


class CrosskeyError(Exception):
    """The base of all errors; only its subclasses are raised.

    `message` is what happened, in PostgreSQL's own words where PostgreSQL said it. `metadata` has the keys of Metadata
    that apply. If `retryable`, the request left no trace and may be sent again as it is, after `retry_delay_ms`. If not
    `answered`, it is not the server that speaks but gRPC, of a call that may have been carried out all the same.
    """

    reason: ClassVar[reasons.ErrorReason.ValueType]
    code: ClassVar[grpc.StatusCode]
    retryable: bool = False
    retry_delay_ms: int = RETRY_DELAY_MS
    answered: bool = True

    def __init__(self, message: str, **metadata: Unpack[Metadata]) -> None:
        super().__init__(message)
        self.message = message
        self.metadata: dict[str, str] = {
            key: str(value) for key, value in metadata.items() if value is not None and value != ""
        }

    def __str__(self) -> str:
        hint = self.metadata.get("hint")
        return f"{self.message}\nHINT: {hint}" if hint else self.message

    @property
    def reason_name(self) -> str:
        """The reason as ErrorInfo names it, such as FOREIGN_KEY_VIOLATION."""
        return reasons.ErrorReason.Name(self.reason).removeprefix("ERROR_REASON_")


class ForeignKeyViolation(CrosskeyError):
    """A child names no parent, or a parent still has children."""

    reason = reasons.ERROR_REASON_FOREIGN_KEY_VIOLATION
    code = grpc.StatusCode.FAILED_PRECONDITION


class RestrictViolation(ForeignKeyViolation):
    """ON DELETE RESTRICT or ON UPDATE RESTRICT forbids it (PostgreSQL 18 and up tell the two apart)."""

    reason = reasons.ERROR_REASON_RESTRICT_VIOLATION


class UniqueViolation(CrosskeyError):
    """A unique key is taken."""

    reason = reasons.ERROR_REASON_UNIQUE_VIOLATION
    code = grpc.StatusCode.ALREADY_EXISTS


class ExclusionViolation(CrosskeyError):
    """An exclusion constraint forbids the row beside another one."""

    reason = reasons.ERROR_REASON_EXCLUSION_VIOLATION
    code = grpc.StatusCode.ALREADY_EXISTS


class NotNullViolation(CrosskeyError):
    """A NULL in a NOT NULL column."""

    reason = reasons.ERROR_REASON_NOT_NULL_VIOLATION
    code = grpc.StatusCode.INVALID_ARGUMENT


class CheckViolation(CrosskeyError):
    """A CHECK constraint, of a table or a domain, is not met."""

    reason = reasons.ERROR_REASON_CHECK_VIOLATION
    code = grpc.StatusCode.INVALID_ARGUMENT


class RaisedByDatabase(CrosskeyError):
    """A trigger or function of the user's own raised an exception, or failed in a way that has no class of its own."""

    reason = reasons.ERROR_REASON_RAISED_BY_DATABASE
    code = grpc.StatusCode.FAILED_PRECONDITION


class InvalidValue(CrosskeyError):
    """A value that the column's type does not take."""

    reason = reasons.ERROR_REASON_INVALID_VALUE
    code = grpc.StatusCode.INVALID_ARGUMENT


class NumberNotExact(CrosskeyError):
    """A JSON number too large to be exact in a double: send it as a string."""

    reason = reasons.ERROR_REASON_NUMBER_NOT_EXACT
    code = grpc.StatusCode.INVALID_ARGUMENT


class UnknownTable(CrosskeyError):
    """No such table."""

    reason = reasons.ERROR_REASON_UNKNOWN_TABLE
    code = grpc.StatusCode.INVALID_ARGUMENT


class UnknownColumn(CrosskeyError):
    """No such column."""

    reason = reasons.ERROR_REASON_UNKNOWN_COLUMN
    code = grpc.StatusCode.INVALID_ARGUMENT


class UnknownConstraint(CrosskeyError):
    """No such constraint, or no such schema."""

    reason = reasons.ERROR_REASON_UNKNOWN_CONSTRAINT
    code = grpc.StatusCode.INVALID_ARGUMENT


class NotDeferrable(CrosskeyError):
    """A constraint that was not declared DEFERRABLE cannot wait for the commit."""

    reason = reasons.ERROR_REASON_NOT_DEFERRABLE
    code = grpc.StatusCode.INVALID_ARGUMENT


class InvalidRequest(CrosskeyError):
    """The request is not well formed: no rows, no key, both key and where."""

    reason = reasons.ERROR_REASON_INVALID_REQUEST
    code = grpc.StatusCode.INVALID_ARGUMENT


class RequestIdReused(CrosskeyError):
    """A request has the id of another one, which was answered already. Nothing was done."""

    reason = reasons.ERROR_REASON_REQUEST_ID_REUSED
    code = grpc.StatusCode.INVALID_ARGUMENT


class AnswerNotKept(CrosskeyError):
    """A repeat of a request that was carried out, and whose answer was too large to be kept: read the rows."""

    reason = reasons.ERROR_REASON_ANSWER_NOT_KEPT
    code = grpc.StatusCode.ALREADY_EXISTS


class InvalidPageToken(CrosskeyError):
    """A page token that is damaged, or of another query; or a resume token that is damaged."""

    reason = reasons.ERROR_REASON_INVALID_PAGE_TOKEN
    code = grpc.StatusCode.INVALID_ARGUMENT


class EventsGone(CrosskeyError):
    """Events behind the token of a Watch are deleted already: read the rows themselves, and watch from now on."""

    reason = reasons.ERROR_REASON_EVENTS_GONE
    code = grpc.StatusCode.FAILED_PRECONDITION


class ShardKeyMissing(CrosskeyError):
    """A row without its shard key."""

    reason = reasons.ERROR_REASON_SHARD_KEY_MISSING
    code = grpc.StatusCode.INVALID_ARGUMENT


class SlotMismatch(CrosskeyError):
    """An id that carries another slot than its row's shard key."""

    reason = reasons.ERROR_REASON_SLOT_MISMATCH
    code = grpc.StatusCode.INVALID_ARGUMENT


class RowNotFound(CrosskeyError):
    """Get found no row."""

    reason = reasons.ERROR_REASON_ROW_NOT_FOUND
    code = grpc.StatusCode.NOT_FOUND


class ExpectationFailed(CrosskeyError):
    """What a statement of a transaction expected did not come of it; or a row whose value it was to take is not there.

    `metadata` has what was `expected` and what was `found`.
    """

    reason = reasons.ERROR_REASON_EXPECTATION_FAILED
    code = grpc.StatusCode.FAILED_PRECONDITION


class TransactionAborted(CrosskeyError):
    """A call of a transaction that an earlier error has aborted, or that is not open on its stream."""

    reason = reasons.ERROR_REASON_TRANSACTION_ABORTED
    code = grpc.StatusCode.FAILED_PRECONDITION


class TransactionTimedOut(CrosskeyError):
    """A call of a transaction that was rolled back because it was idle, or lasted, for too long."""

    reason = reasons.ERROR_REASON_TRANSACTION_TIMED_OUT
    code = grpc.StatusCode.FAILED_PRECONDITION


class Conflict(CrosskeyError):
    """A lock time-out, deadlock or serialization failure."""

    reason = reasons.ERROR_REASON_CONFLICT
    code = grpc.StatusCode.ABORTED
    retryable = True


class ShardUnavailable(CrosskeyError):
    """A server does not answer.

    Where the connection was lost in the middle of a call, `retryable` is False: a write may have been done.
    """

    reason = reasons.ERROR_REASON_SHARD_UNAVAILABLE
    code = grpc.StatusCode.UNAVAILABLE
    retryable = True


class Overloaded(CrosskeyError):
    """A pool or queue is full."""

    reason = reasons.ERROR_REASON_OVERLOADED
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    retryable = True


class ShardFull(CrosskeyError):
    """A shard's PostgreSQL has no room left, on its disk or by its configuration; the request left no trace."""

    reason = reasons.ERROR_REASON_SHARD_FULL
    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class AnswerTooLarge(CrosskeyError):
    """A write whose rows are too many to answer; nothing was written."""

    reason = reasons.ERROR_REASON_ANSWER_TOO_LARGE
    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class RequestTooLarge(CrosskeyError):
    """A request that is larger than a router takes; nothing was done."""

    reason = reasons.ERROR_REASON_REQUEST_TOO_LARGE
    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unauthenticated(CrosskeyError):
    """The caller does not say who it is, by a token or a certificate that the router knows."""

    reason = reasons.ERROR_REASON_UNAUTHENTICATED
    code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(CrosskeyError):
    """The caller may not do this; nothing was done."""

    reason = reasons.ERROR_REASON_PERMISSION_DENIED
    code = grpc.StatusCode.PERMISSION_DENIED


class DeadlineExceeded(CrosskeyError):
    """The caller's deadline passed; a write is all done or not done at all."""

    reason = reasons.ERROR_REASON_DEADLINE_EXCEEDED
    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(CrosskeyError):
    """The call was cancelled; a write is all done or not done at all. Has no reason: gRPC itself says it."""

    reason = reasons.ERROR_REASON_UNSPECIFIED
    code = grpc.StatusCode.CANCELLED


class OutcomeUnknown(CrosskeyError):
    """The connection was lost at the commit point: all done or not done at all, and the resolver finishes it."""

    reason = reasons.ERROR_REASON_OUTCOME_UNKNOWN
    code = grpc.StatusCode.UNKNOWN


class SchemaRefused(CrosskeyError):
    """A schema that does not load or cannot be placed."""

    reason = reasons.ERROR_REASON_SCHEMA_REFUSED
    code = grpc.StatusCode.INVALID_ARGUMENT


class SchemaNotLoaded(CrosskeyError):
    """No schema is in force yet."""

    reason = reasons.ERROR_REASON_SCHEMA_NOT_LOADED
    code = grpc.StatusCode.FAILED_PRECONDITION


class SchemaChanged(CrosskeyError):
    """Another schema is in force."""

    reason = reasons.ERROR_REASON_SCHEMA_CHANGED
    code = grpc.StatusCode.FAILED_PRECONDITION


class MigrationUnderWay(CrosskeyError):
    """Another migration is under way."""

    reason = reasons.ERROR_REASON_MIGRATION_UNDER_WAY
    code = grpc.StatusCode.FAILED_PRECONDITION


class WrongShard(CrosskeyError):
    """A call reached a node that does not own the shard that it names."""

    reason = reasons.ERROR_REASON_WRONG_SHARD
    code = grpc.StatusCode.FAILED_PRECONDITION


class NotSupported(CrosskeyError):
    """Not supported yet."""

    reason = reasons.ERROR_REASON_NOT_SUPPORTED
    code = grpc.StatusCode.UNIMPLEMENTED


class InternalError(CrosskeyError):
    """Anything unforeseen; the detail is in the server's log, under the request id in the metadata."""

    reason = reasons.ERROR_REASON_INTERNAL
    code = grpc.StatusCode.INTERNAL


STATEMENT_ERRORS = (
    ForeignKeyViolation,
    UniqueViolation,
    ExclusionViolation,
    NotNullViolation,
    CheckViolation,
    RaisedByDatabase,
    InvalidValue,
    NumberNotExact,
    UnknownTable,
    UnknownColumn,
    UnknownConstraint,
    NotDeferrable,
    ShardKeyMissing,
    SlotMismatch,
    NotSupported,
    ExpectationFailed,
)
"""Errors that are about one statement: a group absorbs them. All others end the whole transaction."""


def _all_subclasses(parent: type[CrosskeyError]) -> list[type[CrosskeyError]]:
    return [each for child in parent.__subclasses__() for each in (child, *_all_subclasses(child))]


BY_REASON: dict[reasons.ErrorReason.ValueType, type[CrosskeyError]] = {
    error.reason: error for error in _all_subclasses(CrosskeyError)
}
"""The class of each reason."""

_WITHOUT_REASON: dict[grpc.StatusCode, type[CrosskeyError]] = {
    grpc.StatusCode.UNAVAILABLE: ShardUnavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.UNIMPLEMENTED: NotSupported,
}
"""What a status means that gRPC itself made, and not a server of ours."""


def to_status(error: CrosskeyError) -> status_pb2.Status:
    """The error as it travels, with ErrorInfo and RetryInfo as details, in less than 4 KB."""
    status = status_pb2.Status(code=error.code.value[0], message=_cut(error.message, MAX_MESSAGE_BYTES))
    if error.reason != reasons.ERROR_REASON_UNSPECIFIED:
        metadata = _cut_together(error.metadata, MAX_METADATA_BYTES)
        info = error_details_pb2.ErrorInfo(reason=error.reason_name, domain=DOMAIN, metadata=metadata)
        status.details.add().Pack(info)
    if error.retryable:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_delay_ms)
        status.details.add().Pack(retry)
    return status


def to_failure(error: CrosskeyError) -> reasons.Failure:
    """The error as a value, for an answer that tells of it without failing."""
    return reasons.Failure(
        code=error.code.value[0],
        message=error.message,
        reason=error.reason,
        metadata=error.metadata,
        retry_delay_ms=error.retry_delay_ms if error.retryable else 0,
    )


def to_cut_failure(error: CrosskeyError) -> reasons.Failure:
    """The same with its texts cut as to_status cuts them, so that a caller reads the same whichever way it called."""
    failure = to_failure(error)
    failure.message = _cut(error.message, MAX_MESSAGE_BYTES)
    failure.metadata.update(_cut_together(error.metadata, MAX_METADATA_BYTES))
    return failure


def from_failure(failure: reasons.Failure) -> CrosskeyError:
    """The error that the value stands for. A reason that this version does not know becomes InternalError."""
    error = BY_REASON.get(failure.reason, InternalError)(failure.message)
    error.metadata = dict(sorted(failure.metadata.items()))
    error.retryable = failure.retry_delay_ms > 0
    error.retry_delay_ms = failure.retry_delay_ms or error.retry_delay_ms
    return error


def was_never_sent(error: grpc.RpcError) -> bool:
    """Whether gRPC says that it failed a call, or a stream, without sending anything of it."""
    return (error.details() or "").startswith(_NEVER_SENT)


def from_rpc_error(error: grpc.RpcError) -> CrosskeyError:
    """The error that a server raised, or that stands for what gRPC itself says. Takes errors of grpc and grpc.aio.

    Raise it `from` the RpcError.
    """
    status = _details_of(error)
    info, retry = _unpack(status)
    if info is not None:
        return _from_info(status.message, info, retry)
    return _from_code(error.code(), error.details() or "")


def _from_info(
    message: str, info: error_details_pb2.ErrorInfo, retry: error_details_pb2.RetryInfo | None
) -> CrosskeyError:
    """A reason that this version does not know becomes InternalError."""
    number = reasons.ErrorReason.DESCRIPTOR.values_by_name.get(f"ERROR_REASON_{info.reason}")
    kind = BY_REASON[reasons.ErrorReason.ValueType(number.number)] if number else InternalError
    error = kind(message)
    error.metadata = dict(sorted(info.metadata.items()))
    error.retryable = retry is not None
    if retry is not None:
        error.retry_delay_ms = retry.retry_delay.ToMilliseconds()
    return error


def _from_code(code: grpc.StatusCode, details: str) -> CrosskeyError:
    """For statuses without ErrorInfo: nothing is known about what was done unless gRPC says that it sent nothing."""
    too_large = _TOO_LARGE in details and code == grpc.StatusCode.RESOURCE_EXHAUSTED
    kind = RequestTooLarge if too_large else _WITHOUT_REASON.get(code, InternalError)
    error = kind(details or code.name)
    error.retryable = details.startswith(_NEVER_SENT)
    error.answered = error.retryable
    return error


def _details_of(error: grpc.RpcError) -> status_pb2.Status:
    """The status in the trailers; an empty one if there is none, or none that can be read."""
    trailers = cast(Iterable[tuple[str, str | bytes]], error.trailing_metadata() or ())
    for key, value in trailers:
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                return status_pb2.Status.FromString(value)
            except DecodeError:
                break
    return status_pb2.Status()


def _unpack(
    status: status_pb2.Status,
) -> tuple[error_details_pb2.ErrorInfo | None, error_details_pb2.RetryInfo | None]:
    """The ErrorInfo of ours, and the RetryInfo, if there are any."""
    found, retry = None, None
    for detail in status.details:
        if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            detail.Unpack(retry)
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN:
            found = info
    return found, retry


def _cut(text: str, max_bytes: int) -> str:
    """The text in at most that many bytes of UTF-8, cut between characters and marked with an ellipsis."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= max_bytes:
        return encoded.decode()
    return encoded[: max_bytes - len("…".encode())].decode(errors="ignore") + "…"


def _cut_together(metadata: dict[str, str], max_bytes: int) -> dict[str, str]:
    """The values in at most that many bytes together: short ones stay whole, long ones share what is left."""
    cut = {}
    shortest_first = sorted(metadata.items(), key=lambda item: len(item[1]))
    for done, (key, value) in enumerate(shortest_first):
        cut[key] = _cut(value, max_bytes // (len(metadata) - done))
        max_bytes -= len(cut[key].encode())
    return cut
