"""Calls that a client repeats by itself: which, when, and what is raised when the time is over.

A write gets an id, under which the cluster carries it out once: a repeat is answered what the first attempt was. Reads
change nothing.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from typing import Any

from crosskey import errors
from crosskey._operations import Call
from crosskey.pauses import growing_pauses

WRITES = frozenset({"Insert", "Update", "Delete", "Associate", "Transact"})
READS = frozenset({"Get", "List", "Count", "Aggregate"})

FIRST_PAUSE_SECONDS = 0.05
LONGEST_PAUSE_SECONDS = 2.0

_MAY_BE_OVER_SOON = (errors.ShardUnavailable, errors.Conflict, errors.Overloaded, errors.OutcomeUnknown)
_FOR_GOOD = (errors.DeadlineExceeded, errors.Cancelled, errors.RequestTooLarge)


class Attempts:
    """The attempts of one call, until its deadline."""

    def __init__(self, call: Call[Any], timeout_seconds: float, repeated: Counter[str]) -> None:
        """Gives a write its id. What is repeated is counted in `repeated`, by the reason."""
        self._ends_at = time.monotonic() + timeout_seconds
        self._repeated = repeated
        self._pauses = growing_pauses(FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        self._is_write = call.service == "Router" and call.method in WRITES
        self._is_safe = self._is_write or (call.service == "Router" and call.method in READS)
        self._may_be_done = False
        """Whether an attempt may have been carried out."""
        if self._is_write:
            call.request.request_id = new_request_id()  # type: ignore[attr-defined]  # every write has one

    @property
    def remaining_seconds(self) -> float:
        """How long the next attempt may take."""
        return max(self._ends_at - time.monotonic(), 0.001)

    def pause_after(self, error: errors.CrosskeyError) -> float:
        """How long to wait before the call is repeated, in seconds.

        Raises the error if it is not to be repeated; and OutcomeUnknown in the place of one that says that nothing was
        done, if an attempt before may have been carried out.
        """
        if not self._is_safe or not _is_worth_repeating(error):
            raise error
        self._may_be_done = self._may_be_done or (self._is_write and not error.retryable) or _is_unknown(error)
        pause = next(self._pauses)
        if time.monotonic() + pause >= self._ends_at:
            if self._is_write and self._may_be_done and not _is_unknown(error):
                raise errors.OutcomeUnknown(
                    "the deadline passed before a repeat was answered", hint="Read what was to be written."
                ) from error
            raise error
        self._repeated[error.reason_name] += 1
        return pause


def _is_worth_repeating(error: errors.CrosskeyError) -> bool:
    return isinstance(error, _MAY_BE_OVER_SOON) or not (error.answered or isinstance(error, _FOR_GOOD))


def _is_unknown(error: errors.CrosskeyError) -> bool:
    return isinstance(error, errors.OutcomeUnknown)


def new_request_id() -> str:
    """An id that no other request has. Those of one time lie together, as in an index they should."""
    return f"{time.time_ns() // 1_000_000:012x}-{secrets.token_hex(10)}"
