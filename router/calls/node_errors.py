"""Errors of calls to nodes, as the exceptions that the nodes raised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import grpc.aio

from crosskey import errors
from crosskey.serving.answer_size import MAX_MESSAGE_MIB

_STATUS_KEY = "grpc-status-details-bin"

# How gRPC says so, on either side.
_TOO_LARGE = "message larger than max"

_NO_ANSWER = "shard {} does not answer"
_IN_OUR_WORDS: dict[type[errors.CrosskeyError], tuple[type[errors.CrosskeyError], str]] = {
    errors.ShardUnavailable: (errors.ShardUnavailable, _NO_ANSWER),
    # From a node that stops or dies in the middle of a call.
    errors.Cancelled: (errors.ShardUnavailable, _NO_ANSWER),
    errors.InternalError: (errors.ShardUnavailable, _NO_ANSWER),
    errors.DeadlineExceeded: (errors.DeadlineExceeded, "the deadline passed before shard {} answered"),
}
"""For what gRPC itself says, which may name addresses."""


@contextmanager
def errors_of(shard: int) -> Iterator[None]:
    """Raises the node's own exception for an RPC's error, with the shard in its metadata."""
    try:
        yield
    except grpc.aio.AioRpcError as rpc_error:
        raise _translated(rpc_error, shard) from rpc_error


@contextmanager
def safe_to_retry() -> Iterator[None]:
    """For what may be sent again however far it came: ShardUnavailable says so, also where gRPC cannot know."""
    try:
        yield
    except errors.ShardUnavailable as error:
        error.retryable = True
        raise


def _translated(rpc_error: grpc.aio.AioRpcError, shard: int) -> errors.CrosskeyError:
    error = errors.from_rpc_error(rpc_error)
    if not any(key == _STATUS_KEY for key, _ in rpc_error.trailing_metadata() or ()):
        error = _reworded(error, shard)
    error.metadata["shard"] = str(shard)
    return error


def _too_large(shard: int) -> errors.AnswerTooLarge:
    """Of a request that was not sent, or an answer that was not: what commits answers less than that."""
    return errors.AnswerTooLarge(
        f"what shard {shard} is sent, or answers, at once has more than {MAX_MESSAGE_MIB} MiB",
        hint="Nothing was written. Write or read fewer rows at a time, or smaller ones.",
    )


def _reworded(error: errors.CrosskeyError, shard: int) -> errors.CrosskeyError:
    if _TOO_LARGE in error.message:
        return _too_large(shard)
    if type(error) not in _IN_OUR_WORDS:
        return error
    kind, wording = _IN_OUR_WORDS[type(error)]
    reworded = kind(wording.format(shard))
    reworded.retryable, reworded.answered = error.retryable, error.answered
    return reworded
