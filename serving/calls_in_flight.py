"""How many calls a server has in flight."""

from dataclasses import dataclass


@dataclass
class CallsInFlight:
    """Those of all sessions and unary calls together: at most `maximum`, but for what goes on with something begun."""

    maximum: int
    number: int = 0

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another one."""
        return self.number >= self.maximum
