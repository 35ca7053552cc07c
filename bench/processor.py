"""The processor time of everything that a run started, as the kernel counts it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def processor_seconds() -> float:
    """What this process and all that it started, however deep, have used so far: user and system time.

    Of processes that have ended, what their parents were told counts. Others are read from /proc, whose ticks are a
    hundredth of a second for each process: so it is for many operations and not for one. Without /proc, those that run
    are left out.
    """
    own = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in own) + sum(map(_seconds, _descendants(os.getpid())))


def _descendants(process: int) -> Iterator[int]:
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in _text(children).split():
            yield int(child)
            yield from _descendants(int(child))


def _seconds(process: int) -> float:
    """Of a process and its children that have ended; 0 if it has ended itself by now."""
    text = _text(Path(f"/proc/{process}/stat"))
    # The name, in brackets, may hold anything; the first field behind it is the third.
    times = text[text.rfind(")") + 2 :].split()[11:15]
    return sum(map(int, times)) / _TICKS_PER_SECOND


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
