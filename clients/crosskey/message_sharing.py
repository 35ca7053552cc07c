"""When a message that can carry many calls, or many answers, is written: not before what is ready has come along."""

from __future__ import annotations

import asyncio

TURNS = 6
"""Of the event loop; measured for docs/decisions/0024-sessions-for-clients.md."""


async def let_others_join() -> None:
    """Lets the event loop go on with what is ready now, which may want to go into the same message.

    A message costs so much more than what is in it that it pays to ask, where others are in flight. No time is waited
    for: if nothing is ready, this takes some microseconds.
    """
    for _ in range(TURNS):
        await asyncio.sleep(0)
