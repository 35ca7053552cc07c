"""Waiting for what must happen soon, without sleeping for longer than it takes."""

import asyncio
import time
from collections.abc import Callable

POLL_SECONDS = 0.02


def eventually(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Returns once the condition is true. Raises AssertionError, saying what did not happen, when time is up."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"within {seconds} s it did not happen that {what}"
        time.sleep(POLL_SECONDS)


async def until(condition: Callable[[], object], what: str) -> None:
    """As `eventually`, while the event loop goes on."""
    await asyncio.to_thread(eventually, condition, what)
