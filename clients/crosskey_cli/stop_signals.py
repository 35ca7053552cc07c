"""How a command that runs a cluster is stopped: Ctrl-C and SIGTERM alike, and never halfway."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stoppable() -> Iterator[None]:
    """Turn the first stop signal into KeyboardInterrupt, and ignore the ones after it.

    Also where a script's shell had SIGINT ignored. A second Ctrl-C must not leave half of the processes behind.
    """
    former = {number: signal.signal(number, _stop_once) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _stop_once(*_: Any) -> None:
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt
