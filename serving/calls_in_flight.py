"""How many calls of all sessions of a server are in flight."""

from dataclasses import dataclass


@dataclass
class CallsInFlight:
    """From when a call is read until its answer is written; at most `maximum`, but for calls that are refused."""

    maximum: int
    number: int = 0
