"""What a server does for the calls of one session."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from crosskey import errors

Handler = Callable[[Any], Awaitable[Any]]
"""Takes the message of a call's field and answers that of the answer's field of the same name. Raises CrosskeyError."""


class CallHandlers:
    """Made anew for each session, so that it may keep what is begun there."""

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        """Take the handler of each field of a call."""
        self.handlers = handlers
        self.on_idle: Callable[[], None] = _nothing
        """To be called when something that was begun has ended by itself. The session sets it."""

    async def answer(self, kind: str, call: Any) -> dict[str, Any]:
        """Has a call of that kind handled; returns the fields of its answer."""
        return {kind: await self.handlers[kind](getattr(call, kind))}

    def refusal(self, message: Any) -> errors.CrosskeyError | None:  # noqa: ARG002
        """Why all calls of a message are refused; None if they are not."""
        return None

    def goes_on(self, kind: str, request: Any) -> bool:  # noqa: ARG002
        """Whether a call is taken although the server is full or about to stop, because it ends what is under way."""
        return False

    def expired(self, kind: str, request: Any) -> errors.CrosskeyError:  # noqa: ARG002
        """What is answered to a call whose deadline passed before it was done."""
        return errors.DeadlineExceeded("the deadline of the call passed")

    @property
    def is_idle(self) -> bool:
        """Whether nothing is begun that further calls must end."""
        return True

    async def close(self) -> None:
        """Ends all that is begun. No call is in flight any more."""


def _nothing() -> None:
    """Nobody asks to be told."""
