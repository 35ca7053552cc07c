"""How a command that runs a cluster is stopped: Ctrl-C and SIGTERM alike, and never halfway through a step."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(Exception):
    """A signal asked the command to stop."""


class StopRequest:
    """Whether a signal has come.

    It interrupts nothing, for a process that is just being started must not be forgotten: the command looks for it
    between its steps.
    """

    def __init__(self) -> None:
        self.made = False

    def check(self) -> None:
        """Raise Stopped if a signal has come."""
        if self.made:
            raise Stopped

    def make(self, *_: Any) -> None:
        """Note a signal, and say so at once: the step that is going on may take some seconds."""
        if not self.made:
            self.made = True
            os.write(sys.stderr.fileno(), b"Stopping.\n")


@contextmanager
def stoppable() -> Iterator[StopRequest]:
    """Note SIGINT and SIGTERM for the length of the context, also where a script's shell had SIGINT ignored."""
    request = StopRequest()
    former = {number: signal.signal(number, request.make) for number in STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
