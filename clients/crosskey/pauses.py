"""How long to wait before trying again: one policy for whatever was lost, was too busy or did not answer."""

from __future__ import annotations

import random
from collections.abc import Iterator
from time import monotonic


def growing_pauses(first_seconds: float, longest_seconds: float, *, within: float | None = None) -> Iterator[float]:
    """Pauses in seconds, each about twice as long as the one before, up to the longest.

    At random they are up to a half shorter: what failed together is not tried again together. They end when `within`
    seconds have passed since the call; without it, whoever takes them counts.
    """
    return _growing(first_seconds, longest_seconds, None if within is None else monotonic() + within)


def _growing(pause: float, longest: float, end: float | None) -> Iterator[float]:
    while end is None or monotonic() < end:
        yield random.uniform(pause / 2, pause)
        pause = min(2 * pause, longest)
