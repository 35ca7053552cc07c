"""Errors on their way from server to client."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st

from crosskey import errors
from crosskey.v1 import error_reason_pb2

PROTO = Path(__file__).parents[2] / "protos/crosskey/v1/error_reason.proto"
MAX_DETAILS_BYTES = 4096


class SentError(grpc.RpcError):
    """What grpc raises for a status with details."""

    def __init__(self, status: status_pb2.Status, details: bytes | None = None) -> None:
        super().__init__()
        self._status = status
        self._details = status.SerializeToString() if details is None else details

    def code(self) -> grpc.StatusCode:
        """The status code."""
        return next(code for code in grpc.StatusCode if code.value[0] == self._status.code)

    def details(self) -> str:
        """The message."""
        return str(self._status.message)

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]]:  # type: ignore[override]
        """The trailers, the details among them."""
        return (("other", "text"), ("grpc-status-details-bin", self._details))


def sent(error: errors.CrosskeyError) -> errors.CrosskeyError:
    return errors.from_rpc_error(SentError(errors.to_status(error)))


def without_details(code: grpc.StatusCode, details: str = "why") -> errors.CrosskeyError:
    return errors.from_rpc_error(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details))


def documented() -> list[tuple[str, str, bool]]:
    """Name, status and RetryInfo of each reason, as the comments of the proto say."""
    pattern = r"// ([A-Z_]+)(, with RetryInfo)?\.(?:[^\n]*\n +//)*[^\n]*\n +ERROR_REASON_([A-Z_]+) = [1-9]"
    return [(name, code, bool(retry)) for code, retry, name in re.findall(pattern, PROTO.read_text())]


def test_every_reason_has_one_class() -> None:
    assert set(errors.BY_REASON) == set(error_reason_pb2.ErrorReason.values())
    assert len({kind.__name__ for kind in errors.BY_REASON.values()}) == len(errors.BY_REASON)


def test_every_reason_is_documented() -> None:
    assert len(documented()) == len(errors.BY_REASON) - 1


@pytest.mark.parametrize(("name", "code", "retryable"), documented())
def test_every_reason_travels_as_its_proto_says(name: str, code: str, retryable: bool) -> None:
    kind = errors.BY_REASON[error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{name}")]
    received = sent(kind("what happened", table="users", shard=2, hint=None))
    assert type(received) is kind
    assert received.code.name == code
    assert received.retryable is retryable
    assert received.message == str(received) == "what happened"
    assert received.metadata == {"table": "users", "shard": "2"}


def test_a_restrict_violation_is_a_foreign_key_violation() -> None:
    assert isinstance(sent(errors.RestrictViolation("still referenced")), errors.ForeignKeyViolation)


@pytest.mark.parametrize("kind", errors.STATEMENT_ERRORS)
def test_an_error_of_a_statement_can_be_answered_as_a_value(kind: type[errors.CrosskeyError]) -> None:
    failure = errors.to_failure(kind("what happened", statement="2.1", shard=2))
    assert (failure.code, failure.reason) == (kind.code.value[0], kind.reason)
    received = errors.from_failure(failure)
    assert type(received) is kind
    assert received.message == "what happened"
    assert received.metadata == {"shard": "2", "statement": "2.1"}


def test_no_error_of_a_statement_may_be_sent_again_as_it_is() -> None:
    assert not any(kind.retryable for kind in errors.STATEMENT_ERRORS)


@given(
    message=st.text(st.characters(), max_size=3000),
    values=st.dictionaries(
        st.sampled_from(["table", "constraint", "columns", "key", "sqlstate", "shard", "detail", "hint"]),
        st.text(st.characters(), max_size=3000),
    ),
)
def test_details_stay_small_whatever_is_in_them(message: str, values: dict[str, str]) -> None:
    error = errors.Conflict(message)
    error.metadata = values
    assert errors.to_status(error).ByteSize() < MAX_DETAILS_BYTES
    assert set(sent(error).metadata) == set(values)


def test_the_longest_texts_stay_small() -> None:
    error = errors.Conflict("ü" * 9000)
    names = ("table", "constraint", "columns", "key", "sqlstate", "shard", "detail", "hint", "request_id")
    error.metadata = dict.fromkeys(names, "ü" * 9000)
    assert errors.to_status(error).ByteSize() < MAX_DETAILS_BYTES


def test_a_long_message_is_cut_between_characters() -> None:
    message = sent(errors.InvalidValue("ü" * 9000)).message
    assert message == "ü" * ((errors.MAX_MESSAGE_BYTES - 3) // 2) + "…"


def test_short_metadata_stays_whole_beside_long_metadata() -> None:
    received = sent(errors.ForeignKeyViolation("m", table="t" * 63, constraint="c" * 63, detail="d" * 9000))
    assert received.metadata["table"] == "t" * 63
    assert received.metadata["constraint"] == "c" * 63
    assert len(received.metadata["detail"]) > 1800


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.ShardUnavailable),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, errors.Overloaded),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.CANCELLED, errors.Cancelled),
        (grpc.StatusCode.UNIMPLEMENTED, errors.NotSupported),
        (grpc.StatusCode.INTERNAL, errors.InternalError),
        (grpc.StatusCode.UNKNOWN, errors.InternalError),
    ],
)
def test_what_grpc_says_by_itself_has_a_class_too(code: grpc.StatusCode, kind: type[errors.CrosskeyError]) -> None:
    error = without_details(code)
    assert type(error) is kind
    assert error.message == "why"
    assert not error.retryable


def test_a_call_that_was_never_sent_is_retryable() -> None:
    text = "failed to connect to all addresses; last error: refused"
    assert without_details(grpc.StatusCode.UNAVAILABLE, text).retryable


def test_an_unavailable_server_that_may_have_done_the_write_is_passed_on_as_not_retryable() -> None:
    lost = without_details(grpc.StatusCode.UNAVAILABLE, "Socket closed")
    assert not sent(lost).retryable


def test_a_reason_of_a_newer_server_is_an_internal_error() -> None:
    status = status_pb2.Status(code=grpc.StatusCode.NOT_FOUND.value[0], message="new")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="FROM_THE_FUTURE", domain="crosskey"))
    error = errors.from_rpc_error(SentError(status))
    assert type(error) is errors.InternalError
    assert error.message == "new"


def test_errors_of_another_domain_are_judged_by_their_code() -> None:
    status = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="theirs")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="CONFLICT", domain="example.com"))
    assert type(errors.from_rpc_error(SentError(status))) is errors.ShardUnavailable


def test_details_that_cannot_be_read_are_as_good_as_none() -> None:
    status = status_pb2.Status(code=grpc.StatusCode.ABORTED.value[0], message="garbled")
    error = errors.from_rpc_error(SentError(status, details=b"\xff\xff"))
    assert type(error) is errors.InternalError
    assert error.message == "garbled"


def test_how_long_to_wait_before_a_retry_travels_both_ways() -> None:
    overloaded = errors.Overloaded("come again later")
    overloaded.retry_delay_ms = 2500
    assert sent(overloaded).retry_delay_ms == 2500
    assert errors.from_failure(errors.to_failure(overloaded)).retry_delay_ms == 2500
    assert errors.from_failure(errors.to_failure(errors.Overloaded(""))).retry_delay_ms == errors.RETRY_DELAY_MS
