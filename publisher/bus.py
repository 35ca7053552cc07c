"""What a message bus is to the publisher."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from crosskey.watching import Event


class BusUnavailable(Exception):
    """The bus does not answer, or refuses for now: what was to be published is to be tried again."""


class BusRefused(Exception):
    """The bus refuses an event for good, or is not set up as it must be: somebody has to look at it."""


class LostLead(Exception):
    """Another publisher leads, or this one cannot tell any more that it does."""


class Bus(Protocol):
    """A connection to a bus. All methods raise BusUnavailable and BusRefused."""

    async def connect(self) -> None:
        """Connects, and sets up what events are published to, if that is not there yet."""
        ...

    async def position(self, tables: Sequence[str]) -> str:
        """Behind what the bus itself says that events of these tables go on; empty if it keeps none of just these."""
        ...

    async def publish(self, events: Sequence[Event], resume_token: str) -> None:
        """Returns once the bus has all events for good, those of a row in order. `resume_token` is behind them.

        There may be no events: then the position alone moves. Raises LostLead, and publishes nothing, if the bus keeps
        the position and another publisher has moved it.
        """
        ...

    async def close(self) -> None:
        """Ends the connection. Raises nothing."""
        ...
