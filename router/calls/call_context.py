"""What the calls to nodes need to know of the request that they are made for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from crosskey import errors

DEFAULT_TIMEOUT_SECONDS = 60.0
"""For requests without a deadline: nothing waits for ever."""


@dataclass
class CallContext:
    """One request: when it must be answered, by time.monotonic, and the calls that it made, in order."""

    deadline: float
    calls: list[str] = field(default_factory=list)
    epoch: int = 0
    """Of the schema by which it is planned; 0 if by none."""

    def remaining_seconds(self) -> float:
        """How long the request may still take. Raises DeadlineExceeded if it is over."""
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise errors.DeadlineExceeded("the deadline passed")
        return remaining

    def record(self, shard: int, method: str) -> None:
        """Notes a call, such as `s1 ShardNode.Read`."""
        self.calls.append(f"s{shard} ShardNode.{method}")


_current: ContextVar[CallContext | None] = ContextVar("call_context", default=None)


def begin_call_context(time_remaining: float | None) -> CallContext:
    """Makes a context for the request that the current task works for, and nothing else after it.

    `time_remaining` is what the caller says, in seconds; None if it set no deadline.
    """
    seconds = DEFAULT_TIMEOUT_SECONDS if time_remaining is None else time_remaining
    context = CallContext(time.monotonic() + seconds)
    _current.set(context)
    return context


@contextmanager
def call_context(time_remaining: float | None) -> Iterator[CallContext]:
    """Makes a context for the request that the current task, and those that it starts, work for.

    `time_remaining` is what gRPC says, in seconds; None if the caller set no deadline.
    """
    token = _current.set(None)
    context = begin_call_context(time_remaining)
    try:
        yield context
    finally:
        _current.reset(token)


def current_call_context() -> CallContext:
    """The context of the request; outside of any, one with the default time-out."""
    return _current.get() or CallContext(time.monotonic() + DEFAULT_TIMEOUT_SECONDS)


@contextmanager
def call_context_of_its_own(seconds: float) -> Iterator[None]:
    """A deadline of its own for what must be finished although its request's deadline may have passed.

    The calls are still noted with the request's, and planned by the same schema.
    """
    around = current_call_context()
    with call_context(seconds) as context:
        context.calls, context.epoch = around.calls, around.epoch
        yield
