"""All sessions of a server: what they share, and how they end when the server is about to stop."""

from __future__ import annotations

from collections.abc import Callable

from crosskey.serving.call_handlers import CallHandlers
from crosskey.serving.calls_in_flight import CallsInFlight
from crosskey.serving.session import Context, Session, SessionTypes


class Sessions:
    """Serves streams of one kind, with a bound on their calls in flight together."""

    def __init__(self, types: SessionTypes, handlers: Callable[[], CallHandlers], in_flight: CallsInFlight) -> None:
        """`handlers` makes those of a new session."""
        self._types = types
        self._handlers = handlers
        self._in_flight = in_flight
        self._open: set[Session] = set()
        self._draining = False

    async def serve(self, context: Context) -> None:
        """Serves one stream to its end. Not a generator: a cancelled call would leave one suspended."""
        session = Session(self._types, self._handlers(), context, self._in_flight)
        self._open.add(session)
        if self._draining:
            session.drain()
        try:
            await session.serve()
        finally:
            self._open.discard(session)

    async def drain(self) -> None:
        """Lets no session begin anything new; each ends once nothing is under way there."""
        self._draining = True
        for session in list(self._open):
            session.drain()
