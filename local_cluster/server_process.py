"""A gRPC server of ours as a child process."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crosskey.local_cluster.cluster_error import ClusterError
from crosskey.local_cluster.process import ChildProcess
from crosskey.serving.probe import is_serving
from crosskey.tls import Tls

START_SECONDS = 30.0
PROBE_SECONDS = 2.0
POLL_SECONDS = 0.02


class NotServingError(ClusterError):
    """A server runs but does not serve; the message shows the end of its log."""


@dataclass(kw_only=True)
class ServerProcess(ChildProcess):
    """A node or a router: a process that serves gRPC, health included, at `address`."""

    address: str
    tls: Tls | None = None
    """How to ask whether it serves, if it speaks TLS."""

    def start_serving(self) -> None:
        """Start the process and wait until it serves. Errors as `wait_until_serving`."""
        self.start()
        self.wait_until_serving()

    def wait_until_serving(self, timeout_seconds: float = START_SECONDS) -> None:
        """Wait until the server calls itself SERVING.

        Raises ProcessDiedError if the process ends first, NotServingError after the time-out.
        """
        deadline = time.monotonic() + timeout_seconds
        while not is_serving(self.address, PROBE_SECONDS, self.tls):
            self.check_running()
            if time.monotonic() > deadline:
                raise NotServingError(f"{self.name} does not serve after {timeout_seconds} s:\n{self.log_tail()}")
            time.sleep(POLL_SECONDS)


def python_server(
    module: str, name: str, *, address: str, log_folder: Path, environment: Mapping[str, str], tls: Tls | None = None
) -> ServerProcess:
    """Describe `python -m MODULE serve` at `address`, with its settings in the environment."""
    return ServerProcess(
        name=name,
        command=[sys.executable, "-m", module, "serve"],
        log=log_folder / f"{name}.log",
        environment={**environment, "CROSSKEY_LISTEN": address},
        address=address,
        tls=tls,
    )
